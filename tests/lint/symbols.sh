#!/bin/sh
# symbols.sh NM LIBRARY
# The shared library may define manta_* and nothing else. Exit status 1, with the names, if not.
set -u
names=$("$1" -D --defined-only "$2" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }') || exit 1
bad=$(printf '%s\n' "$names" | grep -v '^manta_')
if [ -n "$bad" ]; then
    echo "symbols.sh: $2 shows what is not manta_*:"
    echo "$bad"
    exit 1
fi
printf '%s\n' "$names" | grep -q '^manta_version$' || {
    echo "symbols.sh: $2 does not even show manta_version"
    exit 1
}
