#!/bin/sh
# layers_selftest.sh LINT_DIR: layers.sh has to say about fixtures/layers exactly what
# fixtures/layers.expected says: each bad include, and none of the good ones.
set -u
out=$(sh "$1/layers.sh" "$1/fixtures/layers") && {
    echo "layers.sh passed a tree that breaks the rules"
    exit 1
}
printf '%s\n' "$out" | diff "$1/fixtures/layers.expected" - || {
    echo "layers.sh does not say what it should (< expected, > said)"
    exit 1
}
