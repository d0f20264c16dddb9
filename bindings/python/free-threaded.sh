#!/bin/sh
# Runs the test suite under a CPython without the GIL.
#
#   free-threaded.sh [PYTHON]
#
# Without a PYTHON, CPython is built from Debian's source package into the target directory (some
# minutes, once): no registry has a free-threaded build of it. PyO3 supports free-threading from
# CPython 3.14 on. For 3.13, the latest version whose source Debian has, the same crate is built with
# the last PyO3 that supported it, in a copy.
set -eu

cd "$(dirname "$0")/../.."
root=$(pwd)
target=${CARGO_TARGET_DIR:-$root/target}
export B24_PORTAL_BIN="${B24_PORTAL_BIN:-$target/debug/b24-portal}"
work=$target/free-threaded
mkdir -p "$work"

build_python() {
    apt="$work/apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$work/source"
    # Lists of its own: the system's sources stay as they are.
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian trixie main" >"$apt/sources.list"
    from="-qq -o Dir::Etc::sourcelist=$apt/sources.list -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists=$apt/lists -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086
    (cd "$apt" && apt-get $from update && apt-get $from source --download-only --tar-only python3.13)
    tar -xf "$apt"/python3.13_*.orig.tar.xz -C "$work/source" --strip-components=1
    (
        cd "$work/source"
        ./configure --quiet --disable-gil --without-ensurepip --disable-test-modules \
            --prefix="$work/python"
        make --silent -j"$(nproc)"
        make --silent install
    ) >"$work/python.log" 2>&1
    rm -rf "$work/source"
}

python=${1:-$work/python/bin/python3}
if [ $# -eq 0 ] && [ ! -x "$python" ]; then
    echo "building a free-threaded CPython; its log: $work/python.log"
    build_python
fi
"$python" -c 'import sys; sys.exit(sys._is_gil_enabled())' || {
    echo "$python has a GIL" >&2
    exit 1
}

copy=$work/checkout
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z -co --exclude-standard | xargs -0 cp --parents -t "$copy"
cd "$copy"
if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
    sed -i 's/^pyo3 = .*/pyo3 = { version = "0.28.3", features = ["extension-module"] }/' \
        bindings/python/Cargo.toml
fi
CARGO_TARGET_DIR="$work/target" PYO3_PYTHON="$python" PYO3_BUILD_EXTENSION_MODULE=1 \
    cargo build --quiet -p b24-messageservice-python
cp "$work/target/debug/lib_native.so" bindings/python/b24_messageservice/_native.so

# pytest is pure Python: another interpreter's pip can lay it out.
python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$work/packages" \
    $(grep -E '^(pytest|pluggy|iniconfig|packaging|Pygments)==' bindings/python/requirements-dev.txt)
PYTHONPATH="bindings/python:emulator/python:$work/packages" "$python" -m pytest -q -rs \
    -p no:cacheprovider -p b24_portal.pytest_plugin bindings/python/tests -k "not distribution"
