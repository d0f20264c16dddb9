"""Puts the documents and the PHP package into what becomes a release archive, and mends the links
of the pages: one that leads to what the archive does not have leads to the repository instead.

usage: dist_documents.py TREE VERSION
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/b24-messageservice/b24-messageservice"
#: Where they are in the repository as well.
HELD = [
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs",
    "bindings/c/README.md",
    "bindings/c/examples",
    "bindings/c/packaging/hide.sh",
    "bindings/python/README.md",
    "emulator/README.md",
]
#: What is elsewhere in the archive than in the repository.
PHP, PHP_IN_REPOSITORY = PurePosixPath("php"), PurePosixPath("bindings/php")

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+://|#)([^)#\s]+)(#[^)\s]*)?\)")


def unpack(tree: Path, *of: str) -> None:
    """Unpacks what is committed."""
    command = ["git", "-c", "tar.umask=022", "archive", *of]
    packed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tree, filter="tar")


def moved(path: PurePosixPath, old: PurePosixPath, new: PurePosixPath) -> PurePosixPath:
    return new / path.relative_to(old) if path.is_relative_to(old) else path


def mend(tree: Path, page: Path, version: str) -> None:
    place = PurePosixPath(page.relative_to(tree).as_posix())
    source = moved(place, PHP, PHP_IN_REPOSITORY)

    def link(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        meant = PurePosixPath(os.path.normpath(source.parent / path))
        here = moved(meant, PHP_IN_REPOSITORY, PHP)
        if (tree / here).exists():
            return f"]({os.path.relpath(here, place.parent)}{anchor})"
        there = ROOT / meant
        if not there.exists():
            sys.exit(f"dist: {source}: the link {path} leads nowhere")
        kind = "tree" if there.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/v{version}/{meant}{anchor})"

    text = page.read_text(encoding="utf-8")
    made, done = [], 0
    for fence in [*FENCE.finditer(text), None]:
        begin, end = (fence.start(), fence.end()) if fence else (len(text), len(text))
        made += [LINK.sub(link, text[done:begin]), text[begin:end]]
        done = end
    page.write_text("".join(made), encoding="utf-8")


def main() -> None:
    tree, version = Path(sys.argv[1]), sys.argv[2]
    unpack(tree, "HEAD", *HELD)
    unpack(tree, "--prefix", f"{PHP}/", f"HEAD:{PHP_IN_REPOSITORY}")
    for page in sorted(tree.rglob("*.md")):
        mend(tree, page, version)


if __name__ == "__main__":
    main()
