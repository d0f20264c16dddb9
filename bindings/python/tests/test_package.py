"""The package as a whole: what it exports, and how it describes itself."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import inspect
import pickle
import subprocess
import sys
import types
import typing
from pathlib import Path
from typing import Any

import b24_messageservice as b24
import pytest


def test_all_is_what_is_public() -> None:
    assert set(b24.__all__) <= set(dir(b24))
    assert isinstance(b24.AsyncClient, type)  # this loads both that are for asyncio
    public = {
        name
        for name, value in vars(b24).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert set(b24.__all__) == public | {"__version__"}
    assert inspect.signature(b24.renewals_wait).parameters.keys() == {"timeout"}


@pytest.mark.parametrize("name", [n for n in b24.__all__ if n != "__version__"])
def test_everything_is_documented_and_lives_at_its_public_path(name: str) -> None:
    cls = getattr(b24, name)
    assert cls.__doc__
    assert cls.__module__ == "b24_messageservice"
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_asyncio_is_loaded_only_if_it_is_used() -> None:
    program = "import sys, b24_messageservice as b24; print('asyncio' in sys.modules)"
    for used, loaded in (("", "False"), ("b24.AsyncClient; ", "True")):
        command = [sys.executable, "-c", program.replace("print", used + "print")]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ended.stdout.strip() == loaded


@pytest.mark.parametrize(
    "cls",
    [
        b24.AsyncClient,
        b24.AsyncProvider,
        b24.CancelToken,
        b24.Client,
        b24.Provider,
        b24.Request,
        b24.Vocabulary,
    ],
)
def test_every_method_is_documented(cls: type) -> None:
    for name in dir(cls):
        if not name.startswith("_"):
            assert getattr(cls, name).__doc__, name


def test_version_is_the_distributions_and_the_crates() -> None:
    assert b24.__version__ == importlib.metadata.version("b24-messageservice")
    manifest = (Path(__file__).parents[3] / "Cargo.toml").read_text(encoding="utf-8")
    assert f'version = "{b24.__version__}"' in manifest


def test_package_is_typed() -> None:
    assert importlib.resources.files(b24).joinpath("py.typed").is_file()
    assert importlib.resources.files(b24).joinpath("_native.pyi").is_file()


def test_options_are_those_that_the_core_has() -> None:
    takers: list[tuple[Any, Any]] = [
        (b24.Client, b24.ClientOptions),
        (b24.Provider, b24.ProviderOptions),
    ]
    for make, options in takers:
        arguments = {"portal": "portal.bitrix24.com"} if make is b24.Client else {}
        with pytest.raises(TypeError) as refused:
            make(**arguments, zzz="1")
        _, _, listed = str(refused.value).partition("The options are ")
        assert set(listed.split(", ")) == set(typing.get_type_hints(options))
    for options in (b24.Options, b24.ProviderOptions):
        assert all(f"{key}: " in (options.__doc__ or "") for key in options.__annotations__)


def test_gil_state_is_told() -> None:
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"CPython {sys.version.split()[0]}, GIL {'on' if gil else 'off'}")
    free_threaded = "free-threading" in sys.version
    assert gil is not free_threaded


SUBINTERPRETER = """
import importlib, sys, b24_messageservice as b24
try:
    interpreters = importlib.import_module("_xxsubinterpreters")
except ImportError:
    interpreters = importlib.import_module("_interpreters")
other = interpreters.create()
interpreters.run_string(other, f"import sys; sys.path[:] = {sys.path}" + '''
try:
    import b24_messageservice
except ImportError:
    print("refused", flush=True)
''')
interpreters.destroy(other)
try:
    b24.Client("portal.bitrix24.com", timeout="")
except b24.InvalidConfig:
    print("works", flush=True)
"""


def test_one_interpreter_of_a_process_can_use_it() -> None:
    """What the module keeps is Python objects of the interpreter that imported it first."""
    done = subprocess.run(
        [sys.executable, "-c", SUBINTERPRETER],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["refused", "works"]
