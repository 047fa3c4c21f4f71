#!/bin/sh
# check.sh INCLUDE FILE CASE CC CXX
# Compiles one case of FILE, right and wrong, in the languages that it is for: see the head of tasks.c.
# STDS in the environment: which standards, default "c17 c++17".
# Exit status 1 if the right program does not compile, or the wrong one does, or fails for another
# reason than the case expects.
set -u
include=$1
file=$2
case=$3
cc=$4
cxx=$5
line=$(grep "^#ifdef CASE_$case //" "$file") || { echo "check.sh: $file has no case $case"; exit 1; }
line=${line#*// }
langs=" ${line%%:*} "
expect=${line#*: }
failed=0
count=0

compile() { # compiler language standard flags...
    compiler=$1 language=$2 standard=$3
    shift 3
    "$compiler" -x "$language" "-std=$standard" -Wall -Wextra -Wpedantic "$@" -I "$include" \
        "-DCASE_$case" -c -o /dev/null "$file" 2>&1
}

check() { # compiler language standard
    if ! out=$(compile "$1" "$2" "$3" -Werror); then
        echo "$case: the right program does not compile in $3 ($1):"
        echo "$out" | head -n 20
        failed=1
    fi
    error=
    case $langs in *" ${2}w "*) error=-Werror ;; esac
    if out=$(compile "$1" "$2" "$3" -DWRONG $error); then
        echo "$case: the wrong program compiles in $3 ($1)"
        failed=1
    elif ! echo "$out" | grep -Eq -e "$expect"; then
        echo "$case: nothing here matches '$expect' in $3 ($1):"
        echo "$out" | head -n 20
        failed=1
    fi
    count=$((count + 1))
}

for std in ${STDS:-c17 c++17}; do
    case $std,$langs in
    c++*," "*c++" "* | c++*," "*c++w" "*) check "$cxx" c++ "$std" ;;
    c++*) ;;
    c*,*" c "* | c*,*" cw "*) check "$cc" c "$std" ;;
    esac
done

[ $count -gt 0 ] || { echo "check.sh: $case is for none of ${STDS:-c17 c++17}"; exit 77; }
exit $failed
