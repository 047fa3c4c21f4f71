#!/bin/sh
# clash.sh INCLUDE CC CXX
# Two bodies of one task, in two files, must not link; one body and any number of callers must.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cat >"$dir/task.h" <<'END'
#include <manta/manta.h>
#define twice_PARAMS MANTA_VAL(int, n), MANTA_OUT(int, r, 1)
MANTA_TASK_DECLARE(twice);
END
cat >"$dir/body.c" <<'END'
#include "task.h"
MANTA_TASK(twice) { r.data[0] = 2 * n; return MANTA_OK; }
END
cat >"$dir/caller.c" <<'END'
#include "task.h"
manta_ref_t CALLER(void);
manta_ref_t CALLER(void) { return twice_remote(2); }
END
compile() { # name compiler language source include
    "$2" -x "$3" -I "$5" "-DCALLER=$1" -c -o "$dir/$1.o" "$dir/$4" || exit 1
}
compile body_c "$2" c body.c "$1"
compile body_cc "$3" c++ body.c "$1"
compile caller_c "$2" c caller.c "$1"
compile caller_cc "$3" c++ caller.c "$1"

link() { "$2" -r -nostdlib -o "$dir/all.o" $1 2>&1; }

failed=0
for body in body_c body_cc; do
    out=$(link "$dir/$body.o $dir/caller_c.o $dir/caller_cc.o" "$2") || {
        echo "clash.sh: one body and two callers do not link: $out"
        failed=1
    }
done
if out=$(link "$dir/body_c.o $dir/body_cc.o" "$2"); then
    echo "clash.sh: two bodies of one task link"
    failed=1
elif ! echo "$out" | grep -q "twice_cpu_variant"; then
    echo "clash.sh: two bodies do not link, but not for the reason expected: $out"
    failed=1
fi
exit $failed
