#!/bin/bash
# What the static library shows the linker: the functions of the header and no more. So a program may
# have its own SQLite, and link a second library in Rust.  usage: archive.sh ARCHIVE
set -u
archive=$(realpath "$1")
cd "$(dirname "$0")"
include=$(realpath ../../../include)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
passed=0
failed=0

try() { # NAME COMMAND...
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

declared=$(gcc -E -P "$include/b24_messageservice.h" | grep -oE '\bb24_[a-z_]+ ?\(' | tr -d ' (' | sort -u)
visible=$(readelf -sW "$archive" | awk '$5 ~ /GLOBAL|WEAK/ && $7 != "UND" { print $8 }' | sort -u)
echo "visible: $(grep -c '^b24_' <<<"$visible") of the header, $(grep -vc '^b24_' <<<"$visible") others"
try "visible, against the header" diff <(echo "$declared") <(echo "$visible")

# As a host does that has SQLite too, another one or other settings.
cat >"$root/program.c" <<'END_OF_PROGRAM'
#include <b24_messageservice.h>
#include <stdio.h>
#include <string.h>

void other_begin(void);
int other_panics(void);

const char *sqlite3_libversion(void);
const char *sqlite3_libversion(void)
{
    return "the program's own";
}

static b24_code open_store(const char *store)
{
    b24_config *config = b24_config_new();
    b24_provider *provider = NULL;
    b24_error *error = NULL;
    b24_code code = b24_config_set(config, "store", store, &error);
    if (code == B24_OK)
        code = b24_config_set(config, "client_id", "app.1", &error);
    if (code == B24_OK)
        code = b24_config_set(config, "client_secret", "secret", &error);
    if (code == B24_OK)
        code = b24_provider_open(config, &provider, &error);
    if (code != B24_OK)
        puts(b24_error_message(error));
    b24_error_free(error);
    b24_provider_close(provider);
    b24_config_free(config);
    return code;
}

int main(int argc, char **argv)
{
    other_begin();
    /* Sets a panic hook: that of this library's own copy of Rust's standard library. */
    b24_code code = argc == 2 ? open_store(argv[1]) : B24_INTERNAL;
    int seen = other_panics();
    printf("%s, %d panic seen, %s\n", b24_code_name(code), seen, sqlite3_libversion());
    return code != B24_OK || seen != 1 || strcmp(sqlite3_libversion(), "the program's own") != 0;
}
END_OF_PROGRAM
cat >"$root/single.c" <<'END_OF_PROGRAM'
#include <b24_messageservice.h>

int main(void)
{
    return b24_version_check(B24_VERSION_NUMBER, 0);
}
END_OF_PROGRAM

libraries=(-lutil -lrt -lpthread -lm -ldl)
other=$root/libother.a
try "another library in Rust" rustc --edition 2024 --crate-type staticlib -O -C panic=unwind -o "$other" archive/other.rs
link() { # PROGRAM ARGUMENTS...
    local program=$root/$1
    shift
    cc -std=c11 -Wall -Wextra -pedantic -Werror -I"$include" "$root/program.c" -o "$program" "$@" "${libraries[@]}"
}
run() { # PROGRAM
    rm -rf "$root/store"
    mkdir -m 700 "$root/store"
    "$root/$1" "sqlite:$root/store/b24.db"
}
try "two in Rust" link two "$archive" "$other"
try "two in Rust, the other first" link other-first "$other" "$archive"
try "two in Rust, without unused sections" link without-unused "$archive" "$other" -Wl,--gc-sections
try "two in Rust, -static" link whole-static "$archive" "$other" -static
for program in two other-first without-unused whole-static; do
    try "two in Rust, $program, run" run "$program"
done
no_executable_stack() {
    readelf -lW "$1" | grep -q 'GNU_STACK.*RW '
}
try "no executable stack" no_executable_stack "$root/two"
alone() {
    cc -std=c11 -I"$include" "$root/single.c" -o "$root/single" "$archive" "${libraries[@]}" && "$root/single"
}
try "no other library in Rust" alone
# A plugin whose host has this library too keeps its copy to itself.
plugin() {
    cc -std=c11 -shared -fPIC -Dmain=plugin_start -I"$include" "$root/single.c" -o "$root/plugin.so" "$archive" \
        -Wl,--exclude-libs,ALL "${libraries[@]}" &&
        [ "$(nm -D --defined-only "$root/plugin.so" | awk '{ print $3 }')" = plugin_start ]
}
try "a plugin that shows only its own function" plugin

echo "C archive: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
