"""The commands as a user runs them: outputs, exit codes, words."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from uva_edge import SaliencyPredictor
from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import zip_bundle
from uva_edge.cli import checking, main


def run(*words: str | os.PathLike[str]) -> Result:
    return CliRunner().invoke(main, [os.fspath(word) for word in words])


def write_video(path: Path, frames: Sequence[NDArray[np.uint8]]) -> Path:
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 4
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def video(tmp_path: Path, flight: NDArray[np.uint8]) -> Path:
    return write_video(tmp_path / "flight.mp4", list(flight))


def test_predict_writes_everything_that_is_asked_for(
    tmp_path: Path, video: Path, bundle: Bundle, flight: NDArray[np.uint8]
) -> None:
    out = tmp_path / "out"
    result = run(
        "predict", video, "-o", out, "--save", "video,csv,npy,png", "--bundle", bundle.location, "--json"
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["frames"] == len(flight)
    assert report["engine"]["threads"] == 1
    assert {Path(path).name for path in report["outputs"]} == {"overlay.mp4", "peaks.csv", "maps.npy", "maps"}
    assert decoded(out / "overlay.mp4") == len(flight)

    capture = cv2.VideoCapture(str(video))
    frames = [capture.read()[1] for _ in range(len(flight))]
    capture.release()
    expected = SaliencyPredictor(bundle.location).predict_clip(frames)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.load(out / "maps.npy", allow_pickle=False), expected, atol=1e-6)
    png = cv2.imread(str(out / "maps" / "000003.png"), cv2.IMREAD_UNCHANGED)
    assert png is not None
    np.testing.assert_array_equal(png, np.rint(expected[3] * 255).astype(np.uint8))
    with (out / "peaks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["frame"]) for row in rows} <= set(range(len(flight)))
    assert rows


def test_predict_takes_one_image(tmp_path: Path, bundle: Bundle, flight: NDArray[np.uint8]) -> None:
    image = tmp_path / "photo.png"
    cv2.imwrite(str(image), flight[0])
    result = run("predict", image, "-o", tmp_path / "out", "--bundle", bundle.location)
    assert result.exit_code == 0, result.stderr
    overlay = cv2.imread(str(tmp_path / "out" / "overlay.png"))
    assert overlay is not None
    assert overlay.shape == flight[0].shape
    assert (overlay != flight[0]).any()


def test_predict_of_a_truncated_video_keeps_what_was_decoded(
    tmp_path: Path, bundle: Bundle, scene: Any
) -> None:
    video = write_video(tmp_path / "long.mp4", [frame.image for frame in scene.frames(40)])
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 6 // 10])
    result = run("predict", video, "-o", tmp_path / "out", "--save", "video,npy", "--bundle", bundle.location)
    assert result.exit_code == 3, result.stderr
    assert "of 40 frames" in result.stderr
    maps = np.load(tmp_path / "out" / "maps.npy", allow_pickle=False)
    assert 4 <= len(maps) < 40
    assert decoded(tmp_path / "out" / "overlay.mp4") == len(maps)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "absent.mp4"), "absent.mp4"),
        (("predict", "garbage.mp4"), "garbage.mp4"),
        (("predict", "flight.mp4", "--save", "gif"), "video, csv, npy, png"),
        (("predict", "flight.mp4", "--bundle", "uva-65"), "uva-65"),
        (("predict", "flight.mp4", "--backend", "cudnn"), "onnxruntime"),
        (("predict", "flight.mp4", "--precision", "int8"), "int8"),
        (("predict", "flight.mp4", "--threads", "0"), "threads"),
        (("predict", "flight.mp4", "-o", "flight.mp4"), "flight.mp4"),
        (("predict", "-"), "standard input has no header"),
        (("predict", "-", "--format", "nv12"), "both --format and --size"),
        (("predict", "-", "--format", "nv12", "--size", "64"), "WIDTHxHEIGHT"),
        (("predict", "-", "--format", "p010", "--size", "64x36"), "one of bgr, rgb"),
        (("predict", "flight.mp4", "--yuv-range", "full"), "--yuv-range is of raw video"),
        (("predict", "flight.mp4", "--fps", "5"), "no clock"),
        (("predict", ".", "--latest", "--fps", "5"), "--fps, --latest is for one source"),
        (("demo", "--size", "12"), "WIDTHxHEIGHT"),
        (("demo", "--seconds", "0"), "--seconds"),
        (("verify", "nowhere.zip"), "nowhere.zip"),
    ],
    ids=lambda value: "_".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_errors_are_one_message_and_exit_code_1(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    video: Path,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garbage.mp4").write_bytes(b"not a video at all" * 100)
    if words[0] in ("predict", "demo") and "--bundle" not in words:
        words = (*words, "--bundle", bundle.location)
    result = run(*words)
    assert result.exit_code == 1, (result.exit_code, result.stderr, result.exception)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.rglob("*.partial*")), "a temporary file was left"


def test_export_of_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    result = run("export", tmp_path / "absent.safetensors", "-o", tmp_path / "bundle")
    assert result.exit_code == 1
    # Without the extra, the words are about that: nothing else can be tried.
    words = "absent.safetensors" if importlib.util.find_spec("torch") else "uva-edge[export]"
    assert words in result.stderr
    assert not (tmp_path / "bundle").exists()


def test_demo_makes_a_video_that_browsers_play_and_a_sheet(tmp_path: Path, bundle: Bundle) -> None:
    out = tmp_path / "demo"
    result = run(
        "demo", "-o", out, "--seconds", "0.4", "--size", "320x180", "--bundle", bundle.location, "--json"
    )
    assert result.exit_code == 0, result.stderr
    assert {Path(path).name for path in json.loads(result.stdout)["outputs"]} == {
        "demo.mp4",
        "demo.png",
        "peaks.csv",
    }
    with av.open(str(out / "demo.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (320, 180, 25)
        pictures = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]
    assert len(pictures) == 10
    assert np.abs(pictures[0] - pictures[-1]).mean() > 0.5, "the flight does not move"
    sheet = cv2.imread(str(out / "demo.png"))
    assert sheet is not None
    assert sheet.shape[0] > 900
    head = (out / "demo.mp4").read_bytes()
    assert head.index(b"moov") < head.index(b"mdat"), (
        "the index comes first, so that it starts while it loads"
    )


def test_doctor_tells_engines_and_choice() -> None:
    report = json.loads(run("doctor", "--json").stdout)
    assert report["engines"]["onnxruntime"]["status"] == "ok"
    assert report["cpu"]["cores"] >= 1
    assert any("chosen" in line for line in report["selection"]["uva-64"])
    text = run("doctor").stdout
    assert "onnxruntime" in text
    assert "GPU: " in text
    assert max(map(len, text.splitlines())) <= 80
    for engine in report["engines"].values():
        assert engine["status"] == "ok" or engine["fix"].startswith("pip ")


def test_doctor_tells_once_what_holds_for_every_bundle() -> None:
    told = checking._told_once({"a": ["no driver", "one"], "b": ["no driver"], "c": ["two", "no driver"]})
    assert told == {"every bundle": ["no driver"], "a": ["one"], "c": ["two"]}
    assert checking._told_once({"a": ["one"], "b": ["two"]}) == {"a": ["one"], "b": ["two"]}
    assert checking._told_once({}) == {}


def test_verify_passes_and_fails_with_its_exit_code(tmp_path: Path, bundle: Bundle) -> None:
    result = run("verify", bundle.location, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0, result.stderr
    assert report["passed"]
    assert {case["status"] for case in report["cases"]} <= {"PASS", "SKIPPED"}
    assert "PASS" in run("verify", bundle.location).stdout

    packed = zip_bundle(bundle, tmp_path / "packed.zip")
    assert run("verify", packed, "--json").exit_code == 0
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 0xFF
    packed.write_bytes(data)
    assert run("verify", packed).exit_code == 1


def test_shipped_bundles_verify() -> None:
    for name in ("uva-32", "uva-64"):
        result = run("verify", name, "--json")
        assert result.exit_code == 0, f"{name}: {result.stdout}"


def test_ctrl_c_leaves_complete_outputs(tmp_path: Path, bundle: Bundle, scene: Any) -> None:
    video = write_video(tmp_path / "flight.mp4", [frame.image for frame in scene.frames(8)] * 60)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "uva_edge", "predict", video, "-o", out, "--bundle", bundle.location]
    process = subprocess.Popen(
        [os.fspath(word) for word in [*command, "--save", "video,npy,png"]], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (out / "maps" / "000009.png").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    maps = np.load(out / "maps.npy", allow_pickle=False)
    assert 10 <= len(maps) < 480
    assert decoded(out / "overlay.mp4") == len(maps)
    assert not list(out.glob("*.partial*"))


def test_a_full_disk_is_told_and_leaves_nothing_half(tmp_path: Path, bundle: Bundle, scene: Any) -> None:
    frames = [frame.image for frame in scene.frames(30)]
    video = write_video(tmp_path / "flight.mp4", frames)
    out = tmp_path / "out"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000));"
        "from uva_edge.cli import main; main(sys.argv[1:])"
    )
    words = ["predict", video, "-o", out, "--save", "npy,csv", "--bundle", bundle.location]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(os.fspath, words)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1, result.stderr
    assert "maps.npy" in result.stderr
    assert not (out / "maps.npy").exists()
    assert (out / "peaks.csv").exists(), "the other output is completed"
    assert not list(out.glob("*.partial*"))
