#!/bin/sh
# nvcc.sh SOURCE_DIR LIBRARY_DIR NVCC STANDARD...
# Bodies and launches by symbol in a .cu: compile without a warning, link, run. 77 if there is no nvcc.
set -u
source=$1 libs=$2 nvcc=$3
shift 3
[ -n "$nvcc" ] || { echo "nvcc.sh: skipped, there is no nvcc"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
macros=$source/tests/unit/macros
failed=0
for std in "$@"; do
    out=$("$nvcc" -std="$std" -arch=compute_75 -Xcompiler -Wall,-Wextra -I "$source/include" \
        "$macros/symbols.cu" -o "$dir/symbols" -L "$libs" -lmanta -Xlinker -rpath,"$libs" 2>&1) ||
        failed=1
    if [ -n "$out" ]; then
        echo "nvcc.sh: nvcc $std says: $out"
        failed=1
    fi
    [ -x "$dir/symbols" ] && { "$dir/symbols" || failed=1; }
    # The bodies of the C++ file, as nvcc sees them.
    out=$("$nvcc" -std="$std" -arch=compute_75 -x cu -c -Xcompiler -Wall,-Wextra \
        -I "$source/include" "$macros/cuda_nvcc.cu" -o "$dir/bodies.o" 2>&1) || failed=1
    if [ -n "$out" ]; then
        echo "nvcc.sh: nvcc $std says: $out"
        failed=1
    fi
done
exit $failed
