"""The server, asked over real sockets: what it serves, whom it lets in, and how many it serves at once."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from uva_edge.errors import OptionError
from uva_edge.runtimes.predictor import Stream
from uva_edge.runtimes.view.access import HEADERS
from uva_edge.runtimes.view.hub import MOST_VIEWERS

pytest.importorskip("websockets", reason="needs the extra 'view'")
from websockets.exceptions import ConnectionClosed, InvalidStatus

from uva_edge.runtimes.view.server import PAGE, address_of, bind

TOKEN = "a-token-of-some-length"


def texts_until(
    viewer: Any, kind: str, holds: Callable[[dict[str, Any]], bool] = lambda message: True
) -> Any:
    """The next text message of that type that holds; pictures on the way are acknowledged."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        data = viewer.recv(timeout=30)
        if isinstance(data, bytes):
            acknowledge(viewer, data)
            continue
        message = json.loads(data)
        if message["type"] == kind and holds(message):
            return message
    raise AssertionError(f"no {kind} came")


def next_picture(viewer: Any) -> bytes:
    while not isinstance(data := viewer.recv(timeout=30), bytes):
        pass
    return data


def serial_of(picture: bytes) -> int:
    length = int.from_bytes(picture[:4], "big")
    return int(json.loads(picture[4 : 4 + length])["serial"])


def acknowledge(viewer: Any, picture: bytes) -> None:
    viewer.send(json.dumps({"do": "seen", "serial": serial_of(picture)}))


# --- what is served -------------------------------------------------------------------------------------


def test_the_page_and_nothing_else(script: Any, serve: Any) -> None:
    served = serve(script())
    for path, (_, kind) in PAGE.items():
        response, body = served.get(path)
        assert response.status == 200, path
        assert response.getheader("Content-Type", "").startswith(kind)
        assert body
    for path in (
        "/index.html",
        "/server.py",
        "/page/index.html",
        "/../server.py",
        "/%2e%2e/server.py",
        "//etc/passwd",
        "/locked.html",
        "/live",
        "/view.js/",
        "/docs",
        "/openapi.json",
    ):
        response, _ = served.get(path)
        assert response.status in (404, 307), path
        assert response.status == 404 or "://localhost" in response.getheader("Location", ""), path
    assert served.get("/", "POST")[0].status == 405
    assert served.get("/", "HEAD")[1] == b""


def test_every_response_has_the_headers(script: Any, serve: Any) -> None:
    served = serve(script(), token=TOKEN)
    responses = [
        served.get("/view.css"),
        served.get("/"),
        served.get("/nowhere"),
        served.get(f"/?token={TOKEN}"),
        served.get("/", Host="evil.example"),
    ]
    assert [response.status for response, _ in responses] == [200, 401, 401, 303, 421]
    for response, _ in responses:
        for name, value in HEADERS.items():
            assert response.getheader(name) == value, (response.status, name)
        assert response.getheader("Server") is None


def test_the_page_loads_nothing_from_elsewhere(script: Any, serve: Any) -> None:
    served = serve(script())
    for path in PAGE:
        body = served.get(path)[1].decode()
        assert "https://" not in body, path
        assert body.count("http://") == body.count("http://www.w3.org/2000/svg"), path


# --- who is let in --------------------------------------------------------------------------------------


def test_a_foreign_host_name_is_refused(script: Any, serve: Any) -> None:
    served = serve(script())
    for host in ("evil.example", f"evil.example:{served.port}", f"localhost.evil.example:{served.port}", ""):
        response, body = served.get("/", Host=host)
        assert response.status == 421, host
        assert b"<html" not in body
    for host in ("localhost:9000", "127.0.0.1", "[::1]:1"):  # as through a tunnel
        assert served.get("/", Host=host)[0].status == 200, host


def test_the_token_opens_the_page_once_and_leaves_the_address(script: Any, serve: Any) -> None:
    served = serve(script(), token=TOKEN)
    many = "&".join(f"a{number}" for number in range(2000))
    for path in (
        "/",
        "/view.js",
        "/?token=wrong",
        "/?token=",
        f"/view.js?token={TOKEN}",
        f"/?{many}",
        "/?token=%ff",
    ):
        response, body = served.get(path)
        assert response.status == 401, path
        assert TOKEN.encode() not in body
        assert response.getheader("Set-Cookie") is None
    response, _ = served.get(f"/?token={TOKEN}")
    assert (response.status, response.getheader("Location")) == (303, "/")
    cookie = response.getheader("Set-Cookie", "").partition(";")[0]
    assert TOKEN not in cookie
    assert served.get("/", Cookie=cookie)[0].status == 200
    assert served.get("/view.js", Cookie=cookie)[0].status == 200
    assert served.get("/", Cookie=cookie + "x")[0].status == 401

    with pytest.raises(InvalidStatus) as refused:
        served.connect()
    assert refused.value.response.status_code == 403
    with served.connect(Cookie=cookie) as viewer:
        assert texts_until(viewer, "status")["state"] == "stopped"


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://localhost", "https://localhost:1"]
)
def test_another_page_opens_no_websocket(script: Any, serve: Any, origin: str | None) -> None:
    served = serve(script())
    with pytest.raises(InvalidStatus) as refused:
        served.connect(origin=origin)
    assert refused.value.response.status_code == 403
    assert not served.hub.watched


def test_a_foreign_name_opens_no_websocket_either(script: Any, serve: Any) -> None:
    """DNS rebinding: host and origin agree, and neither is ours."""
    with pytest.raises(InvalidStatus) as refused:
        serve(script()).connect(host="evil.example")
    assert refused.value.response.status_code == 403


# --- viewers --------------------------------------------------------------------------------------------


def test_several_viewers_see_one_prediction(script: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pushes: list[int] = []
    push = Stream.push

    def _push(stream: Stream, frame: Any) -> Any:
        pushes.append(1)
        return push(stream, frame)

    monkeypatch.setattr(Stream, "push", _push)
    served = serve(script(frames=30, fps=15.0))
    seen: list[dict[int, bytes]] = [{}, {}, {}]

    def look(viewer: Any, pictures: dict[int, bytes]) -> None:
        while True:
            data = viewer.recv(timeout=30)
            if isinstance(data, bytes):
                pictures[serial_of(data)] = data
                acknowledge(viewer, data)
            elif json.loads(data)["state"] == "ended":
                break
        if isinstance(served.hub.picture, tuple) and served.hub.picture[0] not in pictures:
            picture = next_picture(viewer)
            pictures[serial_of(picture)] = picture

    viewers = [served.connect() for _ in seen]
    threads = [threading.Thread(target=look, args=pair) for pair in zip(viewers, seen, strict=True)]
    for thread in threads:
        thread.start()
    served.loop.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for viewer in viewers:
        viewer.close()
    last = served.hub.picture[0]
    assert last <= len(pushes) <= 30, "one prediction a frame, however many look"
    for pictures in seen:
        assert last in pictures
        for serial, data in pictures.items():
            assert all(other.get(serial, data) == data for other in seen), "all see the same picture"


def test_a_viewer_that_acknowledges_nothing_holds_up_nobody_and_fills_nothing(
    script: Any, serve: Any
) -> None:
    """It is sent two pictures, while another is sent a hundred."""
    served = serve(script(frames=1_000_000, live=True, size=(640, 480)))
    with served.connect() as slow, served.connect() as quick:
        served.loop.start()
        serials = []
        while len(serials) < 100:
            picture = next_picture(quick)
            acknowledge(quick, picture)
            serials.append(serial_of(picture))
        assert serials == sorted(set(serials))
        waiting = []
        while True:
            try:
                data = slow.recv(timeout=0.5)
            except TimeoutError:
                break
            if isinstance(data, bytes):
                waiting.append(serial_of(data))
        assert len(waiting) == 2, "what it was sent while it slept"
        slow.send(json.dumps({"do": "seen", "serial": waiting[-1]}))
        assert serial_of(next_picture(slow)) > serials[50], "the newest then, not the third"
        served.loop.stop()


def test_a_viewer_that_leaves_is_forgotten(script: Any, serve: Any) -> None:
    served = serve(script(frames=1_000_000, live=True))
    served.loop.start()
    for _ in range(3):
        with served.connect() as viewer:
            next_picture(viewer)
            assert served.hub.watched
        deadline = time.monotonic() + 30
        while served.hub.watched and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not served.hub.watched


def test_too_many_viewers_are_told(script: Any, serve: Any) -> None:
    served = serve(script())
    viewers = [served.connect() for _ in range(MOST_VIEWERS)]
    for viewer in viewers:
        texts_until(viewer, "status")
    with served.connect() as another, pytest.raises(ConnectionClosed) as closed:
        another.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
    assert "viewers" in closed.value.rcvd.reason
    for viewer in viewers:
        viewer.close()


# --- commands -------------------------------------------------------------------------------------------


def test_start_stop_and_switch(script: Any, serve: Any) -> None:
    served = serve(script(frames=1_000_000, live=True))
    with served.connect() as viewer, served.connect() as other:
        viewer.send('{"do": "start"}')
        for each in (viewer, other):
            texts_until(each, "status", lambda message: message["state"] == "running")
        command = {"do": "switch", "bundle": "skd-32", "backend": "onnxruntime", "precision": "fp32"}
        viewer.send(json.dumps(command))
        for each in (viewer, other):
            texts_until(each, "status", lambda message: message["engine"]["bundle"] == "skd-32")
        viewer.send(json.dumps({**command, "bundle": "../../etc"}))
        words = texts_until(viewer, "error")["message"]
        assert "what ran before still runs" in words
        assert "bundle must be one of" in words
        viewer.send('{"do": "stop"}')
        for each in (viewer, other):
            texts_until(each, "status", lambda message: message["state"] == "stopped")


def test_a_flood_of_switches_is_refused(script: Any, serve: Any) -> None:
    with serve(script()).connect() as viewer:
        command = {"do": "switch", "bundle": "skd-32", "backend": "onnxruntime", "precision": "fp32"}
        for _ in range(50):
            viewer.send(json.dumps(command))
        assert "is under way; try again when it is done" in texts_until(viewer, "error")["message"]
        texts_until(viewer, "status", lambda message: message["engine"]["bundle"] == "skd-32")
        # Another of the flood may have had its turn since.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            viewer.send(json.dumps({**command, "bundle": "uva-32"}))
            try:
                data = viewer.recv(timeout=1)
            except TimeoutError:
                continue
            if "uva-32" in json.loads(data).get("engine", {}).get("bundle", ""):
                return
        raise AssertionError("after the flood nothing could be switched any more")


@pytest.mark.parametrize(
    "data", ["", "no", "[]", '{"do": "rm"}', b"\x00\x01", '{"do": "start", "x": 1}', "[" * 3000]
)
def test_what_is_no_command_is_answered_in_words(script: Any, serve: Any, data: str | bytes) -> None:
    with serve(script()).connect() as viewer:
        viewer.send(data)
        words = texts_until(viewer, "error")["message"]
        assert "command" in words
        assert "Traceback" not in words
        viewer.send('{"do": "start"}')
        texts_until(viewer, "status", lambda message: message["state"] in ("running", "ended"))


def test_a_message_that_is_too_long_ends_its_viewer_alone(script: Any, serve: Any) -> None:
    served = serve(script())
    with served.connect() as other, served.connect() as viewer:
        viewer.send("x" * 100_000)
        with pytest.raises(ConnectionClosed) as closed:
            texts_until(viewer, "error")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        other.send('{"do": "start"}')
        texts_until(other, "status", lambda message: message["state"] in ("running", "ended"))


# --- addresses ------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_says_so() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OptionError, match=f"port {port} is in use by another program; take another with --port"
        ):
            bind("127.0.0.1", port)
        assert address_of(taken, "127.0.0.1", None) == f"http://127.0.0.1:{port}/"
        assert address_of(taken, "::1", None) == f"http://[::1]:{port}/"
        assert address_of(taken, "0.0.0.0", "t") == f"http://{socket.gethostname()}:{port}/?token=t"


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 70_000, "port must be"),
        ("192.0.2.1", 0, "192.0.2.1 is no address"),
        ("no.invalid", 0, "no.invalid"),
    ],
)
def test_an_address_that_is_none_says_so(host: str, port: int, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        bind(host, port)
