"""Starts PostgreSQL and pgbouncer in a temporary directory, and stops them when its input ends.

usage: python -m pg_server [--fsync off] [--max-connections N]

The first line of the output is a JSON object that says where they are (see ../README.md). Then each
line of the input is a command, which is answered by an empty object when it is done, or by one with
`error`:

  restart    stops PostgreSQL as an administrator does, and starts it again
  kill       kills it with all its processes, so that it recovers when it is started
  stop       stops it as `restart` does
  start      starts it again after `kill` or `stop`
  freeze     stops all its processes where they are, as a machine that hangs
  thaw       lets them go on
  bouncer    stops pgbouncer with all its connections, and starts it again
  standby    makes a standby, to which PostgreSQL streams its log, and starts it
  freeze-standby, thaw-standby    the same for that
  promote    makes that the primary server, when the other was killed
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time

from .certificates import make_certificates
from .directory import Directory
from .programs import SECONDS, Program, find

DATABASE = "b24"
ADMINISTRATOR = "administrator"
# What pgbouncer asks for a user's password: it has no list of those that tests make.
QUERY = "SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1"
# Fewer than a test has clients, so that they take turns.
POOL = 4

HBA = """\
# A socket in a directory that only its owner and root enter.
local all all trust
local replication all trust
host all all 127.0.0.1/32 scram-sha-256
"""

SETTINGS = """\
listen_addresses = '127.0.0.1'
max_connections = {connections}
ssl = on
ssl_cert_file = '{directory}/localhost.pem'
ssl_key_file = '{directory}/localhost.key'
password_encryption = 'scram-sha-256'
fsync = {fsync}
shared_buffers = '32MB'
lc_messages = 'C'
# So that a line says when it is ready, and that nothing of the tests is in a log.
log_min_messages = 'warning'
log_min_error_statement = 'panic'
"""

BOUNCER = """\
[databases]
{database} = host={directory} port={port} auth_user={administrator}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir = {directory}
pool_mode = transaction
auth_type = trust
auth_query = {query}
default_pool_size = {pool}
max_client_conn = 2000
# It tries again soon after the server could not be reached.
server_login_retry = 0.1
client_tls_sslmode = {tls}
client_tls_cert_file = {directory}/other-name.pem
client_tls_key_file = {directory}/other-name.key
"""


class Servers:
    """PostgreSQL, pgbouncer without TLS, and pgbouncer whose certificate has another name."""

    def __init__(self, directory: Directory, fsync: str, connections: int) -> None:
        self.directory = directory
        make_certificates(directory.path)
        self.postgres = self.initialized(fsync, connections)
        self.standby = Program(
            "the standby",
            directory,
            ready="ready to accept read-only connections",
            orphaned=signal.SIGQUIT,
        )
        self.bouncers = [self.bouncer("plain", "disable"), self.bouncer("other-name", "require")]

    def initialized(self, fsync: str, connections: int) -> Program:
        """A new cluster of databases, with one for the tests when it runs."""
        data = self.directory.path / "data"
        postgres = Program(
            "postgres",
            self.directory,
            ready="ready to accept connections",
            orphaned=signal.SIGQUIT,
        )
        self.directory.run(
            find("initdb"), "-D", str(data), "-U", ADMINISTRATOR, "-E", "UTF8", "--no-locale",
            # Texts are in another order than their bytes, as at most servers.
            "--locale-provider=icu", "--icu-locale=en-US",
            "--no-sync", "--auth=trust", "--no-instructions",
        )  # fmt: skip
        settings = SETTINGS.format(
            connections=connections, directory=self.directory.path, fsync=fsync
        )
        self.directory.write("data/pg_hba.conf", HBA)
        self.directory.append("data/postgresql.conf", settings)
        postgres.command = [
            find("postgres"), "-D", str(data), "-k", str(self.directory.path),
            "-p", str(postgres.port),
        ]  # fmt: skip
        return postgres

    def bouncer(self, name: str, tls: str) -> Program:
        bouncer = Program("pgbouncer", self.directory, ready="process up")
        settings = BOUNCER.format(
            database=DATABASE,
            directory=self.directory.path,
            port=self.postgres.port,
            administrator=ADMINISTRATOR,
            own_port=bouncer.port,
            query=QUERY,
            pool=POOL,
            tls=tls,
        )
        self.directory.write(f"{name}.ini", settings)
        bouncer.command = [find("pgbouncer"), str(self.directory.path / f"{name}.ini")]
        return bouncer

    def start(self) -> None:
        self.postgres.start()
        self.directory.run(
            find("createdb"), "-h", str(self.directory.path), "-p", str(self.postgres.port),
            "-U", ADMINISTRATOR, DATABASE,
        )  # fmt: skip
        for bouncer in self.bouncers:
            bouncer.start()

    def start_standby(self) -> None:
        data = str(self.directory.path / "standby")
        source = ("-h", str(self.directory.path), "-p", str(self.postgres.port))
        self.directory.run(
            find("pg_basebackup"), *source, "-U", ADMINISTRATOR, "-D", data,
            "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        )  # fmt: skip
        self.standby.command = [
            find("postgres"), "-D", data, "-k", str(self.directory.path),
            "-p", str(self.standby.port),
        ]  # fmt: skip
        self.standby.start()

    def names(self) -> dict[str, str]:
        """Where all is."""
        plain, other_name = self.bouncers
        path = self.directory.path
        return {
            "pg_socket": str(path),
            "pg_port": str(self.postgres.port),
            "pg_standby_port": str(self.standby.port),
            "pg_bouncer_port": str(plain.port),
            "pg_other_name_port": str(other_name.port),
            "pg_ca_file": str(path / "ca.pem"),
            "pg_other_ca_file": str(path / "other-ca.pem"),
            "pg_database": DATABASE,
            "pg_administrator": ADMINISTRATOR,
        }

    def do(self, command: str) -> None:
        """One of the commands."""
        if command in ("restart", "stop"):
            self.postgres.stop(signal.SIGINT)
        elif command == "kill":
            self.postgres.kill()
        elif command == "freeze":
            self.postgres.freeze()
        elif command == "thaw":
            self.postgres.signal_all(signal.SIGCONT)
        elif command == "bouncer":
            self.bouncers[0].kill()
            self.bouncers[0].start()
        elif command == "standby":
            self.start_standby()
        elif command == "freeze-standby":
            self.standby.freeze()
        elif command == "thaw-standby":
            self.standby.signal_all(signal.SIGCONT)
        elif command == "promote":
            data = str(self.directory.path / "standby")
            self.directory.run(find("pg_ctl"), "promote", "--wait", "-D", data)
        elif command != "start":
            raise ValueError(f"no such command: {command}")
        if command in ("restart", "start"):
            self.postgres.start()
            self.wait_for_bouncer()

    def wait_for_bouncer(self) -> None:
        """Waits until pgbouncer, which tries now and then, has found the server again."""
        give_up = time.monotonic() + SECONDS
        ask = (
            find("psql"), "-h", str(self.directory.path), "-p", str(self.bouncers[0].port),
            "-U", ADMINISTRATOR, "-d", DATABASE, "-c", "SELECT 1",
        )  # fmt: skip
        while True:
            try:
                return self.directory.run(*ask)
            except RuntimeError:
                if time.monotonic() > give_up:
                    raise

    def stop(self) -> None:
        for bouncer in self.bouncers:
            bouncer.kill()
        for server in (self.standby, self.postgres):
            server.signal_all(signal.SIGCONT)
            # At once; but it frees its shared memory, unlike when it is killed.
            server.stop(signal.SIGQUIT)


def say(answer: dict[str, str]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fsync", choices=("on", "off"), default="on")
    parser.add_argument("--max-connections", type=int, default=200)
    options = parser.parse_args()
    # Ctrl-C is for the program that started this: it closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What ends this ends by the same way as the end of the input.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with Directory() as directory:
        servers = None
        try:
            servers = Servers(directory, options.fsync, options.max_connections)
            servers.start()
            say(servers.names())
            for line in sys.stdin:
                try:
                    servers.do(line.strip())
                    say({})
                except (OSError, RuntimeError, ValueError) as error:
                    say({"error": str(error)})
        except (OSError, RuntimeError) as error:
            say({"error": str(error)})
            sys.exit(1)
        finally:
            if servers:
                servers.stop()


if __name__ == "__main__":
    main()
