"""The ways to let web requests use FFI."""

from __future__ import annotations

import getpass
import os
import subprocess

import pytest
from web import LIBRARY, PACKAGE


@pytest.fixture(scope="session")
def header(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What ffi.preload loads."""
    path = tmp_path_factory.mktemp("preload") / "preload.h"
    environment = {**os.environ, "B24_MESSAGESERVICE_LIB": LIBRARY}
    subprocess.run(["php", PACKAGE / "bin/b24-preload", path], env=environment, check=True)
    return str(path)


@pytest.fixture
def preloaded(header: str) -> dict[str, str]:
    return {
        "ffi.enable": "preload",
        "ffi.preload": header,
        "opcache.enable": "1",
        "opcache.preload": str(PACKAGE / "preload.php"),
        "opcache.preload_user": getpass.getuser(),
    }


@pytest.fixture(params=["preloaded", "enabled"])
def ini(request: pytest.FixtureRequest) -> dict[str, str]:
    """The two ways to let web requests use FFI."""
    if request.param == "enabled":
        return {"ffi.enable": "true"}
    told: dict[str, str] = request.getfixturevalue("preloaded")
    return told
