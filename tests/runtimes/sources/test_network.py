"""Streams from the network."""

from __future__ import annotations

import itertools
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import FRAMES, serving

from uva_edge.errors import SourceError
from uva_edge.runtimes import capture
from uva_edge.runtimes.sources import open_source, video
from uva_edge.runtimes.sources.live import Retry


def test_url_is_read_and_its_password_is_not_repeated(videos: dict[str, Path]) -> None:
    with serving(videos["mp4"].parent) as address:
        url = address.replace("//", "//user:p@ss@")
        with open_source(f"{address}/clip.mp4?token=secret") as source:
            assert (source.kind, source.name, source.live) == ("stream", f"{address}/clip.mp4", False)
            assert source.frame_count == FRAMES
            assert sum(1 for _ in source) == FRAMES
            assert source.problem is None
        with pytest.raises(SourceError, match="check the address") as caught:
            open_source(f"{url}/none.mp4?token=secret")
    assert "p@ss" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_playlist_from_the_network_reaches_no_local_file(videos: dict[str, Path], tmp_path: Path) -> None:
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n"
    (tmp_path / "local.m3u8").write_text(playlist.format(url=f"file://{videos['ts']}"))
    (tmp_path / "remote.m3u8").write_text(playlist.format(url="clip.ts"))
    (tmp_path / "clip.ts").write_bytes(videos["ts"].read_bytes())
    with serving(tmp_path) as address:
        with pytest.raises(SourceError, match="can't be opened"):
            open_source(f"{address}/local.m3u8")
        with open_source(f"{address}/remote.m3u8") as source:
            assert sum(1 for _ in source) == FRAMES


def test_live_stream_that_stops_is_reported() -> None:
    capture: Any = type("Capture", (), {"fps": 25.0, "name": "rtsp://host/a"})
    problem = video.Video(capture, None, live=True).problem(7, 0.3)
    assert problem == "rtsp://host/a stopped after 7 frames: ended by the sender, or cut off"


# --- a real RTSP server

SYSTEM_PYTHON = "/usr/bin/python3"
GST_SERVER = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@pytest.fixture(scope="module")
def gst() -> None:
    done = (
        subprocess.run([SYSTEM_PYTHON, "-c", GST_SERVER], capture_output=True)
        if Path(SYSTEM_PYTHON).exists()
        else None
    )
    if done is None or done.returncode:
        pytest.skip("needs the Debian packages of tests/runtimes/packages.txt (gir1.2-gst-rtsp-server-1.0)")


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def rtsp_server(port: int, *words: str) -> Iterator[Any]:
    command = [SYSTEM_PYTHON, str(Path(__file__).with_name("rtsp_server.py")), str(port), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield server
        finally:
            server.kill()


def grey(frame: Any) -> int:
    return int(frame.image.mean() + 0.5)


def test_a_server_that_dies_and_comes_back(
    gst: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Frames go on, their times too, and the gap is told: it is as long as nobody was there."""
    monkeypatch.setattr(video, "_RETRY", Retry(first=0.1, longest=0.4, give_up=60))
    caplog.set_level(logging.WARNING, logger="uva_edge.sources")  # whatever other packages did to the root's
    port = free_port()
    frames: list[Any] = []
    with rtsp_server(port) as server:
        source = open_source(f"rtsp://pilot:secret@127.0.0.1:{port}/cam", max_frames=45)
        stream = iter(source)
        frames += itertools.islice(stream, 20)
        server.kill()
        # What was on its way still comes; then nothing does, until the next server is there.
        later: list[Any] = []
        reader = threading.Thread(target=lambda: later.extend(stream))
        reader.start()
        time.sleep(1.5)
    with rtsp_server(port):
        reader.join(timeout=60)
        assert not reader.is_alive()
    source.close()
    frames += later
    assert len(frames) == 45
    times = [frame.time for frame in frames]
    steps = np.diff(times)
    assert (steps > 0).all()
    gap = int(steps.argmax())
    assert gap >= 19
    assert steps[gap] == pytest.approx(source.losses.seconds, abs=0.2)
    assert source.losses.seconds > 1.0
    assert np.median(steps) == pytest.approx(0.05, abs=0.01)  # the server's clock, whenever a frame arrived
    assert source.losses.reconnects == 1
    assert source.problem is None
    assert f"rtsp://127.0.0.1:{port}/cam: lost after {gap + 1} frames" in caplog.text
    told = caplog.text + "".join(capfd.readouterr())
    assert "secret" not in told
    assert "pilot" not in told


def test_a_server_that_does_not_come_back(gst: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_RETRY", Retry(first=0.05, longest=0.1, give_up=0.5))
    port = free_port()
    with rtsp_server(port) as server, open_source(f"rtsp://127.0.0.1:{port}/cam") as source:
        stream = iter(source)
        next(stream)
        server.kill()
        rest = sum(1 for _ in stream)
    assert source.problem is not None
    assert source.problem.startswith(f"rtsp://127.0.0.1:{port}/cam stopped after {rest + 1} frames")
    assert "did not come back in 0.5 s" in source.problem


def test_without_reconnection_the_end_is_the_end(gst: None) -> None:
    port = free_port()
    with rtsp_server(port) as server, open_source(f"rtsp://127.0.0.1:{port}/cam", reconnect=False) as source:
        stream = iter(source)
        next(stream)
        server.kill()
        assert all(frame.index for frame in stream)
    assert source.losses.reconnects == 0
    assert "ended by the sender, or cut off" in (source.problem or "")
    assert "come back" not in (source.problem or "")


def test_the_latest_frame_of_a_stream_is_one_of_now(gst: None) -> None:
    """Who takes four frame times for each frame sees every fourth or so, in order, with the stream's own times."""
    port = free_port()
    url = f"rtsp://127.0.0.1:{port}/cam"
    with rtsp_server(port), open_source(url, latest=True, max_frames=12) as source:
        frames = []
        for frame in source:
            frames.append(frame)
            time.sleep(0.2)
    steps = np.diff([frame.time for frame in frames])
    assert (steps > 0).all()
    assert source.dropped >= 11
    assert np.median(steps) > 0.1


def test_a_password_opens_the_stream_and_is_never_told(gst: None, tmp_path: Path) -> None:
    """Digest authentication, by the command: neither streams nor outputs repeat user or password."""
    port = free_port()
    where = f"127.0.0.1:{port}/cam"
    words = ["--max-frames", "8", "--save", "csv", "--bundle", "uva-32", "--backend", "onnxruntime"]
    with rtsp_server(port, "s3cret"):
        for password, code in (("s3cret", 0), ("wr0ng", 1)):
            out = tmp_path / password
            command = [
                sys.executable,
                "-m",
                "uva_edge",
                "predict",
                f"rtsp://pilot:{password}@{where}",
                *words,
            ]
            done = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, timeout=120)
            assert done.returncode == code, done.stderr
            table = (out / "peaks.csv").read_text() if code == 0 else ""
            assert ("rtsp://" in table) == (code == 0)
            for text in (done.stdout.replace(str(out), ""), done.stderr.replace(str(out), ""), table):
                assert password not in text
                assert "pilot" not in text


# --- MPEG-TS over UDP


class UdpSender(threading.Thread):
    """Sends MPEG-TS to a port at about 40 frames per second until it is stopped."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._url = f"udp://127.0.0.1:{port}?pkt_size=1316"
        self._stopped = threading.Event()
        self.start()

    def run(self) -> None:
        with av.open(self._url, "w", format="mpegts") as container:
            stream: Any = container.add_stream("mpeg2video", rate=20)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 4
            index = 0
            while not self._stopped.wait(0.025):
                image = np.full((48, 64, 3), 40 + 8 * (index % 16), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
                index += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def test_a_udp_stream_pauses_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender's clock says 20 frames per second, and no matter how fast they come, that is what is kept."""
    monkeypatch.setattr(video, "_RETRY", Retry(first=0.1, longest=0.1, give_up=60))
    monkeypatch.setattr(capture, "_URL_TIMEOUT_MS", 2000)
    port = free_port(socket.SOCK_DGRAM)
    sender = UdpSender(port)
    try:
        source = open_source(f"udp://127.0.0.1:{port}", max_frames=40)
        stream = iter(source)
        frames = list(itertools.islice(stream, 20))
        sender.stop()
        later: list[Any] = []
        reader = threading.Thread(target=lambda: later.extend(stream))
        reader.start()
        time.sleep(2.5)  # longer than a read waits
        sender = UdpSender(port)
        reader.join(timeout=60)
        assert not reader.is_alive()
    finally:
        sender.stop()
    source.close()
    frames += later
    assert [frame.index for frame in frames] == list(range(40))
    steps = np.diff([frame.time for frame in frames])
    assert (steps > 0).all()
    assert np.median(steps) == pytest.approx(0.05, abs=0.002)
    levels = [grey(frame) for frame in frames[:20]]
    assert all((two - one) % 128 in range(6, 11) for one, two in itertools.pairwise(levels)), levels
    assert source.losses.reconnects == 1
    assert steps.max() == pytest.approx(source.losses.seconds, abs=0.2)
    assert source.losses.seconds > 2
