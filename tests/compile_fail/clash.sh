#!/bin/sh
# clash.sh INCLUDE CC CXX
# Two bodies of one task and one kind, in two files, must not link; one body of a kind, or of each, and
# any number of callers must.
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
cat >"$dir/cuda.c" <<'END'
#include "task.h"
MANTA_CUDA(twice) { r.data[0] = 2 * n; return MANTA_OK; }
END
cat >"$dir/both.c" <<'END'
#include "task.h"
MANTA_CUDA(twice) { r.data[0] = 2 * n; return MANTA_OK; }
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
compile cuda_c "$2" c cuda.c "$1"
compile cuda_cc "$3" c++ cuda.c "$1"
compile both_c "$2" c both.c "$1"
compile both_cc "$3" c++ both.c "$1"
compile caller_c "$2" c caller.c "$1"
compile caller_cc "$3" c++ caller.c "$1"

link() { "$2" -r -nostdlib -o "$dir/all.o" $1 2>&1; }

failed=0
for bodies in body_c body_cc cuda_c cuda_cc both_c both_cc "body_c cuda_c" "body_c cuda_cc" \
    "body_cc cuda_c" "body_cc cuda_cc"; do
    files=
    for body in $bodies caller_c caller_cc; do
        files="$files $dir/$body.o"
    done
    out=$(link "$files" "$2") || {
        echo "clash.sh: $bodies and two callers do not link: $out"
        failed=1
    }
done

clash() { # two bodies, variant
    if out=$(link "$dir/$1.o $dir/$2.o" "$cc"); then
        echo "clash.sh: $1 and $2 of one task link"
        failed=1
    elif ! echo "$out" | grep -q "$3"; then
        echo "clash.sh: $1 and $2 do not link, but not for the reason expected: $out"
        failed=1
    fi
}
cc=$2
clash body_c body_cc twice_cpu_variant
clash cuda_c cuda_cc twice_cuda_variant
clash both_c body_cc twice_cpu_variant
clash both_cc cuda_c twice_cuda_variant
exit $failed
