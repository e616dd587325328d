"""`uva-edge view` as a user runs it: its address, its words, its end."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from uva_edge.cli import main, viewing

ENGINE = ("--bundle", "uva-32", "--backend", "onnxruntime")

for _package in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(_package, reason="needs the extra 'view'")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served: the server returns at once, as after Ctrl-C."""
    from uva_edge.runtimes.view import server

    apps: list[Any] = []

    def run(app: Any, listening: socket.socket) -> None:
        apps.append(app)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "run", run)
    monkeypatch.setattr(viewing, "_end_at_once", lambda: None)  # a busy machine may hold the source for long
    return apps


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes())
    return str(path)


def test_a_source_that_holds_on_does_not_hold_the_command(
    served: list[Any], picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uva_edge.runtimes.view.loop import PredictionLoop

    ends: list[int] = []
    close = PredictionLoop.close
    monkeypatch.setattr(PredictionLoop, "close", lambda loop: close(loop) and False)
    monkeypatch.setattr(viewing, "_end_at_once", lambda: ends.append(1))
    assert CliRunner().invoke(main, ["view", picture, "--port", "0", *ENGINE]).exit_code == 0
    assert ends == [1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "service manager"])
def test_it_serves_until_it_is_ended(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "uva_edge", "view", "demo", "--port", "0", *ENGINE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address), process.stderr.read()
        connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
        deadline = time.monotonic() + 60
        while True:
            try:
                connection.request("GET", "/")
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(number)
        rest, words = process.communicate(timeout=60)
    assert process.returncode == 0, words
    assert rest == ""
    assert words == "open this address in a browser; Ctrl-C ends it\nended\n"


def test_another_address_prints_its_token(served: list[Any], picture: str) -> None:
    result = CliRunner().invoke(main, ["view", picture, "--host", "0.0.0.0", "--port", "0", *ENGINE])
    assert result.exit_code == 0, result.output
    assert re.fullmatch(rf"http://{re.escape(socket.gethostname())}:\d+/\?token=[\w-]{{32}}\n", result.stdout)
    assert len(served) == 1


@pytest.mark.parametrize(
    "given", [{"args": ["--token", "a-token-of-my-own"]}, {"env": {"UVA_EDGE_TOKEN": "a-token-of-my-own"}}]
)
def test_a_token_may_be_given(served: list[Any], picture: str, given: dict[str, Any]) -> None:
    words = ["view", picture, "--port", "0", *ENGINE, *given.get("args", ())]
    result = CliRunner().invoke(main, words, env=given.get("env"))
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("/?token=a-token-of-my-own\n")


def test_a_source_that_is_not_there_is_told_and_may_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from uva_edge.runtimes.view import server

    def serve_until_it_is_told(app: Any, listening: socket.socket) -> None:
        deadline = time.monotonic() + 60
        while not caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "run", serve_until_it_is_told)
    monkeypatch.setattr(viewing, "_end_at_once", lambda: None)
    with caplog.at_level(logging.WARNING):
        result = CliRunner().invoke(main, ["view", "/nowhere/flight.mp4", "--port", "0", *ENGINE])
    assert result.exit_code == 0, result.output
    assert "/nowhere/flight.mp4 does not exist" in caplog.text
    assert "Start on the page tries again" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bundle", "nothing"], "there is no bundle 'nothing'"),
        (["--backend", "tpu"], "backend must be one of"),
        (["--max-width", "10"], "max_width must be from 64 to 1920"),
        (["--token", "short"], "a token has 16 to 256 letters"),
        (["--port", "70000"], "port must be from 0"),
        (["--threads", "9999"], "threads must be from 1"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_what_can_not_run_is_not_served(served: list[Any], options: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["view", "demo", "--port", "0", *options])
    assert result.exit_code == 1
    assert words in result.stderr
    assert not served


def test_a_port_in_use_names_the_way_out(served: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(main, ["view", "demo", "--port", str(port), *ENGINE])
    assert result.exit_code == 1
    assert f"port {port} is in use by another program; take another with --port" in result.stderr
    assert not served


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "websockets"])
def test_an_absent_extra_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = CliRunner().invoke(main, ["view", "demo"])
    assert result.exit_code == 1
    assert package in result.stderr
    assert "pip install 'uva-edge[view]'" in result.stderr
