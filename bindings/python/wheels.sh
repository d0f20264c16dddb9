#!/bin/sh
# Builds the wheel (one for every CPython from 3.9 on, manylinux2014) and the source distribution
# into dist/, and installs them into fresh environments of every CPython on this machine.
#
# Needs the programs of requirements-dev.txt on PATH, and the emulator: B24_PORTAL_BIN, or built.
set -eu

cd "$(dirname "$0")/../.."
dist=${DIST:-dist}
target=${CARGO_TARGET_DIR:-target}
portal=${B24_PORTAL_BIN:-$target/debug/b24-portal}
limit=3145728

[ -x "$portal" ] || {
    echo "the emulator is not built: cargo build -p b24-portal, or set B24_PORTAL_BIN" >&2
    exit 1
}

mkdir -p "$dist"
rm -f "$dist"/b24_messageservice-*.whl "$dist"/b24_messageservice-*.tar.gz
maturin build --release --locked --zig --compatibility manylinux2014 --out "$dist"
maturin sdist --out "$dist"
wheel=$(ls "$dist"/b24_messageservice-*.whl)
sdist=$(ls "$dist"/b24_messageservice-*.tar.gz)

size=$(wc -c <"$wheel")
echo "$(basename "$wheel"): $size bytes, at most $limit"
[ "$size" -le "$limit" ]

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Every CPython from 3.9 on, once a version; a free-threaded one cannot load a stable-ABI wheel.
interpreters() {
    for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 \
        $(printf 'python3.%s ' 9 10 11 12 13 14 15 16) python3; do
        "$python" -c '
import platform, sys, sysconfig
suits = platform.python_implementation() == "CPython" and sys.version_info >= (3, 9)
if suits and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print("%d.%d" % sys.version_info[:2], sys.executable)
' 2>/dev/null || true
    done | sort -u -k1,1
}

interpreters >"$work/interpreters"
passed=0
while read -r version python; do
    "$python" -m venv "$work/$version"
    "$work/$version/bin/python" -m pip install --quiet --no-index "$wheel"
    "$work/$version/bin/python" -m pip check
    "$work/$version/bin/python" -I bindings/python/tests/smoke.py "$portal"
    passed=$((passed + 1))
done <"$work/interpreters"

# The source distribution must contain everything that it needs. Its speed does not matter here.
read -r version python <"$work/interpreters"
"$python" -m venv "$work/sdist"
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    "$work/sdist/bin/python" -m pip install --quiet "$sdist"
"$work/sdist/bin/python" -I bindings/python/tests/smoke.py "$portal"
passed=$((passed + 1))

echo "wheels: $passed passed, 0 failed"
