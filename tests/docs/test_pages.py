"""Checks that the links of the pages lead to a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import FENCE, LINKED, ROOT


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path = link.split("#")[0]
        assert not path or "://" in link or (page.parent / path).exists(), f"{link} leads nowhere"
