#!/bin/sh
# headers_selftest.sh LINT_DIR CC CXX ...: headers.sh has to reject each bad fixture, for its reason.
set -u
lint=$1
shift
out=$(sh "$lint/headers.sh" "$lint/fixtures/headers" "$@" 2>&1) && {
    echo "headers.sh passed headers that are bad"
    exit 1
}
status=0
for want in '<manta/needs_another.h> does not stand alone in c17' \
    '<manta/needs_another.h> does not stand alone in c++17' \
    '<manta/c_only.h> does not stand alone in c++17' \
    '<manta/c_only.h> does not stand alone in c++20' \
    '<manta/no_guard.h> does not stand alone in c17'; do
    case $out in
    *"$want"*) ;;
    *) echo "headers.sh did not say: $want"; status=1 ;;
    esac
done
for never in '<manta/c_only.h> does not stand alone in c17' '<manta/good.h>'; do
    case $out in
    *"$never"*) echo "headers.sh said: $never"; status=1 ;;
    esac
done
exit $status
