"""The matrix of platforms and languages in docs/platforms.md, from what builds and tests have
noted in results.json.

usage: matrix.py [--check]                       writes it, or fails if it is out of date
       matrix.py note PLATFORM THING NAME=VALUE  notes one thing: built=VERSION or run=HOW
       matrix.py rows PLATFORM JUNIT             notes how many rows of the scenario table passed
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "platforms.md"
BEGIN = "<!-- tools/platforms/matrix.py writes: matrix -->"
END = "<!-- end: matrix -->"
THINGS = {
    "program": "program",
    "rust": "Rust",
    "c": "C and C++, shared",
    "c-static": "C and C++, static",
    "python": "Python",
    "php": "PHP",
    "emulator": "emulator",
}
# For Rust nothing is built beforehand.
IN_SOURCES = "rust"

Results = dict[str, dict[str, dict[str, Any]]]


def platforms() -> list[str]:
    """The platforms of the table."""
    lines = Path(__file__).with_name("table").read_text(encoding="utf-8").splitlines()
    return [line.split("|")[0].strip() for line in lines if not line.startswith("#")]


def read() -> Results:
    results: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def write(results: Results) -> None:
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def note(platform: str, thing: str, *facts: str) -> None:
    """Notes facts of one thing; a later one of the same name takes the place of a former."""
    if platform not in platforms() or thing not in THINGS:
        sys.exit(f"matrix: there is no {thing} for {platform}")
    results = read()
    noted = results.setdefault(platform, {}).setdefault(thing, {})
    if any(fact.startswith("built=") for fact in facts):
        # What is built anew has not been run.
        noted.pop("run", None)
    for fact in facts:
        name, _, value = fact.partition("=")
        noted[name] = value
    write(results)


def rows(platform: str, junit: str) -> None:
    """Notes how many rows of each language passed, failed and were left out, of a whole run."""
    counts: dict[str, Counter[str]] = {}
    for test in ET.parse(junit).iter("testcase"):
        language = test.attrib["name"].rstrip("]").rsplit("-", 1)[-1]
        kinds = {child.tag for child in test}
        outcome = next(
            (kind for kind in ("failure", "error", "skipped") if kind in kinds), "passed"
        )
        counts.setdefault(language, Counter())[outcome] += 1
    results = read()
    static = platform.removesuffix("-static")
    for language, counted in counts.items():
        thing = language if static == platform else f"{language}-static"
        noted = results.setdefault(static, {}).setdefault(thing, {})
        noted["rows"] = {
            "passed": counted["passed"],
            "failed": counted["failure"] + counted["error"],
            "left out": counted["skipped"],
        }
        told = ", ".join(f"{number} {name}" for name, number in noted["rows"].items())
        print(f"{platform}, {THINGS[thing]}: {told}")
    write(results)


def cell(thing: str, noted: dict[str, Any]) -> list[str]:
    """What the table says of one thing: built, run, rows."""
    built = (
        "in your program"
        if thing == IN_SOURCES
        else f"{noted['built']}"
        if "built" in noted
        else "no"
    )
    counted = noted.get("rows")
    if counted is None:
        told = "none"
    else:
        told = f"{counted['passed']} of {counted['passed'] + counted['failed']}"
        if counted["left out"]:
            told += f", {counted['left out']} left out"
    return [built, noted.get("run", "in tests" if counted else "no"), told]


def table(results: Results) -> str:
    lines = ["| platform | for | built | run | rows passed |", "|---|---|---|---|---|"]
    for platform in platforms():
        for thing, name in THINGS.items():
            noted = results.get(platform, {}).get(thing, {})
            if noted:
                lines.append(f"| {platform} | {name} | {' | '.join(cell(thing, noted))} |")
    return "\n".join(lines)


def page() -> str:
    """The page as it has to be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(read())}\n{END}{after}"


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["note"] and len(words) > 3 and all("=" in fact for fact in words[3:]):
        note(words[1], words[2], *words[3:])
    elif words[:1] == ["rows"] and len(words) == 3:
        rows(words[1], words[2])
    elif words == ["--check"]:
        if page() != PAGE.read_text(encoding="utf-8"):
            sys.exit("docs/platforms.md is out of date: tools/platforms/matrix.py writes it")
        return
    elif words:
        sys.exit((__doc__ or "").partition("\n\n")[2].strip())
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
