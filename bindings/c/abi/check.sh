#!/bin/bash
# Compares the ABI that the header promises with the one last released (b24_messageservice.abi.xml),
# and fails on a function or a value that is gone or changed; additions are well.  --release writes
# the file anew.
#
# That the library has exactly these functions is the matter of tests/exports.sh. libabigail does not
# read the debug information of Rust, so a library made of the header alone stands for the real one.
set -eu
cd "$(dirname "$0")"
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

{
    echo '#include <b24_messageservice.h>'
    gcc -E -P ../../../include/b24_messageservice.h | tr '\n' ' ' | tr ';' '\n' |
        grep -E '\bb24_[a-z_]+\([^*]' | grep -v typedef | sed 's/$/ { __builtin_trap(); }/'
} >"$directory/functions.c"
gcc -std=c11 -g -fno-eliminate-unused-debug-types -shared -fPIC -I../../../include \
    -Wl,-soname,libb24_messageservice.so.1 -o "$directory/functions.so" "$directory/functions.c"
abidw --no-corpus-path --no-comp-dir-path --no-show-locs --exported-interfaces-only \
    "$directory/functions.so" >"$directory/now.xml"

if [ "${1-}" = --release ]; then
    cp "$directory/now.xml" b24_messageservice.abi.xml
elif abidiff --no-added-syms b24_messageservice.abi.xml "$directory/now.xml"; then
    echo "C abi: 1 passed, 0 failed"
else
    echo "C abi: 0 passed, 1 failed"
    exit 1
fi
