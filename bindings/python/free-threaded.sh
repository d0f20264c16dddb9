#!/bin/sh
# Builds the module for a free-threaded CPython, whose ABI is its own, and runs there what is run in
# every other one: the smoke test, the tests of this binding and the rows of the scenarios for Python.
# Threads then run at the same time, so test_threads.py goes on for longer.
#
# usage: free-threaded.sh [PYTEST ARGUMENT ...]     PYTHON_FREE_THREADED=/path/to/python3.14t
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
python=${PYTHON_FREE_THREADED:-python3.14t}
work=$target/free-threaded
venv=$work/venv
export B24_PORTAL_BIN="${B24_PORTAL_BIN:-$target/debug/b24-portal}"

"$python" -c '
import sys, sysconfig
sys.exit(not sysconfig.get_config_var("Py_GIL_DISABLED") or sys.version_info < (3, 14))
' 2>/dev/null || {
    echo "free-threaded.sh: $python is no free-threaded CPython 3.14 or later: name one in PYTHON_FREE_THREADED" >&2
    exit 1
}
rm -rf "$work"
mkdir -p "$work"
"$python" -m venv "$venv"
maturin build --quiet --locked --profile dev -i "$python" --out "$work"
(cd emulator && maturin build --quiet --locked --profile dev --out "$work")
"$venv/bin/pip" install --quiet "$work"/*.whl
# The binary psycopg, which has no build for it, is for a test of PostgreSQL alone.
grep -v '^psycopg' bindings/python/requirements-dev.txt >"$work/requirements.txt"
"$venv/bin/pip" install --quiet --only-binary :all: -r "$work/requirements.txt"

"$venv/bin/python" -I bindings/python/tests/smoke.py "$B24_PORTAL_BIN"
# From a folder without the package, which would be imported instead of what was installed.
"$venv/bin/python" -P -m pytest -q -rs bindings/python/tests "$@"
"$venv/bin/python" -P -m pytest -q tests/scenarios -m python -n 8
