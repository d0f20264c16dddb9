"""The scenario table in *.json: each row is a test in each language. See tests/README.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runner.adapter import Broken
from runner.play import Play, Running
from runner.table import LANGUAGES, Json, left_out, read_table

ROWS = [
    pytest.param(
        row,
        language,
        id=f"{row['name']}-{language}",
        marks=[getattr(pytest.mark, language), getattr(pytest.mark, row["subject"])],
    )
    for row in read_table()
    for language in LANGUAGES
]


@pytest.mark.parametrize(("row", "language"), ROWS)
def test_row(
    row: Json, language: str, running: Running, record_property: Callable[[str, object], None]
) -> None:
    if reason := left_out(row, language, running.stores.kind, running.platform):
        pytest.skip(reason)
    try:
        played = Play(running, row, language).run()
    except (Broken, TimeoutError) as broken:
        # Not with where it was raised: the text says all.
        raise pytest.fail.Exception(f"{row['about']}\n    {broken}", pytrace=False) from None
    record_property("texts", played.texts)
    record_property("secrets", played.secrets)
    if "deadline_ms" in row:
        record_property("deadline_ms", row["deadline_ms"])
        record_property("took_ms", round(played.longest_ms))
    if played.problems:
        problems = "\n    ".join(played.problems)
        pytest.fail(f"{row['about']}\n    {problems}", pytrace=False)
