"""examples/ray_archive.py: run with two workers, broken off, run again; and a worker by itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("ray", reason="needs the extra 'ray'")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra 'ray'")

from uva_edge import SaliencyPredictor  # noqa: E402

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "ray_archive.py"


def write_video(path: Path, frames: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))  # type: ignore[attr-defined]
    for frame in frames:
        writer.write(frame)
    writer.release()


@pytest.fixture
def archive(tmp_path: Path, flight: NDArray[np.uint8]) -> Path:
    root = tmp_path / "archive"
    write_video(root / "a.avi", flight)
    write_video(root / "b.avi", flight[:5, ::-1])
    write_video(root / "deep" / "c.avi", flight[4:9])
    (root / "deep" / "broken.avi").write_bytes(b"no video at all" * 100)
    return root


def rows_of(output: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of all shards by video, in the order of the frames."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(output.glob("*.parquet")):
        for row in parquet.read_table(path).to_pylist():
            found.setdefault(row["video"], []).append(row)
    return found


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("ray_archive", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def worker(script: Any, archive: Path, output: Path) -> Any:
    output.mkdir(exist_ok=True)
    return script.Worker(str(archive), str(output), {"bundle": "uva-32", "backend": "onnxruntime"}, 3)


def run(archive: Path, output: Path, home: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), str(archive), str(output), "--workers", "2", "--shard", "1"]
    return subprocess.run(
        [*words, "--bundle", "uva-32", "--backend", "onnxruntime", "--attempts", "2"],
        env={**os.environ, "HOME": str(home)},  # Ray keeps a token there
        capture_output=True,
        text=True,
        timeout=400,
    )


def test_an_archive_on_two_workers_goes_on_where_it_stopped(
    script: Any, archive: Path, tmp_path: Path, flight: NDArray[np.uint8]
) -> None:
    output = tmp_path / "out"
    worker(script, archive, output)({"shard": ["begun.parquet"], "videos": [["a.avi", "b.avi"]]})
    begun = (output / "begun.parquet").stat().st_mtime_ns
    (output / ".half.parquet.partial").write_bytes(b"half")

    done = run(archive, output, tmp_path)
    assert done.returncode == 3, done.stderr
    assert "4 videos, of which 2 are in a shard already" in done.stdout
    assert "5 frames in" in done.stdout
    assert len(list(output.glob("*.parquet"))) == 3
    assert (output / "begun.parquet").stat().st_mtime_ns == begun
    assert not list(output.glob(".*.partial"))
    assert not list((output / ".attempts").iterdir())
    rows = rows_of(output)
    assert {name: len(found) for name, found in rows.items()} == {
        "a.avi": 12,
        "b.avi": 5,
        "deep/broken.avi": 1,
        "deep/c.avi": 5,
    }
    (broken,) = rows["deep/broken.avi"]
    assert broken["frame"] is None
    assert broken["error"].startswith("given up after 2 attempts; SourceError: ")

    again = run(archive, output, tmp_path)
    assert (again.returncode, again.stdout) == (0, "4 videos, of which 4 are in a shard already\n")


# --- a worker by itself ---------------------------------------------------------------------------------


def test_rows_are_what_a_stream_says_of_each_frame(script: Any, archive: Path, tmp_path: Path) -> None:
    worker(script, archive, tmp_path / "out")({"shard": ["s.parquet"], "videos": [["a.avi"]]})
    rows = rows_of(tmp_path / "out")["a.avi"]
    assert len(rows) == 12
    capture = cv2.VideoCapture(str(archive / "a.avi"))
    with SaliencyPredictor("uva-32", backend="onnxruntime") as predictor, predictor.stream() as stream:
        for index, row in enumerate(rows):
            facts = stream.push(capture.read()[1]).as_dict()  # type: ignore[arg-type]
            assert (row["frame"], row["width"], row["height"], row["error"]) == (index, 320, 180, None)
            assert row["time_s"] == pytest.approx(index / 25, abs=1e-3)
            for ours, theirs in zip(row["peaks"], facts["peaks"], strict=True):
                assert ours == pytest.approx(theirs, abs=1e-2), index
            for ours, theirs in zip(row["regions"], facts["regions"], strict=True):
                assert (ours["x"], ours["width"]) == (theirs["x"], theirs["width"]), index
    capture.release()


def test_a_video_that_takes_its_worker_with_it_is_given_up(
    script: Any, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two videos the second kills the process: the first is never given up for that, the second is."""
    batch = {"shard": np.array(["s.parquet"]), "videos": np.array([["a.avi", "b.avi"]])}
    predicted = script.Worker._predicted

    def dying(self: Any, video: str, path: str) -> Any:
        if video == "b.avi":
            raise SystemExit  # as a crash: nothing after it is run
        return predicted(self, video, path)

    monkeypatch.setattr(script.Worker, "_predicted", dying)
    for _ in range(3):
        with pytest.raises(SystemExit):
            worker(script, archive, tmp_path / "out")(batch)
        assert not list((tmp_path / "out").glob("*.parquet"))
    told = worker(script, archive, tmp_path / "out")(batch)
    assert told == {"shard": ["s.parquet"], "videos": [2], "frames": [12], "failed": [1]}
    rows = rows_of(tmp_path / "out")
    assert len(rows["a.avi"]) == 12
    assert [row["error"] for row in rows["b.avi"]] == ["given up after 3 attempts; its worker died"]
    assert not list((tmp_path / "out" / ".attempts").iterdir())


def test_a_store_that_fails_for_a_while_is_asked_again(
    script: Any, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    predicted = script.Worker._predicted

    def flaky(self: Any, video: str, path: str) -> Any:
        tries.append(video)
        if len(tries) < 3:
            raise OSError("connection reset")
        return predicted(self, video, path)

    monkeypatch.setattr(script.Worker, "_predicted", flaky)
    told = worker(script, archive, tmp_path / "out")(
        {"shard": np.array(["s.parquet"]), "videos": np.array([["b.avi"]])}
    )
    assert (told["frames"], told["failed"], len(tries)) == ([5], [0], 3)


def test_the_same_videos_come_to_the_same_shard(script: Any) -> None:
    first, second = (list(script.shards_of(["a", "b", "c"], 2)) for _ in range(2))
    assert first == second
    assert [shard["videos"] for shard in first] == [["a", "b"], ["c"]]
    assert script.is_video("deep/A.MP4")
    assert not any(map(script.is_video, ("a.txt", ".a.mp4", ".trash/a.mp4")))
