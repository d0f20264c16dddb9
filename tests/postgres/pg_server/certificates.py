"""Certificates for servers in tests: two authorities, and certificates of the first one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .programs import find

DAYS = "7"
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(directory: Path) -> None:
    """Makes ca.pem and other-ca.pem; localhost.pem for this machine's names, and other-name.pem for
    one that nobody has."""
    for name in ("ca", "other-ca"):
        request(directory, name, "-x509", "-subj", f"/CN=b24 tests {name}", "-addext",
                "keyUsage=critical,keyCertSign")  # fmt: skip
    for name, names in (
        ("localhost", "DNS:localhost,IP:127.0.0.1"),
        ("other-name", "DNS:other.example"),
    ):
        request(directory, name, "-x509", "-subj", f"/CN=b24 tests {name}",
                "-CA", "ca.pem", "-CAkey", "ca.key",
                "-addext", f"subjectAltName={names}",
                "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "extendedKeyUsage=serverAuth")  # fmt: skip
    owner = directory.stat()
    for path in (*directory.glob("*.key"), *directory.glob("*.pem")):
        path.chmod(0o600 if path.suffix == ".key" else 0o644)
        os.chown(path, owner.st_uid, owner.st_gid)


def request(directory: Path, name: str, *options: str) -> None:
    command = [find("openssl"), "req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem",
               "-days", DAYS, *options]  # fmt: skip
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl failed: {done.stderr}")
