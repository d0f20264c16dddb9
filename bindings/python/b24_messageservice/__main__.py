"""``python -m b24_messageservice``: the program ``b24-messageservice``."""

from __future__ import annotations

import sys

from ._native import run_shell


def main() -> int:
    """Runs the program with the arguments of this process, and gives its exit code."""
    return run_shell(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
