"""Checks the shared library of an archive that cannot be run here: the name that programs will look
for it by, and that it shows every function of the header and nothing else.

usage: names.py LIBRARY VERSION
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

HEADER = Path(__file__).resolve().parents[2] / "include" / "b24_messageservice.h"
# From Mach-O's format: commands, and the bits of a symbol's type.
ID_DYLIB, SYMTAB = 0xD, 0x2
EXTERNAL, PRIVATE, KIND, IN_SECTION = 0x01, 0x10, 0x0E, 0x0E
# What zig's linker adds.
ADDED = {"_mh_dylib_header", "__dso_handle"}


def declared() -> set[str]:
    """The functions of the header."""
    text = output("cc", "-E", "-P", str(HEADER))
    return set(re.findall(r"\b(b24_[a-z0-9_]+) ?\(", text))


def output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def text_at(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


def mach_o(data: bytes) -> tuple[str, set[str]]:
    """The install name and the symbols of a library for macOS."""
    name, symbols = "", set()
    commands = struct.unpack_from("<I", data, 16)[0]
    at = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<II", data, at)
        if command == ID_DYLIB:
            name = text_at(data, at + struct.unpack_from("<I", data, at + 8)[0])
        if command == SYMTAB:
            first, count, texts, _ = struct.unpack_from("<IIII", data, at + 8)
            for number in range(count):
                text, kind = struct.unpack_from("<IB", data, first + 16 * number)
                if kind & EXTERNAL and not kind & PRIVATE and kind & KIND == IN_SECTION:
                    symbols.add(text_at(data, texts + text).removeprefix("_"))
        at += size
    return name, symbols - ADDED


def elf(path: Path) -> tuple[str, set[str]]:
    """The SONAME and the symbols of a library for Linux."""
    found = re.search(r"SONAME.*\[(.+)\]", output("readelf", "--dynamic", "--wide", str(path)))
    rows = [
        line.split() for line in output("readelf", "--dyn-syms", "--wide", str(path)).splitlines()
    ]
    symbols = {row[7] for row in rows if len(row) > 7 and row[4] == "GLOBAL" and row[6] != "UND"}
    return found[1] if found else "", symbols


def pe(path: Path) -> tuple[str, set[str]]:
    """The name and the functions of a library for Windows."""
    text = output("x86_64-w64-mingw32-objdump", "--private-headers", str(path))
    _, _, exports = text.partition("The Export Tables")
    found = re.search(r"^Name\s+\S+\s+(\S+)$", exports, re.MULTILINE)
    functions = exports.partition("[Ordinal/Name Pointer] Table")[2].partition("\n\n")[0]
    return found[1] if found else "", set(
        re.findall(r"\[ *\d+\].* (\w+)$", functions, re.MULTILINE)
    )


def names(path: Path) -> tuple[str, set[str]]:
    """The name of a library, and what it shows."""
    data = path.read_bytes()
    if data[:4] == b"\x7fELF":
        return elf(path)
    if data[:4] == b"\xcf\xfa\xed\xfe":
        return mach_o(data)
    if data[:2] == b"MZ":
        return pe(path)
    sys.exit(f"names: {path} is no library")


def main() -> None:
    path, major = Path(sys.argv[1]), sys.argv[2].split(".")[0]
    wanted = {
        ".so": f"libb24_messageservice.so.{major}",
        ".dylib": f"@rpath/libb24_messageservice.{major}.dylib",
        ".dll": "b24_messageservice.dll",
    }[path.suffix]
    name, shown = names(path)
    functions = declared()
    if name != wanted:
        sys.exit(f"names: {path} is named {name or 'nothing'}, and should be {wanted}")
    if shown != functions:
        sys.exit(f"names: {path}: too many or too few: {' '.join(sorted(shown ^ functions))}")
    print(f"names: {name} with the {len(functions)} functions of the header")


if __name__ == "__main__":
    main()
