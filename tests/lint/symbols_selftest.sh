#!/bin/sh
# symbols_selftest.sh LINT_DIR NM CC: symbols.sh has to name a symbol that should be hidden, and to
# notice a library that shows nothing.
set -eu
lint=$1 nm=$2 cc=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

printf 'int manta_version(void) { return 1; }\nint mti_secret(void) { return 2; }\n' >"$dir/bad.c"
"$cc" -shared -fPIC -o "$dir/bad.so" "$dir/bad.c"
if out=$(sh "$lint/symbols.sh" "$nm" "$dir/bad.so"); then
    echo "symbols.sh passed a library that shows mti_secret"
    exit 1
fi
case $out in *mti_secret*) ;; *) echo "symbols.sh did not name mti_secret: $out"; exit 1 ;; esac

printf 'static int nothing = 1;\nint *manta_nothing(void) { return &nothing; }\n' >"$dir/empty.c"
"$cc" -shared -fPIC -fvisibility=hidden -o "$dir/empty.so" "$dir/empty.c"
if sh "$lint/symbols.sh" "$nm" "$dir/empty.so" >/dev/null; then
    echo "symbols.sh passed a library that shows nothing"
    exit 1
fi

printf 'int manta_version(void) { return 1; }\n' >"$dir/good.c"
"$cc" -shared -fPIC -o "$dir/good.so" "$dir/good.c"
sh "$lint/symbols.sh" "$nm" "$dir/good.so"
