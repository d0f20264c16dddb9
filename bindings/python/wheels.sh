#!/bin/sh
# Builds the wheel (one for every CPython from 3.9 on, manylinux2014) and the source distribution
# into dist/, and installs them into fresh environments of every CPython on this machine.
#
# A free-threaded CPython cannot load that wheel. For each from 3.14 on that is here (python3.14t and so
# on, pyenv's, or PYTHON_FREE_THREADED) there is one more.
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
wheel=$(ls "$dist"/b24_messageservice-*-abi3-*.whl)
sdist=$(ls "$dist"/b24_messageservice-*.tar.gz)

fits() {
    size=$(wc -c <"$1")
    echo "$(basename "$1"): $size bytes, at most $limit"
    [ "$size" -le "$limit" ]
}
fits "$wheel"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Every CPython from 3.9 on, once a version; free-threaded ones from 3.14 on, with a t.
interpreters() {
    for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 \
        $(printf 'python3.%s ' 9 10 11 12 13 14 15 16 14t 15t 16t) python3 \
        ${PYTHON_FREE_THREADED:+"$PYTHON_FREE_THREADED"}; do
        "$python" -c '
import platform, sys, sysconfig
free = sysconfig.get_config_var("Py_GIL_DISABLED")
least = (3, 14) if free else (3, 9)
if platform.python_implementation() == "CPython" and sys.version_info >= least:
    print("%d.%d%s" % (*sys.version_info[:2], "t" if free else ""), sys.executable)
' 2>/dev/null || true
    done | sort -u -k1,1
}

interpreters >"$work/interpreters"
passed=0
while read -r version python; do
    of_this=$wheel
    case $version in *t)
        maturin build --release --locked --zig --compatibility manylinux2014 -i "$python" --out "$dist"
        of_this=$(ls "$dist"/b24_messageservice-*-cp"$(echo "$version" | tr -d .)"-*.whl)
        fits "$of_this"
        ;;
    esac
    "$python" -m venv "$work/$version"
    "$work/$version/bin/python" -m pip install --quiet --no-index "$of_this"
    "$work/$version/bin/python" -m pip check
    "$work/$version/bin/python" -I bindings/python/tests/smoke.py "$portal"
    passed=$((passed + 1))
done <"$work/interpreters"

# The source distribution must contain everything that it needs. Its speed does not matter here.
read -r version python <"$work/interpreters"
"$python" -m venv "$work/sdist"
# With the time of now: those in the archive are years old, and Cargo would take what it has built of an earlier
# one for what these give.
mkdir "$work/unpacked"
tar -xzmf "$sdist" -C "$work/unpacked"
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    "$work/sdist/bin/python" -m pip install --quiet "$work"/unpacked/*
"$work/sdist/bin/python" -I bindings/python/tests/smoke.py "$portal"
passed=$((passed + 1))

echo "wheels: $passed passed, 0 failed"
