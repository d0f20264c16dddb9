"""Writes the docstrings of the native module into its stub, where editors look for them.

``python bindings/python/docstrings.py`` after a build; with ``--check`` it only says whether the
stub is up to date.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

STUB = Path(__file__).parent / "b24_messageservice" / "_native.pyi"

Documented = ast.ClassDef | ast.FunctionDef


def wanted(source: str) -> str:
    """The stub with the docstrings that the module has now."""
    module = importlib.import_module("b24_messageservice._native")
    tree = ast.parse(source)
    found: list[tuple[Documented, str]] = []

    def look(nodes: list[ast.stmt], owner: object) -> None:
        for node in nodes:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            member = inspect.getattr_static(owner, node.name, None)
            if isinstance(member, classmethod | staticmethod):
                member = getattr(owner, node.name)
            is_hidden = node.name.startswith("_") or (
                # Of several signatures the last one counts.
                isinstance(node, ast.FunctionDef)
                and any(getattr(name, "id", "") == "overload" for name in node.decorator_list)
                and node is not last_of(nodes, node.name)
            )
            text = "" if is_hidden else getattr(member, "__doc__", None) or ""
            found.append((node, inspect.cleandoc(text)))
            if isinstance(node, ast.ClassDef):
                look(node.body, member)

    look(tree.body, module)
    lines = source.splitlines()
    for node, text in sorted(found, key=lambda pair: pair[0].lineno, reverse=True):
        write(lines, node, text)
    return formatted("\n".join(lines) + "\n")


def formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(STUB), "-"]
    done = subprocess.run(command, input=source, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def last_of(nodes: list[ast.stmt], name: str) -> ast.stmt:
    return [node for node in nodes if getattr(node, "name", None) == name][-1]


def write(lines: list[str], node: Documented, text: str) -> None:
    """Replaces the docstring of a class or function, from the last line of the file upwards."""
    first = node.body[0]
    assert first.end_lineno is not None
    has = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    indent = " " * (node.col_offset + 4)
    shown = docstring(text, indent) if text else []
    if has:
        rest = node.body[1:] or isinstance(node, ast.ClassDef)
        lines[first.lineno - 1 : first.end_lineno] = shown or ([] if rest else [indent + "..."])
    elif isinstance(node, ast.FunctionDef) and shown:
        # The body is `...`, behind the colon.
        lines[first.lineno - 1] = lines[first.lineno - 1].removesuffix(" ...")
        lines[first.lineno : first.lineno] = shown
    elif shown:
        lines[first_line(node) - 1 : first_line(node) - 1] = [*shown, ""]


def first_line(node: Documented) -> int:
    """Where the body begins, decorators included."""
    first = node.body[0]
    decorators = getattr(first, "decorator_list", [])
    return min([first.lineno, *(decorator.lineno for decorator in decorators)])


def docstring(text: str, indent: str) -> list[str]:
    assert '"""' not in text
    assert "\\" not in text
    lines = textwrap.indent(f'"""{text}', indent).splitlines()
    if len(lines) > 1:
        return [*lines, indent + '"""']
    return [lines[0] + '"""']


def main() -> int:
    source = STUB.read_text(encoding="utf-8")
    made = wanted(source)
    if "--check" not in sys.argv[1:]:
        STUB.write_text(made, encoding="utf-8")
    elif made != source:
        print(f"{STUB.name} lacks docstrings of the module: make build generate", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
