"""Checks that the links of pages work where users read them: in an unpacked archive of a release,
and on the page of a package index, which has no other files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import FENCE, ROOT

REPOSITORY = "https://github.com/b24-messageservice/b24-messageservice/"
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)


def links(page: Path) -> list[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [match[1] or match[2] for match in LINK.finditer(text)]


def in_repository(link: str) -> Path:
    """What a link to the repository's own pages leads to."""
    kind, _, path = link.removeprefix(REPOSITORY).partition("/")
    assert kind in ("blob", "tree"), link
    return ROOT / path.partition("/")[2].partition("#")[0]


def test_links_of_an_archive_lead_to_a_file_of_it(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: an archive is made of what is committed")
    # The headers come with the library.
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "b24_messageservice.h").touch()
    command = [sys.executable, str(ROOT / "tools" / "dist_documents.py"), str(tmp_path), "1.0.0"]
    subprocess.run(command, check=True)
    pages = sorted(tmp_path.rglob("*.md"))
    assert {page.parent.name for page in pages} >= {tmp_path.name, "docs", "c", "php", "emulator"}
    inside = 0
    for page in pages:
        for link in links(page):
            if link.startswith(REPOSITORY):
                assert in_repository(link).exists(), f"{page}: {link}"
            elif "://" not in link and not link.startswith("#"):
                target = (page.parent / link.partition("#")[0]).resolve()
                assert target.is_relative_to(tmp_path), f"{page}: {link}"
                assert target.exists(), f"{page}: {link}"
                inside += 1
    assert inside > 50
    assert "](php/README.md#install)" in (tmp_path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("manifest", ["pyproject.toml", "emulator/pyproject.toml"])
def test_links_of_a_page_on_pypi_need_no_other_file(manifest: str) -> None:
    path = ROOT / manifest
    named = re.search(r'^readme = "(.+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    for link in links(path.parent / named[1]):
        assert link.startswith(("https://", "#")), link
        if link.startswith(REPOSITORY):
            assert in_repository(link).exists(), link
