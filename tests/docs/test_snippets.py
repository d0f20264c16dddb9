"""Compiles and runs the snippets of the documentation against the portal emulator.

The snippets are shown as a user would write them, for portal.bitrix24.com. To lead them to the
emulator, the client is given two options more, ``resolve`` and ``ca_file``:

- Rust: ``Client::new(&config)`` becomes a call that sets them first
- C, C++: ``b24_client_new`` is a macro that sets them first
- Python: ``Client``, ``Provider`` and those for asyncio are partials that have them
- PHP: they are put behind ``'access_token' => 'ACCESS_TOKEN'``, and into the options of a provider,
  whose store ``/var/lib/sms`` becomes a directory of the snippet

The emulator takes any access token and knows every message. A snippet that reports a status or
registers a sender must have reached it, whatever it does about errors. Shell snippets are checked
by ``bash -n``, and their make targets looked up; settings and JSON are parsed. An HTML comment
before a fence, ``<!-- not run: REASON -->``, leaves a snippet out: its test is skipped with this
reason.

The programs of docs/first-provider.md belong together; test_story.py runs them. Those of
docs/operations.md and docs/postgresql.md are run by the tests of these names.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from b24_portal import Portal
from pages import ROOT, TOLD, Snippet, snippets
from running import (
    C_COMPILERS,
    C_LIBRARY,
    C_WARNINGS,
    TARGET,
    build_crate,
    php_environment,
    run,
)

REPORTS = re.compile(r"message_status_update|messageStatusUpdate")
REGISTERS = re.compile(r"sender_add|senderAdd")
SETTINGS = {
    "access_token": "*",
    "refresh_token": "REFRESH_TOKEN",
    "client_id": "app.123",
    "client_secret": "CLIENT_SECRET",
}

SNIPPETS = snippets()


class Place:
    """Runs a snippet with an emulator, in a directory of its own."""

    def __init__(self, portal: Portal, directory: Path) -> None:
        self.directory = directory
        self.ca_file = portal.ca_file
        self.resolve = (
            f"portal.bitrix24.com:443:127.0.0.1:{portal.https_port},"
            f"oauth.bitrix.info:443:127.0.0.1:{portal.oauth_port}"
        )

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture(scope="session")
def rust(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Snippet], Path]:
    """Builds all in one crate, because building the library takes most of the time."""
    crate = tmp_path_factory.mktemp("rust")
    (crate / "src/bin").mkdir(parents=True)
    # They get the address of the emulator when they are run.
    told = 'std::env::var("{}").unwrap().as_str()'
    options = f".resolve({told.format('RESOLVE')}).ca_file({told.format('CA_FILE')})"
    for number, snippet in enumerate(RUST):
        code = snippet.code.replace("Client::new(&config)", f"Client::new(config{options})")
        (crate / f"src/bin/documentation-snippet-{number}.rs").write_text(code, encoding="utf-8")
    build_crate(crate, "snippets")
    return lambda snippet: TARGET / "debug" / f"documentation-snippet-{RUST.index(snippet)}"


def run_c(snippet: Snippet, place: Place) -> None:
    before = place.write(
        "emulator.h",
        "#include <b24_messageservice.h>\n"
        "static inline b24_code emulator_client_new(const b24_config *config,\n"
        "    b24_client **client, b24_error **error) {\n"
        f'    b24_config_set((b24_config *)config, "resolve", "{place.resolve}", 0);\n'
        f'    b24_config_set((b24_config *)config, "ca_file", "{place.ca_file}", 0);\n'
        "    return b24_client_new(config, client, error);\n"
        "}\n"
        f'#include "{ROOT / "bindings/c/tests/must_check.h"}"\n'
        "#define b24_client_new emulator_client_new\n",
    )
    source = place.write(f"snippet.{snippet.language}", snippet.code)
    program = place.directory / "snippet"
    include: list[str | Path] = [f"-I{ROOT / 'include'}", "-include", before]
    compiler = [*C_COMPILERS[snippet.language], *C_WARNINGS]
    run([*compiler, *include, source, "-o", program, *C_LIBRARY])
    run([program], cwd=place.directory)


def run_python(snippet: Snippet, place: Place, **options: Any) -> str:
    before = (
        "import functools, b24_messageservice\n"
        f"emulator = {{'resolve': {place.resolve!r}, 'ca_file': {place.ca_file!r}, **{options}}}\n"
        "for name in ('Client', 'Provider', 'AsyncClient', 'AsyncProvider'):\n"
        "    of_emulator = functools.partial(getattr(b24_messageservice, name), **emulator)\n"
        "    setattr(b24_messageservice, name, of_emulator)\n"
    )
    program = place.write("snippet.py", before + snippet.code)
    return run([sys.executable, program], cwd=place.directory)


def run_php(snippet: Snippet, place: Place) -> None:
    token = "'access_token' => 'ACCESS_TOKEN'"
    options = f"'resolve' => '{place.resolve}', 'ca_file' => '{place.ca_file}'"
    code = snippet.code.removeprefix("<?php\n").replace(token, f"{token}, {options}")
    code = code.replace("new Provider([", f"new Provider([{options}, ")
    code = code.replace("/var/lib/sms", str(place.directory))
    source = f"<?php\nrequire '{ROOT}/bindings/php/autoload.php';\n{code}"
    run(["php", place.write("snippet.php", source)], cwd=place.directory, env=php_environment())


PROGRAMS: dict[str, Callable[[Snippet, Place], object]] = {
    "c": run_c,
    "cpp": run_c,
    "python": run_python,
    "php": run_php,
}


def check_sh(snippet: Snippet, _directory: Path) -> None:
    run(["bash", "-n", "-c", snippet.code])
    for options, target in re.findall(
        r"^make ((?:-C \S+ )?)([a-z]\S*)", snippet.code, re.MULTILINE
    ):
        makefile = ROOT / options[3:].strip() / "Makefile"
        rule = re.compile(rf"^(?:[\w ]* )?{target}(?: [\w ]*)?:", re.MULTILINE)
        assert rule.search(makefile.read_text(encoding="utf-8")), f"{makefile} has no {target}"


def check_ini(snippet: Snippet, directory: Path) -> None:
    source = directory / "snippet.ini"
    source.write_text(snippet.code, encoding="utf-8")
    run(["php", "-n", "-r", "exit(parse_ini_file($argv[1]) ? 0 : 1);", "--", source])


def check_json(snippet: Snippet, _directory: Path) -> None:
    json.loads(snippet.code)


TEXTS = {"sh": check_sh, "ini": check_ini, "json": check_json}

ALONE = [snippet for snippet in SNIPPETS if snippet.page not in TOLD or snippet.language in TEXTS]
RUST = [snippet for snippet in ALONE if snippet.language == "rust" and not snippet.reason]


def of(languages: Collection[str]) -> list[Any]:
    """The snippets in these languages, each with its reason not to be run."""
    return [
        pytest.param(
            snippet,
            id=str(snippet),
            marks=[pytest.mark.skip(reason=snippet.reason)] if snippet.reason else [],
        )
        for snippet in ALONE
        if snippet.language in languages
    ]


@pytest.fixture
def place(b24_portal: Portal, tmp_path: Path) -> Place:
    b24_portal.reset(**SETTINGS)
    return Place(b24_portal, tmp_path)


def check_what_the_portal_saw(snippet: Snippet, portal: Portal) -> None:
    assert portal.seen()["bad"] == []
    if REPORTS.search(snippet.code):
        assert portal.messages(), "it reported no status to the portal"
    if REGISTERS.search(snippet.code):
        assert portal.senders(), "it registered no sender with the portal"


@pytest.mark.parametrize("snippet", of(PROGRAMS))
def test_program(snippet: Snippet, b24_portal: Portal, place: Place) -> None:
    PROGRAMS[snippet.language](snippet, place)
    check_what_the_portal_saw(snippet, b24_portal)


@pytest.mark.parametrize("snippet", of(["rust"]))
def test_rust(
    snippet: Snippet, b24_portal: Portal, place: Place, rust: Callable[[Snippet], Path]
) -> None:
    environment = {**os.environ, "RESOLVE": place.resolve, "CA_FILE": place.ca_file}
    run([rust(snippet)], cwd=place.directory, env=environment)
    check_what_the_portal_saw(snippet, b24_portal)


@pytest.mark.parametrize("snippet", of(TEXTS))
def test_text(snippet: Snippet, tmp_path: Path) -> None:
    TEXTS[snippet.language](snippet, tmp_path)


STORING = [
    snippet
    for snippet in SNIPPETS
    if snippet.language == "python" and "on_renewal=" in snippet.code
]


def test_the_snippet_that_stores_renewed_tokens_stores_them(
    b24_portal: Portal, place: Place
) -> None:
    assert len(STORING) == 1
    # It makes no call of its own, and without one there is nothing to renew.
    call = 'client.message_status_update("provider1", "m1", "sent")\n'
    with_call = Snippet(**{**vars(STORING[0]), "code": STORING[0].code + call})
    b24_portal.reset(**{**SETTINGS, "access_token": "ACCESS_TOKEN", "expired": True})
    run_python(with_call, place)
    stored = json.loads((place.directory / "tokens.json").read_text(encoding="utf-8"))
    assert stored["access_token"] == b24_portal.tokens()["access_token"]
    assert b24_portal.seen()["renewals"] == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": 503}, "- again in "),
        ({"status": 429, "error": "OPERATION_TIME_LIMIT"}, "- again in 60.0 s"),
        ({"status": 403, "error": "insufficient_scope"}, ""),
        ({"status": 400, "error": "ERROR_MESSAGE_NOT_FOUND"}, "drop the receipt"),
    ],
)
def test_the_first_snippet_of_python_says_when_to_try_again(
    b24_portal: Portal, place: Place, answer: dict[str, Any], told: str
) -> None:
    first = next(one for one in SNIPPETS if one.page.name == "guide-python.md")
    b24_portal.set(answer=answer)
    shown = run_python(first, place, max_retries=0)
    assert told in shown
    assert ("again in" in shown) == ("again in" in told)
    assert "None" not in shown
    assert shown.strip()


def test_every_language_is_known() -> None:
    """Nothing checks a fence of another language. One without any, or of text, is no code."""
    assert {snippet.language for snippet in SNIPPETS} <= {"rust", *PROGRAMS, *TEXTS, "", "text"}
