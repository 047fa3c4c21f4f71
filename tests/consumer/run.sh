#!/bin/sh
# run.sh installed|static|subdirectory SOURCE BUILD WORK
# Uses manta as a stranger would, from C and from C++:
#   installed     what BUILD installs, through find_package and through pkg-config
#   static        the same with a static library, built and installed for this
#   subdirectory  add_subdirectory on the sources
# Environment: CC CXX CMAKE GENERATOR VERSION
set -eu
way=$1 source=$2 build=$3 work=$4
here=$source/tests/consumer
rm -rf "$work"
mkdir -p "$work"
prefix=$work/prefix

run_both() # folder
{
    for program in use_c use_cxx; do
        out=$("$1/$program")
        [ "$out" = "manta $VERSION" ] || { echo "$1/$program says: $out"; exit 1; }
    done
}

consume() # extra cmake arguments
{
    "$CMAKE" -G "$GENERATOR" -S "$here" -B "$work/consumer" "$@"
    "$CMAKE" --build "$work/consumer"
    run_both "$work/consumer"
    "$work/consumer/use_kernels"
}

case $way in
subdirectory)
    consume "-DCONSUMER_SUBDIRECTORY=$source" -DMANTA_CUDA_ARCHITECTURES=75
    exit 0
    ;;
static)
    "$CMAKE" -G "$GENERATOR" -S "$source" -B "$work/build" -DBUILD_SHARED_LIBS=OFF \
        -DMANTA_TESTS=OFF -DMANTA_SAMPLES=OFF -DMANTA_CUDA_ARCHITECTURES=75
    build=$work/build
    "$CMAKE" --build "$build"
    ;;
installed) ;;
esac

"$CMAKE" --install "$build" --prefix "$prefix"
# The tree must be whole where it is used, wherever it was installed.
mv "$prefix" "$work/moved"
prefix=$work/moved

consume "-DCMAKE_PREFIX_PATH=$prefix" "-DCONSUMER_VERSION=${VERSION%.*}"
case $(sed -n 's/^manta_DIR:PATH=//p' "$work/consumer/CMakeCache.txt") in
"$prefix"/*) ;;
*) echo "find_package found another manta"; exit 1 ;;
esac

libdir=$(dirname "$(find "$prefix" -name manta.pc)")
export PKG_CONFIG_PATH="$libdir"
libdir=${libdir%/pkgconfig}
[ "$(pkg-config --modversion manta)" = "$VERSION" ] || { echo "manta.pc has another version"; exit 1; }
mkdir -p "$work/pc"
# shellcheck disable=SC2046 # the words of pkg-config are words
"$CC" -std=c17 $(pkg-config --cflags manta) "$here/use_c.c" -o "$work/pc/use_c" \
    $(pkg-config --libs manta) "-Wl,-rpath,$libdir"
# shellcheck disable=SC2046
"$CXX" -std=c++17 $(pkg-config --cflags manta) "$here/use_cxx.cc" -o "$work/pc/use_cxx" \
    $(pkg-config --libs manta) "-Wl,-rpath,$libdir"
run_both "$work/pc"

# hwloc is our business: a program that uses the shared library need not link or have it.
if [ "$way" = installed ] && pkg-config --libs --cflags manta | grep -q hwloc; then
    echo "pkg-config hands hwloc on to users of the shared library"
    exit 1
fi
