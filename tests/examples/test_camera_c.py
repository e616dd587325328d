"""`examples/c` prints the peaks that `SaliencyPredictor` finds in the same frames."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge import Bundle, SaliencyPredictor
from uva_edge.runtimes.native.session import source_of

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "examples" / "c"
U8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with the C of uva-32, built in a folder of its own."""
    for tool in ("make", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} here")
    folder = tmp_path_factory.mktemp("camera")
    for name in ("camera.c", "Makefile"):
        shutil.copy(EXAMPLE / name, folder)
    bundle = Bundle.shipped("uva-32")
    weights = next(artifact for artifact in bundle.manifest.artifacts if artifact.format == "torch")
    source = source_of(bundle, weights)
    model = folder / source.stem
    model.mkdir()
    source.write(model)
    command = ["make", "-C", str(folder), f"MODEL={model}", "CFLAGS=-O2 -Wconversion -Wshadow -Werror"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "camera"


def run(camera: Path, *words: str, video: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(camera), *words], input=video, capture_output=True, check=False, timeout=120)


def nv12(frame: U8) -> U8:
    """BGR [H, W, 3] of even sides to [H + H / 2, W]."""
    height, width = frame.shape[:2]
    planes = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)
    chroma = planes[height:].reshape(2, -1)
    return np.vstack((planes[:height], chroma.T.reshape(height // 2, width)))


@pytest.mark.parametrize("piped", [True, False], ids=["stdin", "file"])
def test_the_peaks_are_those_of_python(camera: Path, flight: U8, piped: bool, tmp_path: Path) -> None:
    frames = [nv12(np.ascontiguousarray(frame)) for frame in flight[:8]]
    height, width = flight[0].shape[:2]
    video = b"".join(frame.tobytes() for frame in frames)
    (tmp_path / "video.nv12").write_bytes(video)
    where = [] if piped else [str(tmp_path / "video.nv12")]
    done = run(camera, str(width), str(height), *where, video=video if piped else b"")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [int(line[0]) for line in lines] == list(range(len(frames)))
    with SaliencyPredictor("uva-32", backend="onnxruntime", precision="fp32") as predictor:
        stream = predictor.stream(color="nv12")
        for frame, line in zip(frames, lines, strict=True):
            peak = stream.push(frame).peaks(1)[0]
            assert float(line[1]) == pytest.approx(peak.x, abs=0.1)
            assert float(line[2]) == pytest.approx(peak.y, abs=0.1)
            assert float(line[3]) == pytest.approx(peak.value, abs=1e-3)


def test_a_video_that_ends_within_a_frame(camera: Path) -> None:
    done = run(camera, "32", "32", video=bytes(32 * 48 + 1))
    assert done.returncode == 1
    assert done.stdout.count(b"\n") == 1
    assert b"ends within a frame" in done.stderr


@pytest.mark.parametrize(
    "words", [(), ("32",), ("31", "32"), ("0", "32"), ("32", "40000"), ("x", "y"), ("2", "2", "/nonexistent")]
)
def test_refusals(camera: Path, words: tuple[str, ...]) -> None:
    done = run(camera, *words)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr.startswith(b"camera: ")
