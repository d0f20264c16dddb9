"""That the pages agree with the source, and that their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import FENCE, LINKED, ROOT


def test_the_options_are_those_that_the_configuration_takes() -> None:
    source = (ROOT / "src/config.rs").read_text(encoding="utf-8")
    page = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    taken = re.findall(r'^            "(\w+)" => settings\.', source, re.MULTILINE)
    assert taken, "src/config.rs is not read as it should be"
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == taken


def test_the_errors_are_those_of_the_tables() -> None:
    """Exactly the codes of the two tables, with their kind, and whether they are retryable."""
    source = (ROOT / "src/fault.rs").read_text(encoding="utf-8")
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    rows = re.findall(r'\brow\(\s*"(\w+)",\s*(\w+),\s*Repeat::(\w+),', source)
    assert rows, "src/fault.rs is not read as it should be"
    later = ("Later", "WhenBucketDrained", "WhenTimeGivenBack")
    true = [(code, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).upper()) for code, kind, _ in rows]
    assert re.findall(r"^\| `(\w+)` \| `([A-Z_]+)` \|", page, re.MULTILINE) == true
    sentence = re.search(r"^Retryable are (.+?):", page, re.MULTILINE | re.DOTALL)
    retryable = re.findall(r"`(\w+)`", sentence[1] if sentence else "")
    assert retryable == [code for code, _, repeat in rows if repeat in later]
    kinds = re.findall(r'=> "([A-Z_]+)",', (ROOT / "src/error.rs").read_text(encoding="utf-8"))
    assert re.findall(r"^\| `([A-Z_]+)` \| `[A-Z][a-z]", page, re.MULTILINE) == kinds


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path = link.split("#")[0]
        assert not path or "://" in link or (page.parent / path).exists(), f"{link} leads nowhere"
