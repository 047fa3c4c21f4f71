#!/bin/sh
# symbols.sh NM LIBRARY [INCLUDE_DIR]
# The shared library may define manta_* and nothing else; with INCLUDE_DIR, exactly what the headers
# under INCLUDE_DIR/manta declare with MANTA_API. Exit status 1, with the names, if not.
set -u
LC_ALL=C
export LC_ALL
status=0

# complain WHAT NAMES
complain()
{
    [ -n "$2" ] || return 0
    echo "symbols.sh: $2" | sed "1s/symbols.sh: /symbols.sh: $1:\n/"
    status=1
}

shown=$("$1" -D --defined-only "$2" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
[ -n "$shown" ] || { echo "symbols.sh: $2 shows nothing at all"; exit 1; }
complain 'shown, but not manta_*' "$(echo "$shown" | grep -v '^manta_')"

if [ $# -ge 3 ]; then
    # Declarations end with ";"; what stands behind MANTA_API up to there holds one function's name.
    declared=$(find "$3/manta" -name '*.h' -exec cat {} + | sed 's,//.*,,' |
        awk '/^[ \t]*#/ { skip = 1 } !skip { print } { if (!/\\$/) skip = 0 }' | tr '\n' ' ' | tr ';' '\n' |
        awk 'sub(/.*MANTA_API[ \t]/, "") {
            if (match($0, /\([ \t]*manta_[A-Za-z0-9_]+[ \t]*\)[ \t]*\(/) ||
                match($0, /manta_[A-Za-z0-9_]+[ \t]*\(/)) {
                name = substr($0, RSTART, RLENGTH)
                gsub(/[^A-Za-z0-9_]/, "", name)
                print name
            }
        }' | sort -u)
    [ -n "$declared" ] || { echo "symbols.sh: $3 declares nothing"; exit 1; }
    both=$(printf '%s\n%s\n' "$shown" "$declared" | sort | uniq -d)
    complain 'declared with MANTA_API, but nowhere defined' \
        "$(printf '%s\n%s\n' "$declared" "$both" | sort | uniq -u)"
    complain 'shown, but in no public header' "$(printf '%s\n%s\n' "$shown" "$both" | sort | uniq -u)"
fi
exit $status
