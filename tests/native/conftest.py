"""The C fragments compiled for this machine, and the targets that have their tools here."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from fragments import write_sources
from targets import STRICT, TARGETS, Target, call, missing


def _able(target: Target) -> Target:
    reason = missing(target)
    if reason is not None:
        pytest.skip(reason)
    return target


@pytest.fixture(params=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    """Each target whose tools are here."""
    return _able(TARGETS[request.param])


@pytest.fixture(scope="session", params=["gcc", "clang"])
def host(request: pytest.FixtureRequest) -> Target:
    """This machine, by each of its compilers."""
    return _able(TARGETS[request.param])


@pytest.fixture(scope="session")
def library(host: Target, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], ctypes.CDLL]:
    """The fragments as a shared library, for an input of these rows and columns."""

    @cache
    def _library(rows: int, columns: int) -> ctypes.CDLL:
        folder: Path = tmp_path_factory.mktemp(f"{host.name}-{rows}x{columns}")
        source, built = write_sources(folder, rows, columns), folder / "uva.so"
        shared = ("-O2", "-fPIC", "-shared", str(source), "-o", str(built))
        call([host.compiler, *STRICT, *shared], folder)
        return ctypes.CDLL(str(built))

    return _library
