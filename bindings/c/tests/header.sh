#!/bin/bash
# The headers in every standard they promise, and in PHP's FFI as they stand.
set -u
cd "$(dirname "$0")/../../.."
passed=0
failed=0

# Runs a command; its output is shown only if it fails.
try() {
    local name=$1
    shift
    local output
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s:\n%s\n' "$name" "$output" >&2
    fi
}

# Included twice, as happens by way of other headers.
compile() { # COMPILER LANGUAGE STANDARD HEADER [OPTION...]
    printf '#include <%s>\n#include <%s>\nint main(void) { return b24_version() == 0; }\n' "$4" "$4" |
        "$1" -x "$2" -std="$3" -Wall -Wextra -pedantic -Werror -Iinclude -fsyntax-only "${@:5}" -
}

for standard in c99 c11 c17 c2x; do
    for compiler in gcc clang; do
        try "$compiler $standard" compile "$compiler" c "$standard" b24_messageservice.h
    done
done
for standard in c++11 c++14 c++17 c++20 c++2b; do
    for compiler in g++ clang++; do
        try "$compiler $standard" compile "$compiler" c++ "$standard" b24_messageservice.h
    done
done
for standard in c++17 c++20 c++2b; do
    for compiler in g++ clang++; do
        try "$compiler $standard, wrapper" compile "$compiler" c++ "$standard" b24_messageservice.hpp
        try "$compiler $standard, wrapper without exceptions" \
            compile "$compiler" c++ "$standard" b24_messageservice.hpp -fno-exceptions -fno-rtti
    done
done

# One error, and not a thousand of what C++14 does not know.
says_c17() {
    [ "$(echo '#include <b24_messageservice.hpp>' | g++ -std=c++14 -Iinclude -fsyntax-only -xc++ - 2>&1 |
        grep -c 'error:')" = 1 ]
}
try "C++14 is told that it is too old" says_c17

# Without a library PHP parses the header, then misses the first function: that it got so far is what
# is asked here.
php_takes_it() {
    php -d ffi.enable=1 -r '
        try {
            FFI::cdef(file_get_contents("include/b24_messageservice.h"));
        } catch (FFI\Exception $e) {
            if (!preg_match("/^Failed resolving C function .b24_/", $e->getMessage())) {
                fwrite(STDERR, $e->getMessage());
                exit(1);
            }
        }'
}
try "PHP FFI::cdef" php_takes_it

echo "C header: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
