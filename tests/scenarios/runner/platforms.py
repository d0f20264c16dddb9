"""The platforms that the table can be run on, and how the adapters of each are started here. The
emulator and the runner are always programs of this machine itself."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

VALGRIND = (
    "valgrind",
    "--quiet",
    "--suppressions=bindings/c/tests/valgrind.supp",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite,indirect",
    "--show-leak-kinds=definite,indirect",
    "--error-exitcode=1",
)


@dataclass(frozen=True)
class Platform:
    """How adapters are started. In the texts `{target}` is where everything is built, `{root}` the
    folder with systems of other platforms, and `{adapters}` the folder of the adapters."""

    #: What starts a program of the platform: the program follows.
    start: tuple[str, ...]
    #: The languages that can be run there: each adapter's program, and its first arguments.
    programs: dict[str, tuple[str, ...]]
    #: What is set in the adapters' environment.
    environment: dict[str, str] = field(default_factory=dict)

    def command(
        self, language: str, target: Path, valgrind: bool
    ) -> tuple[list[str], dict[str, str]]:
        """How a language's adapter is started, and in what environment."""
        names = {
            "target": str(target),
            "root": str(target / "platforms"),
            "adapters": str(ROOT / "tests" / "adapters"),
        }
        words = [*self.start, *self.programs[language]]
        if valgrind and language == "c":
            words = [*VALGRIND, *words]
        # Proxies and libraries are those of the table, not those of the environment.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy") and name != "B24_MESSAGESERVICE_LIB"
        }
        environment |= {name: value.format(**names) for name, value in self.environment.items()}
        return [word.format(**names) for word in words], environment


PYTHON = "{adapters}/python/adapter.py"
PHP = "{adapters}/php/adapter.php"

ARM64 = "{target}/aarch64-unknown-linux-gnu"
ARM64_ROOT = "{root}/linux-arm64"
WINDOWS = "{target}/x86_64-pc-windows-gnu"
MUSL = "{target}/x86_64-unknown-linux-musl"

#: By name: `native` is this machine, the others are of tools/platforms/table.
PLATFORMS = {
    "native": Platform(
        start=(),
        programs={
            "rust": ("{target}/debug/b24-adapter",),
            "c": ("{target}/c/bin/adapter",),
            "python": (sys.executable, PYTHON),
            "php": (os.environ.get("B24_PHP") or "php", "-d", "ffi.enable=true", PHP),
        },
        environment={"B24_MESSAGESERVICE_LIB": "{target}/release/libb24_messageservice.so"},
    ),
    "linux-arm64": Platform(
        start=("qemu-aarch64-static", "-L", ARM64_ROOT),
        programs={
            "rust": (f"{ARM64}/debug/b24-adapter",),
            "c": (f"{ARM64}/c/bin/adapter",),
            "python": (f"{ARM64_ROOT}/usr/bin/python3.11", PYTHON),
            "php": (
                *(f"{ARM64_ROOT}/usr/bin/php8.2", "-n"),
                *("-d", f"extension={ARM64_ROOT}/usr/lib/php/20220829/ffi.so"),
                *("-d", "ffi.enable=true"),
                # As php.ini has it for production, natively too.
                *("-d", "zend.exception_ignore_args=1", "-d", "display_errors=0", PHP),
            ),
        },
        environment={
            "B24_MESSAGESERVICE_LIB": f"{ARM64}/debug/libb24_messageservice.so",
            "PYTHONHOME": f"{ARM64_ROOT}/usr",
            "PYTHONPATH": f"{ARM64}/python",
        },
    ),
    # The shared library with musl's own loader, which Debian does not have at its place.
    "musl-x86_64": Platform(
        start=(),
        programs={
            "rust": (f"{MUSL}/debug/b24-adapter",),
            "c": (
                "{root}/musl-x86_64/usr/lib/ld-musl-x86_64.so.1",
                *("--library-path", f"{MUSL}/c/lib", f"{MUSL}/c/bin/adapter"),
            ),
        },
    ),
    "windows-x86_64": Platform(
        start=("wine",),
        programs={
            "rust": (f"{WINDOWS}/debug/b24-adapter.exe",),
            "c": (f"{WINDOWS}/c/bin/adapter.exe",),
        },
        environment={"WINEPREFIX": "{root}/windows-x86_64/wine", "WINEDEBUG": "-all"},
    ),
    # This machine, with programs that tests/tsan/run has instrumented.
    "tsan": Platform(
        start=(),
        programs={
            "rust": ("{target}/tsan/x86_64-unknown-linux-gnu/debug/b24-adapter",),
            "c": ("{target}/tsan/c/adapter",),
        },
    ),
    # A program that holds the static library, and musl too.
    "musl-x86_64-static": Platform(start=(), programs={"c": (f"{MUSL}/c/bin/adapter-static",)}),
}
