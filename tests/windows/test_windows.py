"""What only Windows has, under wine: files that others have open, and processes that are killed
while they renew tokens in one `state_dir`. Needs what `tools/platforms/adapters windows-x86_64` has
built."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from b24_portal import Portal

sys.path.append(str(Path(__file__).resolve().parents[1] / "scenarios"))
from runner.adapter import Adapter
from runner.platforms import PLATFORMS, ROOT

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
HOST = "windows.bitrix24.test"
UPDATE = ("call", "message_status_update")
# Each row of these tests has tokens of its own: a process knows an installation by them.
NUMBER = iter(range(1, 1_000_000))


class Stage:
    """An emulator, a state directory, and processes that share it."""

    def __init__(self, directory: Path) -> None:
        number = f"{next(NUMBER):016}"
        self.installed = {
            "client_id": "app.1",
            "client_secret": f"secret-{number}",
            "access_token": f"access-{number}",
            "refresh_token": f"refresh-{number}",
        }
        self.directory = directory
        self.portal = Portal()
        self.portal.reset(**self.installed, expired=True)
        self.adapters: list[Adapter] = []

    def adapter(self) -> Adapter:
        """A process with a client, which has sent nothing yet."""
        windows = PLATFORMS["windows-x86_64"]
        adapter = Adapter(*windows.command("rust", TARGET, False))
        self.adapters.append(adapter)
        options = {
            **self.installed,
            "portal": HOST,
            "oauth_url": "https://oauth.bitrix24.test",
            "proxy": "none",
            "ca_file": self.portal.ca_file,
            "resolve": ",".join(self.portal.resolve(HOST)),
            "state_dir": str(self.directory),
            "timeout_ms": "30000",
        }
        assert adapter.ask("client", "new", list(options.items())) == {"result": None}
        return adapter

    def stored(self) -> list[Path]:
        """The files with the newest pair that others find."""
        token = self.portal.tokens()["access_token"].encode()
        return [
            path
            for path in self.directory.iterdir()
            if path.suffix in (".tokens", ".link") and token in path.read_bytes()
        ]

    def close(self) -> None:
        for adapter in self.adapters:
            adapter.kill()
        self.portal.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    made = Stage(directory)
    yield made
    made.close()


@pytest.fixture(scope="session")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that has a file open."""
    program = tmp_path_factory.mktemp("hold") / "hold.exe"
    source = Path(__file__).with_name("hold.c")
    subprocess.run(["x86_64-w64-mingw32-gcc", source, "-o", program], check=True)
    return program


class Held:
    """A file that another program has open."""

    def __init__(self, hold: Path, file: Path) -> None:
        _, environment = PLATFORMS["windows-x86_64"].command("rust", TARGET, False)
        self.process = subprocess.Popen(
            ["wine", str(hold), str(file)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == b"held"

    def end(self) -> None:
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


def update(adapter: Adapter, message_id: str) -> Any:
    return adapter.ask(*UPDATE, {"code": "provider1", "message_id": message_id, "status": "sent"})


def expire(stage: Stage) -> None:
    """Makes the next call renew the tokens."""
    stage.portal.set(expired=True)


def test_a_file_that_is_open_elsewhere_is_waited_for(stage: Stage, hold: Path) -> None:
    first = stage.adapter()
    assert update(first, "m1") == {"result": None}
    (file,) = (path for path in stage.stored() if path.suffix == ".tokens")
    held = Held(hold, file)
    expire(stage)
    # Nothing tells when the process waits for the file; if it is let go before, that is no fault.
    later = threading.Timer(0.5, held.end)
    later.start()
    assert update(first, "m2") == {"result": None}
    later.join()
    assert stage.portal.seen()["renewals"] == 2
    assert file in stage.stored()


def test_a_file_that_stays_open_is_an_error_that_says_so(stage: Stage, hold: Path) -> None:
    first = stage.adapter()
    assert update(first, "m1") == {"result": None}
    (file,) = (path for path in stage.stored() if path.suffix == ".tokens")
    held = Held(hold, file)
    expire(stage)
    error = update(first, "m2")["error"]
    assert error["code"] == "STORAGE", error
    assert error["retryable"], error
    assert "another program has it open" in error["message"], error
    assert file.name in error["message"], error
    assert "\\\\?\\" not in error["message"], error
    held.end()
    assert stage.portal.seen()["renewals"] == 1, "no refresh token is used before the file is read"
    assert update(first, "m2") == {"result": None}


def test_a_killed_process_loses_no_pair(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Two processes renew; one of them is killed a little later each time. The other one goes on,
    and so does a third, which begins with the first pair: with the newest one, unless the first was
    killed between the grant and the disk."""
    rounds, lost, during = 40, 0, 0
    survivor = stage.adapter()
    assert update(survivor, "m0") == {"result": None}
    for number in range(rounds):
        killed = stage.adapter()
        expire(stage)
        before = stage.portal.seen()["renewal_requests"]
        killed.say(*UPDATE, {"code": "provider1", "message_id": f"k{number}", "status": "sent"})
        stage.portal.wait(renewal_requests=before + 1, timeout=30.0)
        time.sleep(number % 20 / 100)
        during += killed.answers.empty()
        killed.kill()
        if not stage.stored():
            # The authorization server has given a pair that nobody has. The owner installs anew.
            lost += 1
            stage.portal.set(**stage.installed)
            for path in stage.directory.iterdir():
                if path.suffix in (".tokens", ".link"):
                    path.unlink()
            survivor.kill()
            survivor = stage.adapter()
        assert update(survivor, f"s{number}") == {"result": None}, f"round {number}"
        third = stage.adapter()
        assert update(third, f"t{number}") == {"result": None}, f"round {number}"
        third.close()
    seen = stage.portal.seen()
    assert seen["spent_tokens"] == 0, seen
    with capsys.disabled():
        print(
            f"\n{rounds} kills, {during} of them before the answer, {lost} between the grant and "
            f"the disk; {seen['renewals']} renewals, none of a spent token"
        )
    assert during > 0
