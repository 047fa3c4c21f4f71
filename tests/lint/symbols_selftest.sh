#!/bin/sh
# symbols_selftest.sh LINT_DIR NM CC: symbols.sh has to name a symbol that should be hidden, one that
# only a header knows and one that no header knows; and to notice a library that shows nothing.
set -eu
lint=$1 nm=$2 cc=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

library() # name, code
{
    echo "$2" >"$dir/$1.c"
    "$cc" -shared -fPIC -fvisibility=hidden "-DMANTA_API=__attribute__((visibility(\"default\")))" \
        -o "$dir/$1.so" "$dir/$1.c"
}

must_say() # library, words, [include dir]
{
    if out=$(sh "$lint/symbols.sh" "$nm" "$dir/$1.so" ${3+"$3"}); then
        echo "symbols.sh passed $1"
        exit 1
    fi
    case $out in
    *"$2"*) ;;
    *) echo "symbols.sh on $1 did not say '$2' but: $out"; exit 1 ;;
    esac
}

mkdir -p "$dir/include/manta"
cat >"$dir/include/manta/x.h" <<'END'
#define MANTA_API __attribute__((whatever)) manta_macro(
// MANTA_API int manta_comment(void);
MANTA_API int manta_one(void); // no, MANTA_API int manta_comment(void);
MANTA_API
manta_status_t *manta_two(int (*fn)(void *), manta_three_t x(int));
MANTA_API manta_ref_t(manta_three)(void);
static inline int manta_inline(void) { return 1; }
END
one='MANTA_API int manta_one(void) { return 1; }' two='MANTA_API int manta_two(void) { return 2; }'
three='MANTA_API int manta_three(void) { return 3; }'

library good "$one $two $three"
sh "$lint/symbols.sh" "$nm" "$dir/good.so"
sh "$lint/symbols.sh" "$nm" "$dir/good.so" "$dir/include"

library secret "$one $two $three MANTA_API int mti_secret(void) { return 4; }"
must_say secret mti_secret
library empty 'int manta_one(void) { return 1; }'
must_say empty 'shows nothing'
library less "$one $three"
sh "$lint/symbols.sh" "$nm" "$dir/less.so"
must_say less 'nowhere defined:
manta_two' "$dir/include"
library more "$one $two $three MANTA_API int manta_four(void) { return 4; }"
must_say more 'in no public header:
manta_four' "$dir/include"
