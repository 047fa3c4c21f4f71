#!/bin/sh
# layers.sh ROOT
# Holds every #include of ours against ROOT/runtime/LAYERS; the rules are told there. Prints
# "file:line: what is wrong" and exits with 1 if there is anything.
set -u
LC_ALL=C
export LC_ALL
cd "$1" || exit 1

# A file's module is runtime/<module>, or for the rest of the tree the longest folder with a line.
files=$(find runtime kernels devices samples tests/support tests/integration tests/consumer include \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.inc' \) 2>/dev/null | sort)
[ -n "$files" ] || { echo "layers.sh: found no sources under $1"; exit 1; }

# shellcheck disable=SC2086 # one word per file is what is meant; our names have no blanks
awk '
function complain(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; bad = 1 }

function module_of(path,    p) {
    if (path ~ /^runtime\//) {
        sub(/^runtime\//, "", path)
        return path ~ /\// ? substr(path, 1, index(path, "/") - 1) : "runtime"
    }
    for (p = path; sub(/\/[^\/]*$/, "", p); )
        if (p in known) return p
    sub(/\/.*/, "", path)
    return path
}

function exists(path,    line, r) { r = (getline line < path) >= 0; close(path); return r }

# ---- the table ----
FILENAME == "runtime/LAYERS" {
    sub(/#.*/, "")
    if ($0 !~ /[^ \t]/) next
    if ($1 !~ /:$/) { complain("expected \"module: ...\""); next }
    name = substr($1, 1, length($1) - 1)
    if (name in known) complain(name " has two lines")
    for (i = 2; i <= NF; i++) {
        if ($i !~ /^manta\// && !($i in known) && !((($i ~ /\//) ? substr($i, 1, index($i, "/") - 1) : $i) in known))
            complain(name " may use " $i ", which is no module of a line above")
        allowed[name, $i] = 1
    }
    known[name] = 1
    next
}

# ---- the sources ----
FNR == 1 {
    module = module_of(FILENAME)
    public = FILENAME ~ /^include\//
    folder = FILENAME; sub(/[^\/]*$/, "", folder)
    if (!public && !(module in known)) complain("runtime/LAYERS has no line for " module)
}
/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
    quoted = $0 ~ /include[ \t]*"/
    header = $0
    sub(/^[ \t]*#[ \t]*include[ \t]*[<"]/, "", header)
    sub(/[>"].*/, "", header)

    if (header ~ /^(cuda|cuda_runtime|cuda_runtime_api|nccl)\.h$/ && module != "devices" && header != "manta/cuda.h" && FILENAME != "include/manta/cuda.h") {
        complain(header " belongs to devices only"); next
    }
    if (header ~ /^hwloc/ && module != "topology") { complain(header " belongs to topology only"); next }

    if (public) {
        if (header ~ /^(pthread|threads|sched|unistd)\.h$|^sys\/|^linux\//)
            complain("a public header may not need " header)
        else if (quoted || (header ~ /^manta\// && !exists("include/" header)))
            complain("a public header includes <manta/x.h> that exist, not " header)
        else if (header ~ /\// && header !~ /^manta\//)
            complain("a public header may not need " header)
        next
    }
    if (header ~ /^manta\//) {
        if (!((module, header) in allowed) && !((module, "manta/*") in allowed))
            complain(module " may not include <" header ">")
        next
    }
    if (!quoted) {
        if (exists(header) || exists("runtime/" header)) complain("headers of ours go in quotes: " header)
        next
    }
    sub(/^runtime\//, "", header) # modules go by "base/x.h" as by "runtime/base/x.h"
    if (header ~ /^\.\.?\//) { complain("no . or .. in an include: " header); next }
    if (header !~ /\// || (exists(folder header) && !exists("runtime/" header))) {
        if (!exists(folder header)) complain("not in this folder: " header)
        next
    }
    other = substr(header, 1, index(header, "/") - 1)
    if (module ~ /^tests\// && ("tests/" other) in known) {
        if (module != "tests/" other && !((module, "tests/" other) in allowed)) complain(module " may not include " header)
        next
    }
    if (other == module) next
    if ((module, header) in allowed) next
    if (!((module, other) in allowed)) { complain(module " may not include " other " (" header ")"); next }
    if (other != "base" && header != other "/" other ".h")
        complain(module " may see only " other "/" other ".h of " other ", not " header)
}
END { exit bad }
' runtime/LAYERS $files
