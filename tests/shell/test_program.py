"""Options, secrets, exit codes and output: what is the same in every command."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest
from b24_portal import Portal
from program import MEMBER, ROOT, Shell, ended

UPDATE = ("update", "provider1", "m1", "sent")


def options_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    file = directory / "options"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def test_a_flag_counts_before_the_environment_and_that_before_the_file(
    direct: Shell, portal: Portal, tmp_path: Path
) -> None:
    agents = []
    file = options_file(tmp_path, "# a remark\n\nuser_agent = file/1 \n")
    for flag, variable, config in [
        (True, True, True),
        (False, True, True),
        (False, False, True),
        (False, False, False),
    ]:
        environment = {"B24_USER_AGENT": "environment/1"} if variable else {}
        words = ["--user-agent", "flag/1"] if flag else []
        words += ["--config", str(file)] if config else []
        assert direct(*UPDATE, *words, env=environment).code == 0
        agents.append(portal.seen()["log"][-1]["user_agent"].split()[0])
    assert agents[:3] == ["flag/1", "environment/1", "file/1"]
    assert agents[3].startswith("b24-messageservice/")
    assert direct(*UPDATE, env={"B24_CONFIG": str(file)}).code == 0
    assert portal.seen()["log"][-1]["user_agent"].startswith("file/1 ")
    # An empty variable counts as not set.
    assert direct(*UPDATE, env={"B24_CONFIG": str(file), "B24_USER_AGENT": ""}).code == 0
    assert portal.seen()["log"][-1]["user_agent"].startswith("file/1 ")


def test_secrets_come_from_the_environment_or_from_files(
    direct: Shell, portal: Portal, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(portal.access_token + "\n")
    none = {"B24_ACCESS_TOKEN": None}
    assert direct(*UPDATE, env={**none, "B24_ACCESS_TOKEN_FILE": str(secret)}).code == 0
    for line in (f"access_token={portal.access_token}", f"access_token_file={secret}"):
        file = options_file(tmp_path, line + "\n")
        assert direct(*UPDATE, "--config", file, env=none).code == 0
    done = direct(*UPDATE, env={"B24_ACCESS_TOKEN_FILE": str(secret)})
    assert done.code == 3
    assert "unset one of the two" in done.err


@pytest.mark.parametrize(
    ("text", "mode", "what"),
    [
        ("access_token=hush\n", 0o604, "may be read by every user"),
        ("proxy=http://user:hush@proxy\n", 0o644, "may be read by every user"),
        ("timeout=1\n", 0o600, '"timeout" is no option; did you mean timeout_ms?'),
        ("zzz=1\n", 0o600, '"zzz" is no option; --help lists them'),
        ("timeout_ms\n", 0o600, "line 1 has no ="),
        ("timeout_ms=1\ntimeout_ms=2\n", 0o600, "in line 1 and in line 2"),
        ("timeout_ms=never\n", 0o600, "options, line 1"),
        ("client_secret: hush=\n", 0o600, "what stands before the = is no option"),
        ("store: postgres://sms:hush@db?sslmode=require\n", 0o600, "line 1: what stands before"),
        ("access_token_file=/nonexistent\n", 0o600, "cannot be read"),
    ],
)
def test_a_file_of_options_that_is_wrong(
    direct: Shell, portal: Portal, tmp_path: Path, text: str, mode: int, what: str
) -> None:
    file = options_file(tmp_path, text, mode)
    done = direct(*UPDATE, "--config", file, env={"B24_TIMEOUT_MS": None})
    assert done.code == 3
    assert what in done.err
    assert "hush" not in done.err
    assert portal.seen()["requests"] == 0


def test_without_a_secret_everybody_may_read_the_file(direct: Shell, tmp_path: Path) -> None:
    assert direct(*UPDATE, "--config", options_file(tmp_path, "max_retries=1\n", 0o644)).code == 0
    file = options_file(tmp_path, f"access_token={direct.environment['B24_ACCESS_TOKEN']}", 0o640)
    assert direct(*UPDATE, "--config", file, env={"B24_ACCESS_TOKEN": None}).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--access-token", "hush"],
        ["--refresh-token=hush"],
        ["--client-secret", "hush"],
        ["--proxy", "http://user:hush@proxy:3128"],
        ["--store", "postgres://user:hush@db/sms"],
        ["--store=postgres://db/sms?password=hush"],
    ],
)
def test_a_secret_by_flag_is_refused_and_not_shown(
    direct: Shell, portal: Portal, words: list[str]
) -> None:
    done = direct(*UPDATE, *words)
    assert done.code == 2
    assert "hush" not in done.out + done.err
    assert "_FILE to the path of a file" in done.err
    assert portal.seen()["requests"] == 0


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ("--acess-token", "B24_ACCESS_TOKEN"),
        ("--refresh-tokn", "B24_REFRESH_TOKEN"),
        ("--client-secert", "B24_CLIENT_SECRET"),
    ],
)
def test_the_tip_for_a_misspelled_secret_is_no_flag_that_is_refused(
    direct: Shell, wrong: str, variable: str
) -> None:
    for words in ([wrong, "hush"], [f"{wrong}=hush"]):
        done = direct(*UPDATE, *words)
        assert done.code == 2
        assert f"set {variable}, or {variable}_FILE to the path of a file" in done.err
        assert "similar argument" not in done.err
        assert "hush" not in done.err
    assert "a similar argument exists: '--portal'" in direct(*UPDATE, "--portl", "x").err


def test_a_move_takes_the_new_address_without_a_password(shell: Shell, tmp_path: Path) -> None:
    done = shell("move", "--to", "postgres://user:hush@db/sms")
    assert (done.code, "hush" in done.err) == (2, False)
    assert "--to-file" in done.err
    assert shell("move").code == 2
    file = tmp_path / "to"
    file.write_text(f"sqlite:{tmp_path}/other.db\n")
    done = shell("move", "--to-file", file)
    assert done.code == 3
    assert "from SQLite to PostgreSQL only" in done.err


def test_nothing_shows_a_secret(installed: Shell, portal: Portal) -> None:
    text = "code,message_id,status\nprovider1,m1,sent\n"
    runs = [
        installed("batch", "-vvv", "--member-id", MEMBER, text=text),
        installed("drain", "--seconds", "1", "-vvv"),
        installed("check", "-vvv", "--member-id", MEMBER, "--json"),
        installed("inspect", "-vvv"),
        installed("install", "-vvv", text='{"access_token": "hush"'),
    ]
    secrets = ["hush", portal.client_secret]
    secrets += [
        pair[kind]
        for pair in portal.tokens()["pairs"]
        for kind in ("access_token", "refresh_token")
    ]
    assert len(secrets) > 3
    for done in runs:
        assert not [secret for secret in secrets if secret in done.out + done.err]
    assert "b24_messageservice" not in runs[1].err
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z DEBUG ", runs[1].err, re.MULTILINE)


def test_the_log_in_the_journal_has_levels(installed: Shell) -> None:
    done = installed("drain", "--seconds", "1", "-vv", env={"JOURNAL_STREAM": "8:1"})
    assert done.code == 0
    assert re.fullmatch(r"(<\d>[^\n]+\n)*", done.err), done.err


REFUSALS = [
    ({"status": 400, "error": "ERROR_MESSAGE_NOT_FOUND"}, 6),
    ({"status": 403, "error": "insufficient_scope"}, 5),
    ({"status": 401, "error": "invalid_token"}, 5),
    ({"status": 503, "error": "QUERY_LIMIT_EXCEEDED"}, 4),
    ({"status": 400, "error": "SOMETHING_ELSE"}, 7),
]


@pytest.mark.parametrize(("answer", "code"), REFUSALS, ids=lambda value: str(value)[-30:])
def test_exit_codes_of_refusals(
    direct: Shell, portal: Portal, answer: dict[str, object], code: int
) -> None:
    portal.set(answer=answer)
    done = direct(*UPDATE, "--max-retries", "0")
    assert done.code == code, done
    assert done.err.startswith("b24-messageservice: ")


@pytest.mark.parametrize(
    ("words", "environment", "code"),
    [
        (["update", "provider1", "m1", "lost"], {}, 2),
        (["nonsense"], {}, 2),
        (["drain", "--seconds", "1", "--forever"], {}, 2),
        ([*UPDATE, "--timeout-ms", "x"], {}, 3),
        (UPDATE, {"B24_PORTAL": None}, 3),
        ([*UPDATE, "--resolve", "*:443:127.0.0.1:1", "--max-retries", "0"], {}, 4),
        (["update", "provider1", "m1", "sent", "--ca-file", "/dev/null"], {}, 3),
        (["batch", "/nonexistent"], {}, 8),
        (["batch", "."], {}, 8),
        (["--version"], {}, 0),
        (["drain", "--help"], {}, 0),
    ],
    ids=str,
)
def test_exit_codes_of_what_goes_wrong_here(
    direct: Shell, words: list[str], environment: dict[str, str | None], code: int
) -> None:
    assert direct(*words, env=environment).code == code


def test_a_certificate_that_is_not_trusted_is_final(direct: Shell) -> None:
    done = direct(*UPDATE, env={"B24_CA_FILE": None})
    assert (done.code, "TRANSPORT" in done.err) == (7, True)


def test_a_store_that_cannot_be_used(shell: Shell, tmp_path: Path) -> None:
    assert shell("inspect", env={"B24_STORE": f"sqlite:{tmp_path}/missing/b24.db"}).code == 3
    (tmp_path / "b24.db").write_text("no database, and longer than a header" * 100)
    (tmp_path / "b24.db").chmod(0o600)
    done = shell("inspect")
    assert (done.code, "restore it from a backup" in done.err) == (3, True)


@pytest.mark.parametrize(("which", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_call(
    direct: Shell, portal: Portal, which: signal.Signals, code: int
) -> None:
    portal.set(latency_ms=600_000)
    for words, text in (
        (UPDATE, None),
        (["batch"], "code,message_id,status\nprovider1,m1,sent\n"),
    ):
        before = portal.seen()["requests"]
        with direct.start(*words) as process:
            if text and process.stdin:
                process.stdin.write(text)
                process.stdin.flush()
            portal.wait(requests=before + 1)
            process.send_signal(which)
            assert ended(process).code == code


def test_a_signal_ends_the_wait_for_input(direct: Shell, shell: Shell) -> None:
    for program, words in ((direct, ["batch"]), (shell, ["install"])):
        with program.start(*words, "-v") as process:
            assert process.stdin
            assert process.stdout
            # It has begun when its signals are blocked.
            blocked = 0
            while not blocked & (1 << signal.SIGTERM - 1):
                status = Path(f"/proc/{process.pid}/status").read_text()
                blocked = int(status.split("SigBlk:")[1].split()[0], 16)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 143


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (["batch", "pipe", "--member-id", MEMBER], None),
        (["install", "pipe"], None),
        (["install", "--application-token-file", "pipe"], None),
        (["move", "--to-file", "pipe"], None),
        (["inspect", "--config", "pipe"], None),
        (["inspect"], "B24_CLIENT_SECRET_FILE"),
    ],
    ids=["batch", "install", "token", "move", "config", "secret"],
)
def test_a_signal_ends_the_wait_for_who_writes_a_pipe(
    shell: Shell, tmp_path: Path, words: list[str], variable: str | None
) -> None:
    os.mkfifo(tmp_path / "pipe")
    given = {variable: "pipe", "B24_CLIENT_SECRET": None} if variable else {}
    with shell.start(*words, env=given) as process:
        blocked = 0
        while not blocked & (1 << signal.SIGTERM - 1):
            status = Path(f"/proc/{process.pid}/status").read_text()
            blocked = int(status.split("SigBlk:")[1].split()[0], 16)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(60) == 143
        finally:
            process.kill()


def test_a_reader_that_goes_away_is_no_fault(installed: Shell, portal: Portal) -> None:
    rows = "".join(f"provider1,m{number},lost\n" for number in range(5000))
    text = "code,message_id,status\n" + rows + "provider1,m1,sent\n"
    with installed.start("batch", "--json", "--member-id", MEMBER) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.close()
        process.stdin.write(text)
        process.stdin.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
    # The work went on.
    assert installed("inspect", "--json").json()["totals"]["waiting"] == 1


def test_an_output_that_is_full_is_told(installed: Shell) -> None:
    with Path("/dev/full").open("w") as full:
        done = installed("inspect", stdout=full)
    assert done.code == 8
    assert "standard output cannot be written" in done.err


def on_terminal(shell: Shell, *words: object) -> tuple[int, str]:
    """Exit code of the program, and what it writes to a terminal as its standard error."""
    ours, its = pty.openpty()
    with shell.start(*words, stderr=its, stdin=subprocess.DEVNULL) as process:
        os.close(its)
        shown = b""
        while True:
            select.select([ours], [], [], 60)
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
        return process.wait(60), shown.decode()


def test_a_bar_is_shown_on_a_terminal_alone(installed: Shell, tmp_path: Path) -> None:
    rows = "".join(f"provider1,m{number},sent\n" for number in range(1, 30_000))
    file = tmp_path / "rows.csv"
    file.write_text("code,message_id,status\n" + rows + "provider1,m1,lost\n")
    code, shown = on_terminal(installed, "batch", file, "--member-id", MEMBER)
    assert code == 1
    assert re.search(r"\d+%  \d+ stored, \d failed", shown), shown
    assert "line 30001: provider1 m1 lost: INVALID_ARGUMENT" in shown
    done = installed("batch", file, "--member-id", MEMBER)
    assert (done.code, done.out) == (1, "29999 stored, 1 failed\n")
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err + done.out
    code, shown = on_terminal(installed, "inspect", "--totals")
    assert (code, shown) == (0, "")


def test_texts_of_others_do_nothing_to_a_terminal(direct: Shell, portal: Portal) -> None:
    description = "\x1b[2J\u202eevil\nline"
    portal.set(answer={"status": 400, "error": "ERROR_X", "description": description})
    done = direct(*UPDATE)
    assert done.code == 7
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err


def test_the_manual_page_is_well_formed() -> None:
    page = ROOT / "cli/packaging/b24-messageservice.1"
    checked = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_unit_is_well_formed(tmp_path: Path) -> None:
    unit = (ROOT / "cli/packaging/b24-messageservice.service.in").read_text()
    file = tmp_path / "b24-messageservice.service"
    program = tmp_path / "b24-messageservice"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file.write_text(unit.replace("@BINDIR@", str(tmp_path)))
    try:
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", file],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed")
    assert (verified.returncode, verified.stderr) == (0, "")
