"""The page in headless Chromium: what a viewer sees, clicks and types."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.demo import endless_flight
from uva_edge.runtimes.sources import open_source
from uva_edge.runtimes.view.loop import Look

DRIVER: Final = Path(__file__).parent / "browser"
TOKEN: Final = "a-token-of-some-length"
_NO_REGISTRY: Final = re.compile(r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b")

Drive = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of `browser/` with the packages of its lock file."""
    for tool, package in (("chromium", "chromium"), ("node", "nodejs"), ("npm", "npm")):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here (Debian package {package})")
    folder = tmp_path_factory.mktemp("driver") / "browser"
    shutil.copytree(DRIVER, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode and _NO_REGISTRY.search(done.stderr):
        pytest.skip("the npm registry can't be reached, and npm's cache lacks playwright-core")
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)  # pytest keeps the folders of some runs


@pytest.fixture
def drive(driver: Path, tmp_path: Path) -> Drive:
    """Run a scenario of drive.mjs; what it saw, with its pictures in `tmp_path`."""

    def _drive(scenario: str, url: str, shown: Callable[[], None] = lambda: None) -> dict[str, Any]:
        chromium = shutil.which("chromium")
        process = subprocess.Popen(
            ["node", "drive.mjs", scenario, url, str(tmp_path)],
            cwd=driver,
            env={**os.environ, "CHROMIUM": str(chromium)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        timer = threading.Timer(200, process.kill)
        timer.start()
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == "shown\n":
                    shown()
            words = process.stderr.read()
            assert process.wait() == 0, words
        finally:
            timer.cancel()
            process.stdout.close()
            process.stderr.close()
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    return _drive


def not_blank(path: Path, width: int) -> bool:
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return picture.shape[1] == width and float(picture.std()) > 10


def test_a_flight_is_seen_switched_stopped_and_started(serve: Any, drive: Drive, tmp_path: Path) -> None:
    served = serve(SimpleNamespace(open=endless_flight), look=Look())
    served.loop.start()
    url = f"http://127.0.0.1:{served.port}/"
    found = drive("flight", url)

    running = found["running"]
    assert running["state"] == "running"
    assert running["veil"] == ""
    assert "640×360, 25.0 FPS" in running["source"]
    assert running["colours"] > 100, "the canvas shows no photograph"
    assert running["engine"]["backend"] == "onnxruntime"
    assert running["engine"]["precision"] == "fp32"
    assert running["engine"]["threads"] == "1"
    assert float(running["fps"].split()[0]) > 0
    assert float(running["given"].split()[0]) > 0
    assert re.fullmatch(r"frame \d+, [\d.]+ s", running["moment"])
    assert [row[0] for row in running["stages"]] == ["read", "predict", "draw", "encode"]
    for name, _, p50, p95 in running["stages"]:
        assert 0 < float(p50) <= float(p95), name
    assert running["peaks"][0][0] == "1"
    assert float(running["peaks"][0][3]) == 1.0, "the strongest peak of a map is 1"
    assert running["marks"] == len(running["peaks"])
    assert running["maps"] >= 2
    able = {offer["value"] for offer in found["backends"] if not offer["disabled"]}
    assert {"auto", "onnxruntime"} <= able
    assert "asked for by name" in found["explain"]

    assert found["switched"]["bundle"].startswith("skd-32")
    refused = found["refused"]
    assert "what ran before still runs" in refused["error"]
    assert "needs an artifact" in refused["error"]
    assert refused["engine"]["bundle"].startswith("skd-32")
    assert (refused["chosen"], refused["state"]) == ("fp32", "running")

    assert found["focused"] == "stop"
    assert found["stopped"]["state"] == "stopped"
    assert found["stopped"]["veil"] == "Stopped. Start opens the source again."
    assert found["stopped"]["colours"] > 100, "the last picture stays under the words"
    assert found["narrow"]["state"] == "running"
    assert found["narrow"]["wide"] <= 390, "a narrow screen scrolls sideways"
    assert found["running"]["wide"] <= 1280
    for name, width in (("1280", 1280), ("390", 390), ("stopped", 1280)):
        assert not_blank(tmp_path / f"{name}.png", width), name
    assert found["complaints"] == []
    assert found["asked"] == [url.rstrip("/")], "nothing comes from elsewhere"


@pytest.mark.skipif(sys.platform == "win32", reason="such a name is none there")
def test_what_a_source_says_is_text(
    serve: Any, drive: Drive, tmp_path: Path, flight: NDArray[np.uint8]
) -> None:
    path = tmp_path / "<b onclick=alert(1)>x<img src=y onerror=alert(2)>.png"
    path.write_bytes(cv2.imencode(".png", flight[0])[1].tobytes())
    served = serve(SimpleNamespace(open=lambda: open_source(path)), look=Look())
    served.loop.start()
    found = drive("still", f"http://127.0.0.1:{served.port}/")
    assert found["source"] == f"{path.name}, 320×180, one picture"
    assert found["markup"] == 0
    assert found["colours"] > 100, "a picture that came before its viewer is shown"
    assert found["complaints"] == []


def test_a_source_that_fails_says_why(script: Any, serve: Any, drive: Drive) -> None:
    served = serve(script(refuses="camera 7 can't be opened; is it plugged in?"))
    served.loop.start()
    found = drive("failed", f"http://127.0.0.1:{served.port}/")
    assert found["veil"] == "camera 7 can't be opened; is it plugged in?\n\nStart tries again."
    assert found["state"] == "failed"
    assert (found["start"], found["stop"]) == (True, False)


def test_the_token_is_typed_and_leaves_the_address(script: Any, serve: Any, drive: Drive) -> None:
    served = serve(script(), token=TOKEN)
    plain = f"http://127.0.0.1:{served.port}/"
    found = drive("token", f"{plain}?token={TOKEN}")
    assert found["wrong"] == 1, "a wrong token is asked for again"
    assert found["address"] == plain
    assert found["scripts"] == "", "the cookie is no script's business"


def test_a_lost_connection_is_told(script: Any, serve: Any, drive: Drive) -> None:
    served = serve(script())
    found = drive("lost", f"http://127.0.0.1:{served.port}/", shown=served.end)
    assert "Trying again" in found["veil"]
    assert (found["start"], found["bundle"]) == (False, False)
