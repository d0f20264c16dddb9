"""Fails if modules of a Rust crate import each other in a circle, and shows the circle.

Two graphs must have none: that of the files, and that of the files and folders beside each other,
where a folder stands for all that it holds. A path through a re-export counts for the module that
defines what it names. Tests do not count: they may look upwards.

This is a script of ours because cargo-modules, which draws such graphs, takes a type and its own
methods for a circle, and to build it takes 680 seconds of a processor, more than all lints do.

usage: layers.py SRC [SRC ...]      directories with a lib.rs
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Name = tuple[str, ...]

#: Where a module may have a file of its own, and how the names of those files end.
SYSTEMS = {
    "linux": ("unix", "linux"),
    "macos": ("unix", "not_linux"),
    "windows": ("windows", "not_linux"),
}

#: What could hide a brace or look like a path. Lines stay what they are.
HIDDEN = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | \bb?r(\#*)".*?"\1 | "(?:\\.|[^"\\])*" | '(?:\\[^\n]+?|[^\\'])'""",
    re.VERBOSE | re.DOTALL,
)
TEST = re.compile(r"#\[cfg\((?:test|shuttle|all\(test\b[^]]*)\)\]")
INLINE = re.compile(r"\bmod\s+(\w+)\s*\{")
USE = re.compile(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);")
PATH = re.compile(r"(?<![\w:])(?:\w+)(?:::\w+)+")


@dataclass
class Module:
    """One file."""

    name: Name
    path: Path
    #: The paths that it names, the line of each, and the module that they are relative to.
    named: list[tuple[Name, int, Name]] = field(default_factory=list)
    #: What it re-exports: the name, and where that comes from.
    exported: dict[str, tuple[Name, Name]] = field(default_factory=dict)


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def closing(text: str, start: int) -> int:
    """The end of the item that starts here: its semicolon or its last brace."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] in "{([") - (text[at] in "})]")
        if depth == 0 and text[at] in ";}":
            return at + 1
    return len(text)


def leaves(tree: str) -> Iterator[tuple[Name, str]]:
    """The paths of a use declaration, and the name that each gets."""
    tree = tree.strip()
    if "{" in tree:
        prefix, inner = tree.split("{", 1)
        before = tuple(part for part in prefix.replace(" ", "").split("::") if part)
        depth, item = 0, ""
        for character in inner[: inner.rindex("}")] + ",":
            depth += (character == "{") - (character == "}")
            if character == "," and depth == 0:
                for path, name in leaves(item):
                    rest = () if path == ("self",) else path
                    yield before + rest, name if rest else before[-1]
                item = ""
            else:
                item += character
    elif tree:
        whole, _, alias = tree.partition(" as ")
        parts = tuple(part.strip() for part in whole.split("::") if part.strip())
        yield parts, alias.strip() or parts[-1]


def read(module: Module) -> None:
    text = HIDDEN.sub(lambda found: blank(found[0]), module.path.read_text())
    while found := TEST.search(text):
        end = closing(text, found.end())
        text = text[: found.start()] + blank(text[found.start() : end]) + text[end:]
    read_part(module, module.name, text, 1)


def read_part(module: Module, inside: Name, text: str, line: int) -> None:
    """Reads a file, or a module that is written in it."""
    while found := INLINE.search(text):
        end = closing(text, found.start())
        before = text.count("\n", 0, found.end())
        read_part(module, (*inside, found[1]), text[found.end() : end - 1], line + before)
        text = text[: found.start()] + blank(text[found.start() : end]) + text[end:]
    code = USE.sub(lambda found: blank(found[0]), text)
    for found in USE.finditer(text):
        at = line + text.count("\n", 0, found.start())
        for path, name in leaves(found[2]):
            if found[1] and inside == module.name:
                module.exported[name] = (path, inside)
            if not found[1] or re.search(rf"\b{re.escape(name)}\b", code):
                module.named.append((path, at, inside))
    for found in PATH.finditer(code):
        at = line + code.count("\n", 0, found.start())
        module.named.append((tuple(found[0].split("::")), at, inside))


def resolve(modules: dict[Name, Module], path: Name, inside: Name) -> Name | None:
    """The module of this crate that a path leads to; None if it leads elsewhere."""
    exporter: Name | None = None
    while True:
        place: Name = ()
        if path[0] == "crate":
            rest = path[1:]
        elif path[0] in ("self", "super") or (*inside, path[0]) in modules:
            place, rest = inside, path
            while rest and rest[0] in ("self", "super"):
                place = place[:-1] if rest[0] == "super" else place
                rest = rest[1:]
        else:
            return exporter
        while rest and (*place, rest[0]) in modules:
            place, rest = (*place, rest[0]), rest[1:]
        while place not in modules:  # a module that is written in a file
            place = place[:-1]
        if not rest or rest[0] not in modules[place].exported or exporter == place:
            return place
        exporter = place
        path, inside = modules[place].exported[rest[0]]
        path += rest[1:]


def circle(graph: dict[Name, set[Name]]) -> list[Name]:
    """A circle, which ends where it begins; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # In the exception each is used by the next.
        return list(reversed(error.args[1]))
    return []


def check(source: Path, system: str) -> bool:
    """Whether a crate has no circle on a system, for which a module may have a file of its own,
    `NAME_SYSTEM.rs`; else one is shown."""
    modules: dict[Name, Module] = {}
    endings = {ending for several in SYSTEMS.values() for ending in several}
    for file in sorted(source.rglob("*.rs")):
        name = file.relative_to(source).with_suffix("").parts
        # The longest first: `not_linux` ends with `linux`, too.
        for ending in sorted(endings, key=len, reverse=True):
            if name[-1].endswith(f"_{ending}"):
                break
        else:
            ending = ""
        if ending and ending not in SYSTEMS[system]:
            continue
        name = (*name[:-1], name[-1].removesuffix(f"_{ending}"))
        name = name[:-1] if name[-1] in ("lib", "mod", "main") else name
        modules[name] = Module(name, file)
    if () not in modules:
        raise SystemExit(f"layers: there is no {source}/lib.rs")
    for module in modules.values():
        read(module)

    uses: dict[tuple[Name, Name], str] = {}
    for module in modules.values():
        for path, line, inside in module.named:
            target = resolve(modules, path, inside)
            if target is not None and target != module.name:
                uses.setdefault((module.name, target), f"{module.path}:{line}: {'::'.join(path)}")

    files: dict[Name, set[Name]] = {name: set() for name in modules}
    # By the folder, what lies in it.
    folders: dict[Name, dict[Name, set[Name]]] = {}
    reasons = dict(uses)
    for (user, used), reason in uses.items():
        files[user].add(used)
        shared = 0
        while user[: shared + 1] == used[: shared + 1] and shared < min(len(user), len(used)):
            shared += 1
        one, other = user[: shared + 1], used[: shared + 1]
        if len(one) == len(other) == shared + 1:
            folders.setdefault(user[:shared], {}).setdefault(one, set()).add(other)
            reasons.setdefault((one, other), reason)

    circles = [around for graph in (files, *folders.values()) if (around := circle(graph))]
    for around in circles[:1]:
        print(f"layers: a circle in {source}:")
        for one, other in zip(around, around[1:]):
            names = " uses ".join("::".join(name) or "lib" for name in (one, other))
            print(f"  {names}\n    {reasons[one, other]}")
    if not circles:
        print(f"layers: no circle among the {len(modules)} modules of {source} on {system}")
    return not circles


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("usage: layers.py SRC [SRC ...]")
    outcomes = [check(Path(source), system) for source in sys.argv[1:] for system in SYSTEMS]
    sys.exit(0 if all(outcomes) else 1)
