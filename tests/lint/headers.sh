#!/bin/sh
# headers.sh INCLUDE_DIR CC CXX [CC CXX ...]
# Compiles each header under INCLUDE_DIR/manta alone, and twice in a row, as C17, C++17 and C++20,
# with all warnings as errors. Prints what does not compile; exit status 1 if there is any.
set -u
include=$1
shift
failed=0
count=0

check() { # compiler language standard header
    # The line behind them: a header may hold macros only, a translation unit may not.
    if ! printf '#include <%s>\n#include <%s>\nextern int not_empty;\n' "$4" "$4" |
        "$1" -x "$2" "-std=$3" -Wall -Wextra -Wpedantic -Werror -I "$include" -c -o /dev/null -; then
        echo "headers.sh: <$4> does not stand alone in $3 ($1)"
        failed=1
    fi
    count=$((count + 1))
}

while [ $# -ge 2 ]; do
    for path in $(find "$include/manta" -name '*.h' | sort); do
        header=${path#"$include"/}
        # The one header that needs CUDA's own.
        [ "$header" = manta/cuda.h ] && continue
        check "$1" c c17 "$header"
        check "$2" c++ c++17 "$header"
        check "$2" c++ c++20 "$header"
    done
    shift 2
done

[ $count -gt 0 ] || { echo "headers.sh: found no header to check"; exit 1; }
echo "headers.sh: $count compilations"
exit $failed
