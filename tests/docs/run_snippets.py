"""Compiles and runs the snippets of the documentation against the portal emulator.

The snippets are shown as a user would write them, for portal.bitrix24.com. To lead them to the
emulator, the client is given two options more, ``resolve`` and ``ca_file``:

- Rust: ``Client::new(&config)`` becomes a call that sets them first
- C, C++: ``b24_client_new`` is a macro that sets them first
- Python: ``Client`` is a partial that has them
- PHP: they are put behind ``'access_token' => 'ACCESS_TOKEN'``

The emulator takes any access token and knows every message. A snippet that reports a status must
have reached it, whatever it does about errors. Shell snippets are checked by ``bash -n``, and their
make targets looked up; settings and JSON are parsed. An HTML comment before a fence,
``<!-- not run: REASON -->``, leaves a snippet out; the reason is printed.

Also checked: that relative links lead somewhere.

usage: run_snippets.py [--target DIRECTORY] [--python PROGRAM]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("bindings/*/README.md")),
]
LINKED = [*PAGES, *sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("tests/**/README.md"))]
FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>[\w+]*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
REPORTS = re.compile(r"message_status_update|messageStatusUpdate")
SETTINGS = {
    "access_token": "*",
    "refresh_token": "REFRESH_TOKEN",
    "client_id": "CLIENT_ID",
    "client_secret": "CLIENT_SECRET",
}
RUN_LIMIT_S = 120
BUILD_LIMIT_S = 900


class Failed(Exception):
    """What a snippet or a page did wrong."""


@dataclass(frozen=True)
class Snippet:
    page: Path
    line: int
    language: str
    code: str
    #: Why it is not run; empty if it is.
    reason: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} ({self.language or 'plain'})"


def snippets_of(page: Path) -> list[Snippet]:
    text = page.read_text()
    return [
        Snippet(
            page,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            match["code"],
            match["reason"] or "",
        )
        for match in FENCE.finditer(text)
    ]


class Emulator:
    """The portal that the snippets talk to."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.control: str = ready["control"]
        self.ca_file: str = ready["ca_file"]
        self.resolve = f"portal.bitrix24.com:443:127.0.0.1:{ready['https_port']}"

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.control + path, data, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def run(command: list[str | Path], limit: float = RUN_LIMIT_S, **options: Any) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=limit,
        **options,
    )
    if done.returncode != 0:
        raise Failed(f"exit code {done.returncode}: {done.stdout[-3000:]}")


class Runner:
    def __init__(self, emulator: Emulator, work: Path, target: Path, python: Path) -> None:
        self.emulator = emulator
        self.work = work
        self.target = target
        self.python = python
        self.rust: dict[Snippet, Path] = {}
        self.rust_fault = ""
        self.ways: dict[str, Callable[[Snippet], None]] = {
            "rust": self.run_rust,
            "c": self.run_c,
            "cpp": self.run_c,
            "python": self.run_python,
            "php": self.run_php,
            "sh": self.check_sh,
            "ini": self.check_ini,
            "json": lambda snippet: json.loads(snippet.code),
        }

    def check(self, snippet: Snippet) -> None:
        self.emulator.ask("/reset", SETTINGS)
        self.ways[snippet.language](snippet)
        if snippet.language in ("sh", "ini", "json"):
            return
        seen = self.emulator.ask("/seen")
        if seen["bad"]:
            raise Failed(f"the portal complains: {seen['bad']}")
        stored = self.emulator.ask("/messages")
        stored.pop("history", None)
        if REPORTS.search(snippet.code) and not stored:
            raise Failed("it reported no status to the portal")

    def build_rust(self, snippets: list[Snippet]) -> None:
        """All in one crate, since what takes time is to build the library."""
        crate = self.work / "rust"
        (crate / "src/bin").mkdir(parents=True)
        (crate / "Cargo.toml").write_text(
            '[package]\nname = "snippets"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
            f'[dependencies]\nb24-messageservice = {{ path = "{ROOT}" }}\n'
        )
        shutil.copy(ROOT / "Cargo.lock", crate / "Cargo.lock")
        options = f'.resolve("{self.emulator.resolve}").ca_file("{self.emulator.ca_file}")'
        target = Path(os.environ.get("CARGO_TARGET_DIR", self.target)).resolve()
        for number, snippet in enumerate(snippets):
            code = snippet.code.replace("Client::new(&config)", f"Client::new(config{options})")
            name = f"documentation-snippet-{number}"
            (crate / f"src/bin/{name}.rs").write_text(code)
            self.rust[snippet] = target / "debug" / name
        try:
            command = ["cargo", "build", "--quiet", "--offline", "--target-dir", str(target)]
            run(command, BUILD_LIMIT_S, cwd=crate)
        except Failed as fault:
            self.rust_fault = str(fault)

    def run_rust(self, snippet: Snippet) -> None:
        if self.rust_fault:
            raise Failed(self.rust_fault)
        run([self.rust[snippet]], cwd=self.work)

    def run_c(self, snippet: Snippet) -> None:
        before = self.work / "emulator.h"
        before.write_text(
            "#include <b24_messageservice.h>\n"
            "static inline b24_code emulator_client_new(const b24_config *config,\n"
            "    b24_client **client, b24_error **error) {\n"
            f'    b24_config_set((b24_config *)config, "resolve", "{self.emulator.resolve}", 0);\n'
            f'    b24_config_set((b24_config *)config, "ca_file", "{self.emulator.ca_file}", 0);\n'
            "    return b24_client_new(config, client, error);\n"
            "}\n"
            "#define b24_client_new emulator_client_new\n"
        )
        compiler, standard = ("cc", "c99") if snippet.language == "c" else ("c++", "c++17")
        source = self.work / f"snippet.{snippet.language}"
        source.write_text(snippet.code)
        program = self.work / "snippet"
        libraries = self.target / "c/lib"
        warnings = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
        run(
            [
                compiler,
                f"-std={standard}",
                *warnings,
                f"-I{ROOT / 'include'}",
                "-include",
                before,
                source,
                "-o",
                program,
                f"-L{libraries}",
                f"-Wl,-rpath,{libraries}",
                "-lb24_messageservice",
            ]
        )
        run([program], cwd=self.work)

    def run_python(self, snippet: Snippet) -> None:
        source = self.work / "snippet.py"
        source.write_text(
            "import functools, b24_messageservice\n"
            "b24_messageservice.Client = functools.partial(b24_messageservice.Client,\n"
            f"    resolve={self.emulator.resolve!r}, ca_file={self.emulator.ca_file!r})\n"
            + snippet.code
        )
        run([self.python, source], cwd=self.work)

    def run_php(self, snippet: Snippet) -> None:
        token = "'access_token' => 'ACCESS_TOKEN'"
        options = f"'resolve' => '{self.emulator.resolve}', 'ca_file' => '{self.emulator.ca_file}'"
        code = snippet.code.removeprefix("<?php\n").replace(token, f"{token}, {options}")
        source = self.work / "snippet.php"
        source.write_text(f"<?php\nrequire '{ROOT}/bindings/php/autoload.php';\n{code}")
        library = str(self.target / "release/libb24_messageservice.so")
        environment = {"B24_MESSAGESERVICE_LIB": library, **os.environ}
        run(["php", source], cwd=self.work, env=environment)

    def check_sh(self, snippet: Snippet) -> None:
        run(["bash", "-n", "-c", snippet.code])
        for options, target in re.findall(
            r"^make ((?:-C \S+ )?)([a-z]\S*)", snippet.code, re.MULTILINE
        ):
            makefile = ROOT / options[3:].strip() / "Makefile"
            if not re.search(rf"^(?:[\w ]* )?{target}(?: [\w ]*)?:", makefile.read_text(), re.M):
                raise Failed(f"{makefile} has no target {target}")

    def check_ini(self, snippet: Snippet) -> None:
        source = self.work / "snippet.ini"
        source.write_text(snippet.code)
        run(["php", "-n", "-r", "exit(parse_ini_file($argv[1]) ? 0 : 1);", "--", source])


def check_links(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path = link.split("#")[0]
        if path and "://" not in link and not (page.parent / path).exists():
            raise Failed(f"the link {link} leads nowhere")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", type=Path, default=ROOT / "target")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv/bin/python")
    arguments = parser.parse_args()
    target = arguments.target.resolve()
    outcomes = {"passed": 0, "failed": 0}

    def tell(name: str, check: Callable[[], None]) -> None:
        try:
            check()
        except (Failed, ValueError, subprocess.TimeoutExpired) as fault:
            outcomes["failed"] += 1
            print(f"FAILED {name}: {fault}", flush=True)
        else:
            outcomes["passed"] += 1

    for page in dict.fromkeys(LINKED):
        tell(f"links of {page.relative_to(ROOT)}", lambda page=page: check_links(page))  # type: ignore[misc]

    program = Path(os.environ.get("B24_PORTAL", target / "debug/b24-portal"))
    emulator = Emulator(program)
    with tempfile.TemporaryDirectory() as work:
        # Absolute, but not resolved: a virtual environment's interpreter is a link.
        runner = Runner(emulator, Path(work), target, arguments.python.absolute())
        wanted = []
        for snippet in (snippet for page in PAGES for snippet in snippets_of(page)):
            reason = snippet.reason
            if not reason and snippet.language not in runner.ways:
                reason = "no program"
            if reason:
                print(f"not run: {snippet}: {reason}")
            else:
                wanted.append(snippet)
        runner.build_rust([snippet for snippet in wanted if snippet.language == "rust"])
        for snippet in wanted:
            tell(str(snippet), lambda snippet=snippet: runner.check(snippet))  # type: ignore[misc]
    emulator.close()
    print(f"docs: {outcomes['passed']} passed, {outcomes['failed']} failed")
    sys.exit(1 if outcomes["failed"] else 0)


if __name__ == "__main__":
    main()
