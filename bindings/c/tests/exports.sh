#!/bin/bash
# What the shared library shows the linker: the functions of the header and no more, its SONAME, and
# that it stays loaded.  usage: exports.sh LIBRARY MAJOR
set -u
library=$1
major=$2
cd "$(dirname "$0")/../../.."
passed=0
failed=0

check() { # NAME GOT WANTED
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s:\n' "$1" >&2
        diff <(echo "$3") <(echo "$2") >&2
    fi
}

declared=$(gcc -E -P include/b24_messageservice.h | grep -oE '\bb24_[a-z_]+ ?\(' | tr -d ' (' | sort -u)
exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort)
check "exported, against the header" "$exported" "$declared"
dynamic=$(readelf -d "$library")
check "SONAME" "$(grep -oP 'SONAME.*\[\K[^]]+' <<<"$dynamic")" "libb24_messageservice.so.$major"
check "nodelete" "$(grep -o NODELETE <<<"$dynamic")" NODELETE
# The C library, of which old ones have several parts, and the unwinder; a further one would be a burden on every user.
needed=$(grep -oP 'NEEDED.*\[\K[^]]+' <<<"$dynamic" | grep -vE '^(libc|libgcc_s|libm|libpthread|libdl|ld-linux-.*)\.so\.')
check "needed libraries" "$needed" ""

echo "C exports: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
