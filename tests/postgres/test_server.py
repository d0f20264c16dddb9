"""The servers that tests start: what they promise of themselves."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from database import Database
from pg_server import Server


def processes_of(directory: str) -> list[int]:
    """The processes whose command names the directory, and those that these have started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if directory.encode() in command:
            found.append(int(path.parent.name))
    return found


def wait_for(process: int) -> None:
    """Waits until a process that is not a child of this one has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor) as ended:
        assert select.select([ended], [], [], 60)[0], what_it_does(process)


def what_it_does(process: int) -> str:
    """What a process is that should have ended."""
    proc = Path(f"/proc/{process}")
    command = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    wanted = ("State", "PPid", "SigPnd", "ShdPnd", "SigBlk", "SigCgt")
    status = [
        line for line in (proc / "status").read_text().splitlines() if line.startswith(wanted)
    ]
    return f"{process} did not end: {command}, {status}, {(proc / 'wchan').read_text()}"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_nothing_is_left_of_a_server(how: str) -> None:
    server = Server.start("--fsync", "off")
    directory = server.names["pg_socket"]
    processes = processes_of(directory)
    assert len(processes) >= 3
    if how == "stop":
        server.stop()
        assert not Path(directory).exists()
    else:
        server.process.kill()
        server.stop()
    for process in processes:
        wait_for(process)
    assert processes_of(directory) == []
    shutil.rmtree(directory, ignore_errors=True)


def test_a_server_ends_with_the_program_that_started_it() -> None:
    program = (
        "import sys, pg_server\n"
        "print(pg_server.Server.start('--fsync', 'off').names['pg_socket'], flush=True)\n"
        "sys.stdin.read()"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    directory = started.stdout.readline().strip()
    processes = processes_of(directory)
    assert len(processes) >= 3
    started.send_signal(signal.SIGKILL)
    started.communicate()
    for process in processes:
        wait_for(process)


@pytest.mark.parametrize("bouncer", [False, True], ids=["direct", "pgbouncer"])
def test_the_default_schema_is_the_roles(database: Database, bouncer: bool) -> None:
    with database.connect(bouncer) as host:
        host.execute("CREATE TABLE one (n INTEGER)")
        found = host.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'one'").fetchall()
    assert found == [(database.role,)]


def test_texts_are_in_another_order_than_their_bytes(database: Database) -> None:
    with database.connect() as host:
        assert host.execute("SELECT 'a' < 'B', 'a' < 'B' COLLATE \"C\"").fetchone() == (True, False)


def tcp(server: Server, **options: Any) -> dict[str, Any]:
    names = server.names
    return {"host": "127.0.0.1", "port": names["pg_port"], "sslrootcert": names["pg_ca_file"],
            **options}  # fmt: skip


def test_passwords_and_certificates(database: Database) -> None:
    server = database.server
    with database.connect(user=server.names["pg_administrator"], autocommit=True) as administrator:
        administrator.execute(f"ALTER ROLE {database.role} PASSWORD 'right'")
    for host in ("127.0.0.1", "localhost"):
        good = tcp(server, host=host, password="right", sslmode="verify-full")
        with database.connect(**good) as connection:
            assert connection.execute(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            ).fetchone() == (True,)
    other_name = server.names["pg_other_name_port"]
    for wrong, told in (
        ({"password": "wrong"}, "password authentication failed"),
        ({"sslrootcert": server.names["pg_other_ca_file"]}, "certificate verify failed"),
        ({"port": other_name}, "other.example"),
        ({"port": server.names["pg_bouncer_port"]}, "does not support SSL"),
    ):
        with pytest.raises(psycopg.OperationalError, match=told):
            database.connect(**{**good, **wrong})
    with database.connect(**{**good, "port": other_name, "sslmode": "verify-ca"}):
        pass


def states_of(directory: str) -> set[str]:
    """The states of the server's own process and of its children, as letters."""
    (main,) = (
        process
        for process in processes_of(directory)
        if b"/postgres\0" in Path(f"/proc/{process}/cmdline").read_bytes()
    )
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    processes = [str(main), *children]
    return {
        Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        for process in processes
    }


def test_commands() -> None:
    server = Server.start("--fsync", "off")
    database = Database(server, server.names["pg_administrator"])
    try:
        with database.connect(autocommit=True) as host:
            host.execute("CREATE TABLE kept (n INTEGER)")
        for command in ("restart", "kill", "start", "stop", "start", "start", "bouncer"):
            server.ask(command)
            if command in ("kill", "stop"):
                with pytest.raises(psycopg.OperationalError):
                    database.connect()
            else:
                with database.connect(bouncer=True) as host:
                    host.execute("SELECT * FROM kept")
        server.ask("freeze")
        assert states_of(server.names["pg_socket"]) == {"T"}
        server.ask("thaw")
        assert states_of(server.names["pg_socket"]) <= {"S", "R", "D"}
        with pytest.raises(RuntimeError, match="no such command: jump"):
            server.ask("jump")
    finally:
        server.stop()
