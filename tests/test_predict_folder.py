"""`uva-edge predict FOLDER`: every video its own results, whatever is the matter with the others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
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
from uva_edge.cli import main
from uva_edge.errors import OptionError, OutputError
from uva_edge.runtimes.folders import VIDEO_SUFFIXES, FolderRun, find_videos, is_archive
from uva_edge.runtimes.processing import Progress


def write_video(path: Path, frames: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        stream.gop_size = 4
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def archive(tmp_path: Path, flight: NDArray[np.uint8]) -> Path:
    """Three videos, one of them in a folder below, and what is no video."""
    root = tmp_path / "archive"
    write_video(root / "b.mp4", list(flight))
    write_video(root / "a.mkv", list(flight[:5]))
    write_video(root / "deep" / "er" / "b.mp4", list(flight[3:10, ::-1]))
    (root / "notes.txt").write_text("nothing")
    (root / ".hidden.mp4").write_bytes(b"nothing")
    return root


NAMES = ["a.mkv", "b.mp4", "deep/er/b.mp4"]


@pytest.fixture
def predict(bundle: Bundle, archive: Path, tmp_path: Path) -> Callable[..., Result]:
    def _predict(*words: str) -> Result:
        arguments = ["predict", str(archive), "-o", str(tmp_path / "out"), "--save", "csv,npy", *words]
        return CliRunner().invoke(main, [*arguments, "--bundle", bundle.location])

    return _predict


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


OUTPUTS = [f"{name}/{file}" for name in NAMES for file in ("maps.npy", "peaks.csv", "report.json")]


def test_each_video_has_results_of_its_own(
    predict: Callable[..., Result], archive: Path, tmp_path: Path, bundle: Bundle
) -> None:
    result = predict()
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == [str(tmp_path / "out" / name) for name in NAMES]
    assert "3 of 3 videos, 24 frames in" in result.stderr
    assert "FPS end to end with small-32" in result.stderr or bundle.name != "small-32"
    assert files(tmp_path / "out") == OUTPUTS
    with SaliencyPredictor(bundle.location) as predictor:
        for name in NAMES:
            capture = cv2.VideoCapture(str(archive / name))
            frames = []
            while (read := capture.read())[0]:
                frames.append(read[1])
            capture.release()
            found = np.load(tmp_path / "out" / name / "maps.npy")
            np.testing.assert_allclose(found, predictor.predict_clip(frames), atol=1e-6, err_msg=name)  # type: ignore[arg-type]


def test_a_damaged_video_does_not_stop_the_others(
    predict: Callable[..., Result], archive: Path, tmp_path: Path, scene: Any
) -> None:
    whole = write_video(archive / "aa.mp4", [frame.image for frame in scene.frames(40)])
    with av.open(str(whole)) as source, av.open(str(archive / "ab.mpg"), "w", format="mpegts") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole.write_bytes(whole.read_bytes()[:-5000])
    (archive / "deep" / "empty.mov").write_bytes(b"")
    (archive / "deep" / "noise.avi").write_bytes(b"no video at all" * 100)
    result = predict("--json")
    assert result.exit_code == 3, result.stderr
    report = json.loads(result.stdout)
    videos = {video["video"]: video for video in report["videos"]}
    assert list(videos) == [
        "a.mkv",
        "aa.mp4",
        "ab.mpg",
        "b.mp4",
        "deep/empty.mov",
        "deep/er/b.mp4",
        "deep/noise.avi",
    ]
    assert report["files"] == 7
    assert report["frames"] == sum(video["frames"] for video in videos.values())
    assert {name for name, video in videos.items() if video["problem"]} == {
        "aa.mp4",
        "deep/empty.mov",
        "deep/noise.avi",
    }
    assert "0 bytes" in videos["deep/empty.mov"]["problem"]
    assert videos["ab.mpg"]["frames"] == 40
    for name in ("deep/empty.mov", "deep/noise.avi"):
        assert videos[name]["output"] is None
        assert f"uva-edge: {name}: " in result.stderr
        assert not (tmp_path / "out" / name).exists()
    assert not [name for name in files(tmp_path / "out") if "partial" in name]


def test_a_second_run_does_what_is_left(
    predict: Callable[..., Result], archive: Path, tmp_path: Path, flight: NDArray[np.uint8]
) -> None:
    assert predict().exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("maps.npy")}

    def redone(*words: str) -> list[str]:
        result = predict("--resume", *words)
        assert result.exit_code == 0, result.stderr
        changed = [path for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
        before.update({path: path.stat().st_mtime_ns for path in before})
        return sorted(path.parent.relative_to(tmp_path / "out").as_posix() for path in changed)

    assert redone() == []
    write_video(archive / "b.mp4", list(flight[:7]))
    assert redone() == ["b.mp4"], "it is another file now"
    (tmp_path / "out" / "a.mkv" / "report.json").write_text('{"frames": 5}')
    assert redone() == ["a.mkv"], "its report is not one"
    assert redone("--peaks", "2") == NAMES, "something else is asked for"
    assert redone("--peaks", "2") == []
    assert predict().exit_code == 0
    assert redone() == NAMES, "without --resume all of it was done anew"
    result = predict("--resume")
    assert "0 of 3 videos (3 were finished before), 0 frames" in result.stderr


def test_what_was_damaged_stays_told(predict: Callable[..., Result], archive: Path, scene: Any) -> None:
    cut = write_video(archive / "cut.avi", [frame.image for frame in scene.frames(40)])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    first, second = predict(), predict("--resume")
    assert first.exit_code == second.exit_code == 3
    for result in (first, second):
        assert "uva-edge: cut.avi: " in result.stderr
        assert "1 damaged:\n  cut.avi (" in result.stderr


def test_results_in_the_folder_are_no_videos(archive: Path, bundle: Bundle) -> None:
    words = [
        "predict",
        str(archive),
        "-o",
        str(archive / "out"),
        "--bundle",
        bundle.location,
        "--max-frames",
        "2",
    ]
    for _ in range(2):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.stderr
        assert "3 of 3 videos, 6 frames" in result.stderr
    assert (archive / "out" / "b.mp4" / "overlay.mp4").is_file()


# --- which files, which folders -------------------------------------------------------------------------


def test_links_lead_nowhere_else(archive: Path, tmp_path: Path, flight: NDArray[np.uint8]) -> None:
    write_video(tmp_path / "elsewhere" / "secret.mp4", list(flight[:2]))
    (archive / "link.mp4").symlink_to(tmp_path / "elsewhere" / "secret.mp4")
    (archive / "folder").symlink_to(tmp_path / "elsewhere")
    (archive / "round").symlink_to(archive)
    (archive / "inside.mp4").symlink_to(archive / "b.mp4")
    (archive / "dangling.mp4").symlink_to(archive / "nothing")
    found = find_videos(archive.resolve(), leave_out=tmp_path / "out")
    assert [path.relative_to(archive.resolve()).as_posix() for path in found] == [
        "a.mkv",
        "b.mp4",
        "deep/er/b.mp4",
        "inside.mp4",
    ]


def test_a_folder_of_images_is_one_sequence(
    archive: Path, tmp_path: Path, flight: NDArray[np.uint8], bundle: Bundle
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(3):
        cv2.imwrite(str(images / f"{index}.png"), flight[index])
    write_video(images / "below" / "b.mp4", list(flight[:2]))
    assert not is_archive(images)
    assert is_archive(archive)
    words = [
        "predict",
        str(images),
        "-o",
        str(tmp_path / "out"),
        "--save",
        "npy",
        "--bundle",
        bundle.location,
    ]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.stderr
    assert np.load(tmp_path / "out" / "maps.npy").shape == (3, 32, 32)
    result = CliRunner().invoke(main, [*words, "--resume"])
    assert result.exit_code == 1
    assert "--resume is for a folder of videos" in result.stderr
    cv2.imwrite(str(archive / "frame.jpg"), flight[0])
    with pytest.raises(OptionError, match=r"holds images \(frame\.jpg\) and videos \(.*move either"):
        is_archive(archive)


def test_a_number_is_a_camera_whatever_lies_there(
    archive: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.rename(archive.with_name("9999"))
    monkeypatch.chdir(archive.parent)
    result = CliRunner().invoke(main, ["predict", "9999", "--bundle", bundle.location])
    assert result.exit_code == 1
    assert "camera 9999 can't be opened" in result.stderr


def test_a_folder_of_neither(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("nothing")
    result = CliRunner().invoke(main, ["predict", str(tmp_path / "notes"), "--bundle", bundle.location])
    assert result.exit_code == 1
    assert "holds neither images nor videos" in result.stderr
    assert ".mp4" in result.stderr


def test_suffixes_are_those_of_the_containers() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_SUFFIXES)


# --- what must not be lost, and what must not be left ---------------------------------------------------


def test_a_place_with_something_else_is_refused(predict: Callable[..., Result], tmp_path: Path) -> None:
    mine = tmp_path / "out" / "a.mkv"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("mine")
    result = predict()
    assert result.exit_code == 1
    assert "got something else; choose another -o" in result.stderr
    assert files(tmp_path / "out") == ["a.mkv/thesis.txt"]


@pytest.fixture
def run(archive: Path, tmp_path: Path, bundle: Bundle) -> FolderRun:
    from functools import partial

    from uva_edge.cli.outputs import Wanted, make_writers

    predictor = SaliencyPredictor(bundle.location, backend="onnxruntime")
    writers = partial(make_writers, wanted=Wanted("npy,png,csv", 3, 0.5))
    return FolderRun(predictor, archive.resolve(), tmp_path / "out", writers, {"any": "thing"})


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OutputError("disk full"), RuntimeError("a bug")])
def test_a_video_that_is_broken_off_leaves_nothing(
    run: FolderRun, tmp_path: Path, error: BaseException
) -> None:
    def stop(progress: Progress) -> None:
        if progress.frames == 3:
            raise error

    with pytest.raises(type(error)):
        run.predict(run.folder / "b.mp4", progress=stop)
    assert files(tmp_path / "out") == []
    result = run.predict(run.folder / "b.mp4")
    assert (result.frames, result.problem, result.skipped) == (12, None, False)
    kept = files(tmp_path / "out")
    with pytest.raises(type(error)):
        run.predict(run.folder / "b.mp4", progress=stop)
    assert files(tmp_path / "out") == kept, "the earlier results stay"


def test_ctrl_c_keeps_what_is_finished(archive: Path, tmp_path: Path, bundle: Bundle, scene: Any) -> None:
    write_video(archive / "c.mp4", [frame.image for frame in scene.frames(4)] * 500)
    out = tmp_path / "out"
    words = [sys.executable, "-m", "uva_edge", "predict", str(archive), "-o", str(out), "--save", "csv"]
    child = subprocess.Popen(
        [*words, "--bundle", bundle.location], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == f"{out / 'a.mkv'}\n"
        assert child.stdout.readline() == f"{out / 'b.mp4'}\n"
        child.send_signal(signal.SIGINT)
        _, words_said = child.communicate(timeout=60)
    assert child.returncode == 130, words_said
    assert "2 of 4 videos" in words_said
    assert "--resume does the others" in words_said
    assert files(out) == [
        f"{name}/{file}" for name in ("a.mkv", "b.mp4") for file in ("peaks.csv", "report.json")
    ]
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_an_output_that_can_t_be_made(predict: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    result = predict()
    assert result.exit_code == 1
    assert "can't be written" in result.stderr
    assert (tmp_path / "out").read_text() == "a file"
