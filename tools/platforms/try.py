"""Tries what dist/ has for a platform, as far as its programs run on this machine, and says what
of it was run and what was only built. Each thing reports one message to the portal emulator.

usage: try.py PLATFORM DIST      (after `make build`, from the checkout's environment)
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from b24_portal import Portal

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "scenarios"), str(Path(__file__).parent)]

import matrix  # noqa: E402
from runner.platforms import PLATFORMS, Platform  # noqa: E402

EXAMPLE = ROOT / "bindings" / "c" / "examples" / "single.c"
PYTHON = """
import os
from b24_messageservice import Client
names = ("portal", "access_token", "ca_file", "resolve", "proxy")
client = Client(**{name: os.environ["B24_" + name.upper()] for name in names})
client.message_status_update("provider1", "python", "delivered")
"""
#: How C is compiled for a platform, and what more a static program needs than pkg-config's file
#: says.
COMPILERS = {
    "linux-x86_64": ("cc", ""),
    "linux-arm64": ("python-zig cc -target aarch64-linux-gnu.2.36", "-lunwind"),
    "musl-x86_64": ("python-zig cc -target x86_64-linux-musl", "-static -lunwind"),
    "windows-x86_64": ("x86_64-w64-mingw32-gcc", ""),
}


class Tried:
    """A platform whose things are tried, one after the other."""

    def __init__(self, name: str, dist: Path, place: Path, portal: Portal) -> None:
        self.name = name
        self.dist = dist
        self.place = place
        self.portal = portal
        self.runs: Platform | None = PLATFORMS.get("native" if name == this_platform() else name)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
        self.names = {
            "target": str(target),
            "root": str(target / "platforms"),
            "adapters": str(ROOT / "tests" / "adapters"),
        }
        self.tree = unpack(dist, archive_suffix(name), place)
        self.wheel = place / "wheel"
        wheels = [
            wheel for wheel in dist.glob("b24_messageservice-*.whl") if fits(name, wheel.name)
        ]
        for wheel in wheels:
            zipfile.ZipFile(wheel).extractall(self.wheel)
        self.lib = self.tree / ("bin" if name.startswith("windows") else "lib")

    def run(self, thing: str, words: list[str], stdin: str = "", **environment: str) -> None:
        """Runs a program, which must report the message named like the thing."""
        assert self.runs is not None
        options = self.portal.options()
        done = subprocess.run(
            [word.format(**self.names) for word in words],
            env={
                **self.environment(),
                **{f"B24_{name.upper()}": flat(value) for name, value in options.items()},
                "B24_MESSAGESERVICE_LIB": "",
                **environment,
            },
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        stored = self.portal.history().get(f"provider1|{thing}")
        if done.returncode != 0 or stored != ["delivered"]:
            sys.exit(
                f"try: {self.name}, {thing}: status {done.returncode}, the portal has {stored}\n"
                f"{' '.join(words)}\n{done.stdout}{done.stderr}"
            )

    def environment(self) -> dict[str, str]:
        assert self.runs is not None
        of_platform = self.runs.environment.items()
        return {**os.environ, **{name: value.format(**self.names) for name, value in of_platform}}

    def start(self) -> list[str]:
        assert self.runs is not None
        return list(self.runs.start)

    def program(self) -> None:
        (program,) = (self.tree / "bin").glob("b24-messageservice*")
        self.run(
            "program", [*self.start(), str(program), "update", "provider1", "program", "delivered"]
        )

    def c(self, thing: str = "c") -> None:
        compiler, static = COMPILERS[self.name]
        program = self.place / f"{thing}.exe"
        words = [*compiler.split(), str(EXAMPLE), f"-I{self.tree}/include", "-o", str(program)]
        if thing == "c":
            words += [f"-L{self.tree}/lib", "-lb24_messageservice"]
        else:
            words += [f"{self.tree}/lib/libb24_messageservice.a", *self.private(), *static.split()]
        subprocess.run(words, check=True)
        before = self.start()
        if self.name == "musl-x86_64" and thing == "c":
            before = [
                "{root}/musl-x86_64/usr/lib/ld-musl-x86_64.so.1",
                "--library-path",
                str(self.lib),
            ]
        if self.name.startswith("windows"):
            # Windows looks beside the program.
            for library in self.lib.glob("*.dll"):
                shutil.copy(library, self.place)
        options = self.portal.options()
        del options["access_token"]
        given = [f"{name}={flat(value)}" for name, value in options.items()]
        arguments = [*given, "provider1", thing, "delivered"]
        self.run(thing, [*before, str(program), *arguments], LD_LIBRARY_PATH=str(self.lib))

    def private(self) -> list[str]:
        """What a static program needs of the system, as pkg-config's file has it."""
        file = self.tree / "lib" / "pkgconfig" / "b24_messageservice.pc"
        lines = file.read_text(encoding="utf-8").splitlines()
        (needed,) = (line for line in lines if line.startswith("Libs.private:"))
        return needed.partition(":")[2].split()

    def c_static(self) -> None:
        self.c("c-static")

    def python(self) -> None:
        assert self.runs is not None
        program = self.runs.programs["python"][0]
        self.run(
            "python",
            [*self.start(), program, "-c", PYTHON.replace("{", "{{").replace("}", "}}")],
            PYTHONPATH=str(self.wheel),
        )

    def php(self) -> None:
        assert self.runs is not None
        program = self.runs.programs["php"][:-1]
        example = self.tree / "php" / "examples" / "cli.php"
        words = [*self.start(), *program, str(example)]
        self.run("php", words, "provider1 php delivered\n")

    def emulator(self) -> None:
        """The emulator's program says where it listens, and ends with its input."""
        tree = unpack(self.dist, archive_suffix(self.name), self.place, "b24-portal")
        (program,) = (tree / "bin").glob("b24-portal*")
        words = [word.format(**self.names) for word in [*self.start(), str(program)]]
        done = subprocess.run(
            words, env=self.environment(), input="", capture_output=True, text=True, check=False
        )
        told = json.loads(done.stdout.partition("\n")[0] or "{}")
        if done.returncode != 0 or "control" not in told:
            sys.exit(f"try: {self.name}, emulator: {done.returncode}\n{done.stdout}{done.stderr}")


def flat(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def this_platform() -> str:
    return f"linux-{os.uname().machine.replace('aarch64', 'arm64')}"


def archive_suffix(name: str) -> str:
    lines = (Path(__file__).with_name("table")).read_text(encoding="utf-8").splitlines()
    rows = [[word.strip() for word in line.split("|")] for line in lines if line[:1] != "#"]
    return next(row[3] for row in rows if row[0] == name)


def fits(name: str, wheel: str) -> bool:
    """Whether a wheel is for the platform, by its tag."""
    system, _, machine = name.partition("-")
    tag = {"linux": "manylinux", "musl": "musllinux", "windows": "win", "macos": "macosx"}[system]
    named = {"arm64": ("arm64", "aarch64"), "x86_64": ("x86_64", "amd64")}[machine]
    return tag in wheel and any(part in wheel for part in named)


def unpack(dist: Path, suffix: str, place: Path, name: str = "b24-messageservice") -> Path:
    (archive,) = dist.glob(f"{name}-*-{suffix}.*")
    if archive.suffix == ".zip":
        zipfile.ZipFile(archive).extractall(place)
    else:
        with tarfile.open(archive) as opened:
            opened.extractall(place, filter="fully_trusted")
    return place / archive.name.removesuffix(".zip").removesuffix(".tar.gz")


def main() -> None:
    name, dist = sys.argv[1], Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as place, Portal() as portal:
        tried = Tried(name, dist, Path(place), portal)
        things: dict[str, Callable[[], None]] = {
            "program": tried.program,
            "c": tried.c,
            "c-static": tried.c_static,
            "python": tried.python,
            "php": tried.php,
            "emulator": tried.emulator,
        }
        runnable = {"program", "c-static", "emulator", *(tried.runs.programs if tried.runs else ())}
        for thing, run in things.items():
            told = f"{name}, {matrix.THINGS[thing]}"
            if tried.runs is None or thing not in runnable:
                print(f"try: {told}: only built, nothing here runs it")
                continue
            run()
            how = {"qemu-aarch64-static": "under qemu", "wine": "under wine"}
            matrix.note(name, thing, f"run={how.get(' '.join(tried.start()[:1]), 'here')}")
            print(f"try: {told}: built and run")


if __name__ == "__main__":
    main()
