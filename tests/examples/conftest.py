"""The page of examples/web: built as its README says, served as it wants to be, and a Chromium to look at it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from browser import ISOLATION, Browser, served

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "examples" / "web"
_NO_REGISTRY: Final = re.compile(r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("there is no chromium here (Debian package chromium)")
    return found


@pytest.fixture(scope="session")
def web_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of examples/web with its packages, and built."""
    for tool, package in (("node", "nodejs"), ("npm", "npm")):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here (Debian package {package})")
    folder = tmp_path_factory.mktemp("web") / "web"
    made = shutil.ignore_patterns("node_modules", "dist", "public")
    shutil.copytree(EXAMPLE, folder, ignore=made)
    installed = _npm(folder, "ci")
    if installed.returncode and _NO_REGISTRY.search(installed.stdout):
        pytest.skip("the npm registry can't be reached, and npm's cache lacks the packages")
    assert installed.returncode == 0, installed.stdout
    built = _npm(folder, "run", "build")
    assert built.returncode == 0, built.stdout
    yield folder
    shutil.rmtree(folder / "node_modules")  # pytest keeps the folders of some runs


def _npm(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    python = str(Path(sys.executable).parent)  # `python3` of the build is the one that has uva_edge
    return subprocess.run(
        ["npm", "--prefer-offline", *words],
        cwd=folder,
        env={**os.environ, "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )


@pytest.fixture(scope="session")
def site(web_project: Path) -> Iterator[str]:
    """The URL of the page, isolated as threads want it."""
    with served(web_project / "dist", ISOLATION) as url:
        yield url


@pytest.fixture(scope="module")  # the page that is left open plays on
def browser(chromium: str, web_project: Path) -> Iterator[Browser]:
    """A Chromium with a camera that shows a test picture; `insecure.test` is this machine, too."""
    flags = ["--use-fake-device-for-media-stream", "--host-resolver-rules=MAP insecure.test 127.0.0.1"]
    made = Browser(web_project, chromium, ["--no-sandbox", *flags])
    yield made
    made.close()
