#!/bin/bash
# Installs into a directory of its own and builds a program as users do: with pkg-config, shared and
# static, and with CMake; then uninstalls. Each program is run away from the build tree.
set -u
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
stage=$root/stage
prefix=/opt/b24
lib=$stage$prefix/lib
version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../../Cargo.toml | head -n 1)
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

prints_without_warnings() {
    # It warns, and succeeds all the same.
    ! groff -ww -mandoc -Tutf8 "$stage$prefix"/share/man/man3/*.3 2>&1 >/dev/null | grep .
}

# pkg-config as one uses it on a staged installation.
config() {
    PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$stage pkg-config "$@" b24_messageservice
}

cat >"$root/user.c" <<'END'
#include <b24_messageservice.h>
#include <stdio.h>

int main(void)
{
    b24_config *config = b24_config_new();
    b24_client *client = NULL;
    b24_error *error = NULL;
    b24_code code = b24_client_new(config, &client, &error);
    printf("%s %d\n", b24_version(), (int)code);
    b24_error_free(error);
    b24_config_free(config);
    return code == B24_INVALID_CONFIG ? 0 : 1;
}
END
cat >"$root/user.cpp" <<'END'
#include <b24_messageservice.hpp>

int main()
{
    try {
        b24::client client{b24::config()};
    } catch (const b24::error &error) {
        return error.code() == B24_INVALID_CONFIG ? 0 : 1;
    }
    return 1;
}
END
mkdir "$root/cmake"
cat >"$root/cmake/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.13)
project(user C CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(b24_messageservice 1.0 REQUIRED)
find_package(b24_messageservice 1.0 REQUIRED)
add_executable(user_shared ../user.c)
target_link_libraries(user_shared b24_messageservice::shared)
add_executable(user_static ../user.c)
target_link_libraries(user_static b24_messageservice::static)
add_executable(user_cpp ../user.cpp)
target_link_libraries(user_cpp b24_messageservice::shared)
END

build_shared() {
    # shellcheck disable=SC2046
    cc "$root/user.c" -o "$root/shared" $(config --cflags --libs)
}
# Without -static the linker prefers a shared library, so it gets a directory without one.
build_static() {
    mkdir -p "$root/only-static"
    ln -sf "$lib/libb24_messageservice.a" "$root/only-static"
    # shellcheck disable=SC2046
    cc "$root/user.c" -o "$root/static" -L"$root/only-static" $(config --cflags --static --libs | sed "s|-L$lib||")
}
build_whole_static() {
    # shellcheck disable=SC2046
    cc -static "$root/user.c" -o "$root/whole-static" $(config --cflags --static --libs)
}
uses_no_library_of_ours() {
    ! readelf -d "$1" | grep -q libb24
}
cmake_build() {
    cmake -S "$root/cmake" -B "$root/cmake/build" -DCMAKE_PREFIX_PATH="$stage$prefix" &&
        cmake --build "$root/cmake/build"
}
refuses_another_major() {
    sed -i 's/b24_messageservice 1.0/b24_messageservice 2.0/' "$root/cmake/CMakeLists.txt"
    ! cmake -S "$root/cmake" -B "$root/cmake/other" -DCMAKE_PREFIX_PATH="$stage$prefix"
}
# A cargo that puts texts where cargo puts the libraries for another target.
fake_cargo() {
    cat >"$root/cargo" <<'END'
#!/bin/sh
out=$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/release
mkdir -p "$out"
for library in libb24_messageservice.so libb24_messageservice.a libb24_messageservice.dylib \
    b24_messageservice.dll libb24_messageservice.dll.a; do
    echo "$library of $CARGO_BUILD_TARGET" >"$out/$library"
done
END
    chmod +x "$root/cargo"
}
# Beside a library for this machine, which must not be installed in its place.
installs_for_another_target() {
    local there=$root/other$prefix/lib target=aarch64-unknown-linux-gnu
    fake_cargo
    mkdir -p "$root/target/release"
    for library in libb24_messageservice.so libb24_messageservice.a; do
        echo "$library of this machine" >"$root/target/release/$library"
    done
    CARGO_TARGET_DIR=$root/target CARGO_BUILD_TARGET=$target command make --no-print-directory install \
        PREFIX="$prefix" DESTDIR="$root/other" TARGET="$root/target" CARGO="$root/cargo" STRIP=true HIDE=no &&
        grep -x "libb24_messageservice.so of $target" "$there/libb24_messageservice.so" &&
        grep -x "libb24_messageservice.a of $target" "$there/libb24_messageservice.a"
}
# A page for each function, under its own name.
every_function_has_a_page() {
    local name pages=$stage$prefix/share/man/man3 without=0
    for name in $(sed 's|//.*||' ../../include/b24_messageservice.h | grep -oE '\bb24_[a-z_]+ ?\(' | tr -d ' ('); do
        grep -q "^.Fn $name\>" "$pages/$name.3" || { echo "no page for $name"; without=1; }
    done
    return "$without"
}
# The names that the systems' own linkers and loaders know. Nothing is left by uninstall.
install_for() { # TARGET WHAT
    fake_cargo
    CARGO_TARGET_DIR=$root/target CARGO_BUILD_TARGET=$1 command make --no-print-directory "$2" \
        PREFIX="$prefix" DESTDIR="$root/$1" TARGET="$root/target" CARGO="$root/cargo" STRIP=true
}
installs_for_windows() {
    local target=x86_64-pc-windows-gnu
    local there=$root/$target$prefix
    install_for $target install &&
        grep -x "b24_messageservice.dll of $target" "$there/bin/b24_messageservice.dll" &&
        grep -x "libb24_messageservice.dll.a of $target" "$there/lib/libb24_messageservice.dll.a" &&
        grep -F 'IMPORTED_IMPLIB "${_b24_lib}/libb24_messageservice.dll.a"' "$there"/lib/cmake/*/*-config.cmake &&
        grep -F '"${_b24_lib}/../bin/b24_messageservice.dll"' "$there"/lib/cmake/*/*-config.cmake &&
        install_for $target uninstall && [ -z "$(find "$there" ! -type d)" ]
}
installs_for_macos() {
    local target=aarch64-apple-darwin
    local there=$root/$target$prefix
    install_for $target install &&
        grep -x "libb24_messageservice.dylib of $target" "$there/lib/libb24_messageservice.1.dylib" &&
        grep -F '"@rpath/libb24_messageservice.1.dylib"' "$there"/lib/cmake/*/*-config.cmake &&
        install_for $target uninstall && [ -z "$(find "$there" ! -type d)" ]
}
nothing_left() {
    [ -z "$(find "$stage" ! -type d)" ] || { find "$stage" ! -type d && false; }
}

make() {
    command make --no-print-directory PREFIX="$prefix" DESTDIR="$stage" "$@"
}

try install make install
try "the real file" test -f "$lib/libb24_messageservice.so.$version"
try "pkg-config, shared" build_shared
try "shared, run" env LD_LIBRARY_PATH="$lib" "$root/shared"
try "pkg-config, the static library" build_static
try "static, run" "$root/static"
try "static, alone" uses_no_library_of_ours "$root/static"
try "pkg-config, -static" build_whole_static
try "-static, run" "$root/whole-static"
try "pkg-config, version" test "$(config --modversion)" = "$version"
try cmake cmake_build
for program in user_shared user_static user_cpp; do
    try "cmake, $program" "$root/cmake/build/$program"
done
try "cmake, static alone" uses_no_library_of_ours "$root/cmake/build/user_static"
try "cmake, another major version" refuses_another_major
try "man pages" mandoc -T lint -W warning "$stage$prefix"/share/man/man3/*.3
if command -v groff >/dev/null; then
    try "man pages, as groff prints them" prints_without_warnings
else
    echo "C install: no groff, so no page is printed with it"
fi
try "a man page for each function" every_function_has_a_page
try uninstall make uninstall
try "nothing left" nothing_left
try "another target" installs_for_another_target
try "Windows" installs_for_windows
try "macOS" installs_for_macos

echo "C install: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
