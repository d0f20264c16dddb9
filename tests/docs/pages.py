"""The documentation's pages, and the snippets in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("bindings/*/README.md")),
]
#: Its programs are run together.
STORY = ROOT / "docs/first-provider.md"
#: Pages whose programs have tests of their own.
TOLD = [STORY, ROOT / "docs/operations.md", ROOT / "docs/postgresql.md"]
LINKED = list(
    dict.fromkeys(
        [
            *PAGES,
            *sorted(ROOT.glob("*.md")),
            *sorted(ROOT.glob("emulator/*.md")),
            *sorted(ROOT.glob("tests/**/README.md")),
        ]
    )
)
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>[\w+]*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Snippet:
    page: Path
    line: int
    language: str
    code: str
    #: Why it is not run; empty if it is.
    reason: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}-{self.language or 'plain'}"


def snippets() -> list[Snippet]:
    return [
        Snippet(
            page,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            match["code"],
            match["reason"] or "",
        )
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for match in FENCE.finditer(text)
    ]


NAME = re.compile(r"\A(?:<\?php )?(?:#|//|/\*) (\w[\w./]+)")


def named(page: Path, language: str) -> dict[str, str]:
    """The programs of a page in a language, by the file names in their first lines."""
    programs = {}
    for snippet in snippets():
        if snippet.page == page and snippet.language == language:
            assert not snippet.reason, f"{snippet} is not run"
            name = NAME.match(snippet.code)
            assert name, f"{snippet} does not begin with the name of its file"
            assert name[1] not in programs, f"{snippet} is there twice"
            programs[name[1]] = snippet.code
    return programs
