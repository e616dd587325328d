"""The sandboxes in which pages are executed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from doc_pages import ROOT
from sandbox import furnish, furnish_checkpoints

from uva_edge.bundle import Bundle
from uva_edge.data.synthetic import AerialScene


@pytest.fixture(scope="session")
def furnished(
    scene: AerialScene, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Made once; every page gets a copy."""
    root = tmp_path_factory.mktemp("furnished")
    furnish(root, scene)
    bundles = {name: Bundle.shipped("uva-32") for name in ("uva-32", "uva-64")}
    if importlib.util.find_spec("torch") is not None:
        furnish_checkpoints(root, (ROOT / "recipes").glob("*.toml"), request.getfixturevalue("untrained"))
        bundles["tinyhd-s"] = request.getfixturevalue("windowed")
    for name, bundle in bundles.items():
        shutil.copytree(bundle.location, root / "bundles" / name)
    return root


@pytest.fixture
def sandbox(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Enters a directory that has everything, of which one page may do what it likes."""

    def _enter() -> Path:
        place = tmp_path / "sandbox"
        shutil.copytree(furnished, place, copy_function=_link_or_copy)
        monkeypatch.chdir(place)
        return place

    return _enter


def _link_or_copy(source: str, target: str) -> str:
    """Weights are linked, for nothing writes into a file that is there; results are moved in place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """Commands set how many threads OpenCV and torch have; the next test has what it had."""
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    threads = cv2.getNumThreads(), torch.get_num_threads() if torch else 0
    yield
    cv2.setNumThreads(threads[0])
    if torch:
        torch.set_num_threads(threads[1])
