#!/bin/sh
# quiet.sh SOURCE_DIR CC CXX [CC CXX ...]
# The macros make no warning in any language that they are for, also when they don't hide behind
# #pragma GCC system_header.
set -u
source=$1
dir=$source/tests/unit/macros
fail=$source/tests/compile_fail/tasks.c
shift
failed=0
count=0

quiet() { # compiler flags... file
    count=$((count + 1))
    compiler=$1
    shift
    "$compiler" -Wall -Wextra -Wpedantic -Wshadow -Wpointer-arith -Wwrite-strings -Wvla -Werror \
        -DMANTA_NO_SYSTEM_HEADER -I "$source/include" -fsyntax-only "$@" ||
        { echo "quiet.sh: $compiler $*"; failed=1; }
}

while [ $# -ge 2 ]; do
    for std in c17 gnu17 c2x; do
        for file in tasks_c.c in_c.c cuda_c.c actors_c.c generators_c.c; do
            quiet "$1" -std=$std -Wstrict-prototypes -Wmissing-prototypes "$dir/$file"
        done
    done
    for std in c++17 c++20; do
        quiet "$2" -std=$std "$dir/tasks_cc.cc"
        quiet "$2" -std=$std "$dir/actors_cc.cc"
        quiet "$2" -std=$std "$dir/generators_cc.cc"
        quiet "$2" -std=$std "$dir/macros_test.cc"
        quiet "$2" -std=$std "$dir/cuda_cc.cc"
        quiet "$2" -std=$std -fno-exceptions -fno-rtti -DCASE_resize_of_inout -x c++ "$fail"
    done
    shift 2
done

[ $count -gt 0 ] || { echo "quiet.sh: no compiler"; exit 1; }
exit $failed
