"""Checks that the pages agree with the source, and that their links lead to a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import FENCE, LINKED, ROOT


def test_the_options_are_those_that_the_configuration_takes() -> None:
    source = (ROOT / "src/options.rs").read_text(encoding="utf-8")
    page = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    taken = re.findall(r'^            "(\w+)" => settings\.', source, re.MULTILINE)
    assert taken, "src/options.rs is not read as it should be"
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == taken


def test_the_errors_are_those_of_the_tables() -> None:
    """Exactly the codes of the source's tables, with their kind, and whether they are retryable."""
    tables = "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("src/**/*.rs")))
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    rows = re.findall(r'\brow\(\s*"(\w+)",\s*(?:ErrorKind::)?(\w+),\s*RetryAction::(\w+),', tables)
    assert rows, "the tables are not read as they should be"
    later = ("AfterBackoff", "WhenRateAllows", "WhenBudgetResets")
    true = {code: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).upper() for code, kind, _ in rows}
    assert dict(re.findall(r"^\| `(\w+)` \| `([A-Z_]+)` \|", page, re.MULTILINE)) == true
    sentence = re.search(r"^Retryable are (.+?):", page, re.MULTILINE | re.DOTALL)
    retryable = re.findall(r"`(\w+)`", sentence[1] if sentence else "")
    assert set(retryable) == {code for code, _, action in rows if action in later}
    source = (ROOT / "src/values/error.rs").read_text(encoding="utf-8")
    kinds = re.findall(r'=> "([A-Z_]+)",', source)
    assert re.findall(r"^\| `([A-Z_]+)` \| `[A-Z][a-z]", page, re.MULTILINE) == kinds


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path = link.split("#")[0]
        assert not path or "://" in link or (page.parent / path).exists(), f"{link} leads nowhere"
