#!/bin/bash
# Compares the ABI that the header promises with the one last released (b24_messageservice.abi.xml),
# and fails if a function or a value is missing or changed; additions are allowed. With --release it
# writes the file instead.
#
# tests/exports.sh checks that the library has exactly these functions. libabigail does not read the
# debug information of Rust, so a library made from the header alone takes the place of the real one.
set -eu
cd "$(dirname "$0")"
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

{
    echo '#include <b24_messageservice.h>'
    gcc -E -P ../../../include/b24_messageservice.h | tr '\n' ' ' | tr ';' '\n' |
        grep -E '\bb24_[a-z_]+\([^*]' | grep -v typedef | sed 's/$/ { __builtin_trap(); }/'
} >"$directory/functions.c"
# From within the directory, so that its name is not in what is compared.
include=$(realpath ../../../include)
(cd "$directory" && gcc -std=c11 -g -fno-eliminate-unused-debug-types -shared -fPIC -I"$include" \
    -Wl,-soname,libb24_messageservice.so.1 -o functions.so functions.c)
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
