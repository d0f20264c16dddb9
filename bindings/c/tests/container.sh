#!/bin/bash
# Uses an installation where nothing else is: in a root of its own that holds gcc, g++, make, cmake and
# pkg-config, as Debian has them installed here, with what they depend on. No Rust, no checkout, no
# network. There the library is found without being told where: by ldconfig, pkg-config and CMake's own
# ways, and as the README says for another prefix.
set -u
cd "$(dirname "$0")/.."
passed=0
failed=0

skip() {
    echo "skipped: C container: $1"
    exit 0
}

for program in unshare chroot dpkg-query apt-cache; do
    command -v "$program" >/dev/null || skip "there is no $program"
done
# A user who is not root gets a namespace in which it is.
spaces=(--mount --net)
[ "$(id -u)" -eq 0 ] || spaces=(--user --map-root-user "${spaces[@]}")
reason=$(unshare "${spaces[@]}" chroot / true 2>&1) || skip "no namespaces and chroot here: $reason"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
wanted=(gcc g++ make cmake libc6-dev libc-bin dash coreutils sed grep)
for program in pkg-config pkgconf; do
    dpkg-query -W "$program" >/dev/null 2>&1 && wanted+=("$program")
done
mapfile -t packages < <(apt-cache depends --recurse --installed --no-recommends --no-suggests \
    --no-conflicts --no-breaks --no-replaces --no-enhances "${wanted[@]}" | grep '^[a-z]' | sort -u)
mapfile -t installed < <(dpkg-query -W -f '${Package}:${Architecture} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null |
    awk '$2 == "installed" { sub(":all$", "", $1); print $1 }')
[ "${#installed[@]}" -ge 10 ] || skip "gcc, cmake and pkg-config are not Debian packages here"
for directory in bin sbin lib lib64; do
    mkdir -p "$root/usr/$directory"
    [ ! -L "/$directory" ] || ln -s "usr/$directory" "$root/$directory"
done
mkdir -p "$root/dev" "$root/tmp" "$root/try/cmake" "$root/usr/local"
dpkg-query -L "${installed[@]}" | sort -u | grep -vE '^/\.?$|^/usr/share/(doc|man|info|locale)/' |
    while read -r path; do
        # Directories come with what is in them.
        if [ -L "$path" ] || [ -f "$path" ]; then echo "$path"; fi
    done | tar -C / -cf - --no-recursion --files-from=- 2>/dev/null | tar -C "$root" -xf - --keep-directory-symlink

make --no-print-directory --silent install PREFIX=/usr/local DESTDIR="$root" >/dev/null &&
    make --no-print-directory --silent install PREFIX=/opt/b24 DESTDIR="$root" >/dev/null || exit 1

cat >"$root/try/user.c" <<'END_OF_PROGRAM'
#include <b24_messageservice.h>
#include <stdio.h>

int main(void)
{
    b24_error *error = NULL;
    b24_code code = b24_version_check(B24_VERSION_NUMBER, &error);
    puts(code == B24_OK ? b24_version() : b24_error_message(error));
    b24_error_free(error);
    return code != B24_OK;
}
END_OF_PROGRAM
cat >"$root/try/user.cpp" <<'END_OF_PROGRAM'
#include <b24_messageservice.hpp>

int main()
{
    return b24::try_version_check().has_value();
}
END_OF_PROGRAM
cat >"$root/try/cmake/CMakeLists.txt" <<'END_OF_FILE'
cmake_minimum_required(VERSION 3.13)
project(user C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(b24_messageservice 1.0 REQUIRED)
add_executable(user_shared ../user.c)
target_link_libraries(user_shared b24_messageservice::shared)
add_executable(user_static ../user.c)
target_link_libraries(user_static b24_messageservice::static)
add_executable(user_cpp ../user.cpp)
target_link_libraries(user_cpp b24_messageservice::shared)
END_OF_FILE

try() { # NAME SCRIPT
    local output
    # shellcheck disable=SC2016
    if output=$(unshare "${spaces[@]}" sh -c 'mount --rbind /dev "$1/dev" && exec chroot "$1" "$2" -i \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp sh -euc "cd /try; $3"' \
        -- "$root" /usr/bin/env "$2" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s:\n%s\n' "$1" "$output" >&2
    fi
}

echo "C container: a root of ${#installed[@]} packages, $(du -sh "$root" | cut -f1)"
try "nothing of Rust" '! command -v cargo && ! command -v rustc'
try "no network" '! test -e /etc/resolv.conf'
try ldconfig ldconfig
# shellcheck disable=SC2016
{
    try "pkg-config, shared" 'gcc user.c -o shared $(pkg-config --cflags --libs b24_messageservice); ./shared'
    try "pkg-config, static" 'gcc -static user.c -o static $(pkg-config --cflags --static --libs b24_messageservice); ./static'
    try "pkg-config, C++" 'g++ -std=c++17 user.cpp -o cpp $(pkg-config --cflags --libs b24_messageservice); ./cpp'
    try "CMake" 'cmake -S cmake -B build && cmake --build build'
    for program in user_shared user_static user_cpp; do
        try "CMake, $program" "build/$program"
    done
    try "another prefix, CMake" 'cmake -S cmake -B other -DCMAKE_PREFIX_PATH=/opt/b24 && cmake --build other
        readelf -d other/user_shared | grep "RUNPATH.*/opt/b24/lib"; other/user_shared'
    try "another prefix, by rpath" 'export PKG_CONFIG_PATH=/opt/b24/lib/pkgconfig
        gcc user.c -o rpath $(pkg-config --cflags --libs b24_messageservice) \
            -Wl,-rpath,$(pkg-config --variable=libdir b24_messageservice)
        rm /usr/local/lib/libb24_messageservice.so*; ldconfig; ./rpath; ! ./shared 2>/dev/null'
    try "another prefix, by ldconfig" 'echo /opt/b24/lib >/etc/ld.so.conf.d/b24.conf; ldconfig; ./shared'
}
echo "C container: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
