"""Processing: however a run ends, what was computed is in complete files."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.errors import OptionError, OutputError, SessionError, SourceError
from uva_edge.runtimes import processing
from uva_edge.runtimes.processing import Predict, Progress, Report, process, process_clip
from uva_edge.runtimes.sources import Frame, Source, open_source
from uva_edge.runtimes.writers import MapArray, MapImages, OverlayVideo, PeakTable, Writer
from uva_edge.saliency import Saliency

COUNT = 15


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """COUNT images, of which image i has the grey 10 i; their sizes change on the way, to odd ones too."""
    images = tmp_path / "images"
    images.mkdir()
    for index in range(COUNT):
        size = (48, 64) if index < 8 else (31, 45)
        cv2.imwrite(str(images / f"{index}.png"), np.full((*size, 3), 10 * index, np.uint8))
    return images


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def push(image: NDArray[np.uint8]) -> Saliency:
    """A map that says which image it came from."""
    values = np.full((4, 4), image[0, 0, 0] / 255, np.float32)
    values[1, 2] = 1
    return Saliency(values, (image.shape[1], image.shape[0]))


def push_until(last: int, error: BaseException) -> Callable[[NDArray[np.uint8]], Saliency]:
    count = itertools.count()

    def limited(image: NDArray[np.uint8]) -> Saliency:
        if next(count) == last:
            raise error
        return push(image)

    return limited


def all_writers(out: Path) -> list[Writer]:
    return [
        OverlayVideo(out / "o.mp4", 10),
        MapImages(out / "maps"),
        MapArray(out / "m.npy"),
        PeakTable(out / "p.csv", peaks=1),
    ]


def check_outputs(out: Path, count: int) -> None:
    """Every kind of output is whole and holds the first `count` frames; nothing unfinished lies about."""
    assert sorted(path.name for path in out.iterdir()) == ["m.npy", "maps", "o.mp4", "p.csv"]
    with av.open(str(out / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == count
    maps = np.load(out / "m.npy", allow_pickle=False)
    assert maps.shape == (count, 4, 4)
    assert np.rint(maps[:, 0, 0] * 255).tolist() == [10 * index for index in range(count)]
    assert sorted(path.name for path in (out / "maps").iterdir()) == [f"{i:06d}.png" for i in range(count)]
    rows = (out / "p.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(index) for index in range(count)]


class Spy:
    """A writer that notes what happens to it, and fails where it is told to."""

    def __init__(self, name: str, fail_at: int | None = None, fail_close: Exception | None = None) -> None:
        self.path = Path(f"/spy/{name}")
        self.frames: list[int] = []
        self.events: list[str] = []
        self._fail_at, self._fail_close = fail_at, fail_close

    def add(self, frame: Frame, saliency: Saliency) -> None:
        if frame.index == self._fail_at:
            raise OutputError(f"{self.path} can't be written: disk full")
        self.frames.append(frame.index)

    def close(self) -> Path | None:
        self.events.append("close")
        if self._fail_close is not None:
            raise self._fail_close
        return self.path

    def discard(self) -> None:
        self.events.append("discard")


# --- a run that goes well


def test_a_run_writes_everything_and_reports_it(folder: Path, out: Path) -> None:
    seen: list[Progress] = []
    with open_source(folder) as source:
        report = process(source, push, all_writers(out), progress=seen.append)
    check_outputs(out, COUNT)
    assert report.outputs == [out / "o.mp4", out / "maps", out / "m.npy", out / "p.csv"]
    assert (report.frames, report.problem, report.interrupted, report.dropped) == (COUNT, None, False, 0)
    assert report.fps == pytest.approx(COUNT / report.seconds)
    assert list(report.stages) == ["decode", "predict", "write"]
    for name, stage in report.stages.items():
        assert 0 < stage.p50_ms <= stage.p95_ms <= 1000 * stage.seconds, name
    assert sum(stage.seconds for stage in report.stages.values()) <= report.seconds
    assert [(step.frames, step.total) for step in seen] == [(i + 1, COUNT) for i in range(COUNT)]
    assert all(a.seconds < b.seconds for a, b in itertools.pairwise(seen))
    assert seen[-1].fps == pytest.approx(COUNT / seen[-1].seconds)


def test_a_stage_s_time_is_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only the stages move: predict takes 2 s a frame, write 1 s, decode none."""
    now = [0.0]
    monkeypatch.setattr(processing.time, "perf_counter", lambda: now[0])

    def slow(image: NDArray[np.uint8]) -> Saliency:
        now[0] += 2
        return push(image)

    class Slow(Spy):
        def add(self, frame: Frame, saliency: Saliency) -> None:
            now[0] += 1

        def close(self) -> Path | None:
            now[0] += 7
            return None

    report = process(open_source(folder), slow, [Slow("slow")])
    times = {name: (s.seconds, s.p50_ms, s.p95_ms) for name, s in report.stages.items()}
    assert times == {
        "decode": (0, 0, 0),
        "predict": (2 * COUNT, 2000, 2000),
        "write": (COUNT + 7, 1000, 1000),
    }
    assert report.seconds == 3 * COUNT + 7


def test_samples_are_bounded_and_stay_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(processing.time, "perf_counter", lambda: now[0])
    stage = processing._Stage()
    for index in range(20_000):
        with stage.timed():
            now[0] += 1.0 if index < 10_000 else 3.0
    assert len(stage._samples) == 4096
    time = stage.time()
    assert time.seconds == 40_000
    assert np.mean(stage._samples) == pytest.approx(2, abs=0.1)


def test_frames_are_not_kept(folder: Path) -> None:
    import weakref

    alive: list[weakref.ref[Any]] = []
    most = 0

    def watch(image: NDArray[np.uint8]) -> Saliency:
        nonlocal most
        alive.append(weakref.ref(image))
        most = max(most, sum(ref() is not None for ref in alive))
        return push(image)

    assert process(open_source(folder), watch, []).frames == COUNT
    assert most <= 2


# --- Ctrl-C


@pytest.mark.parametrize("last", [1, 7, COUNT - 1])
def test_interrupt_completes_the_outputs(folder: Path, out: Path, last: int) -> None:
    report = process(open_source(folder), push_until(last, KeyboardInterrupt()), all_writers(out))
    assert (report.frames, report.interrupted, report.problem) == (last, True, None)
    assert len(report.outputs) == 4
    check_outputs(out, last)


def test_interrupt_before_the_first_frame_leaves_nothing(folder: Path, out: Path) -> None:
    report = process(open_source(folder), push_until(0, KeyboardInterrupt()), all_writers(out))
    assert (report.frames, report.interrupted, report.outputs) == (0, True, [])
    assert list(out.iterdir()) == []


def test_signals_wait_for_the_end_of_a_write_and_of_closing(folder: Path) -> None:
    class Signalled(Spy):
        def add(self, frame: Frame, saliency: Saliency) -> None:
            if frame.index == 3:
                os.kill(os.getpid(), signal.SIGINT)
            super().add(frame, saliency)

        def close(self) -> Path | None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return super().close()

    writers = [Signalled("a"), Signalled("b")]
    before = signal.getsignal(signal.SIGINT)
    report = process(open_source(folder), push, writers)
    assert signal.getsignal(signal.SIGINT) is before
    assert (report.frames, report.interrupted) == (4, True)
    for writer in writers:
        assert (writer.frames, writer.events) == ([0, 1, 2, 3], ["close"])


def test_interrupt_while_closing_a_finished_run_is_reported(folder: Path) -> None:
    class Signalled(Spy):
        def close(self) -> Path | None:
            os.kill(os.getpid(), signal.SIGINT)
            return super().close()

    report = process(open_source(folder), push, [Signalled("a"), Spy("b")])
    assert (report.frames, report.interrupted, len(report.outputs)) == (COUNT, True, 2)


def test_other_threads_need_no_signals(folder: Path, out: Path) -> None:
    reports: list[Report] = []
    thread = threading.Thread(
        target=lambda: reports.append(process(open_source(folder), push, all_writers(out)))
    )
    thread.start()
    thread.join()
    assert [report.frames for report in reports] == [COUNT]
    check_outputs(out, COUNT)


def test_a_real_ctrl_c_leaves_a_playable_video(folder: Path, out: Path) -> None:
    """In a process of its own that is interrupted wherever it is."""
    script = f"""
        import itertools, sys, time
        import numpy as np
        from uva_edge.runtimes.processing import process
        from uva_edge.runtimes.sources import open_source
        from uva_edge.runtimes.writers import MapArray, OverlayVideo
        from uva_edge.saliency import Saliency
        def push(image):
            time.sleep(0.001)
            return Saliency(np.eye(4, dtype=np.float32), (64, 48))
        source = open_source({str(folder)!r})
        picture = next(source._frames())
        source._frames = lambda: itertools.repeat(picture)
        ready = lambda now: now.frames == 3 and print("ready", flush=True)
        try:
            report = process(source, push, [OverlayVideo("o.mp4", 10), MapArray("m.npy")], progress=ready)
        except KeyboardInterrupt:
            sys.exit(4)
        print(report.frames, report.interrupted)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=out,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        frames, interrupted = child.stdout.read().split()
    assert (child.returncode, interrupted) == (0, "True")
    assert sorted(path.name for path in out.iterdir()) == ["m.npy", "o.mp4"]
    with av.open(str(out / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == int(frames) >= 3
    assert np.load(out / "m.npy").shape == (int(frames), 4, 4)


# --- archives


def predict_ahead(count: int) -> Predict:
    """Draws so many images before their results, as an engine that takes several does."""

    def predict(images: Iterator[NDArray[np.uint8]]) -> Generator[Saliency, None, None]:
        while chunk := list(itertools.islice(images, count)):
            yield from map(push, chunk)

    return predict


@pytest.mark.parametrize("count", [1, 4, COUNT, 99])
def test_frames_that_are_drawn_ahead_come_with_their_own_results(folder: Path, out: Path, count: int) -> None:
    seen: list[Progress] = []
    watcher = Spy("watcher")
    report = process_clip(
        open_source(folder), predict_ahead(count), [*all_writers(out), watcher], progress=seen.append
    )
    assert (report.frames, report.problem, report.interrupted) == (COUNT, None, False)
    assert watcher.frames == list(range(COUNT))
    assert [progress.frames for progress in seen] == list(range(1, COUNT + 1))
    check_outputs(out, COUNT)


def test_a_clip_whose_source_or_engine_fails_ends_as_a_stream_does(folder: Path, out: Path) -> None:
    closed = []

    def failing(images: Iterator[NDArray[np.uint8]]) -> Generator[Saliency, None, None]:
        try:
            for index, image in enumerate(images):
                if index == 5:
                    raise SessionError("engine lost")
                yield push(image)
        finally:
            closed.append(True)

    with pytest.raises(SessionError, match="engine lost"):
        process_clip(open_source(folder), failing, all_writers(out))
    check_outputs(out, 5)
    assert closed == [True]
    (folder / "6.png").write_bytes(b"broken")
    watcher = Spy("watcher")
    report = process_clip(open_source(folder), predict_ahead(1), [watcher])
    assert watcher.frames == list(range(6))
    assert report.problem is not None
    assert "6.png can't be decoded" in report.problem


# --- sources that fail


def test_damaged_image_ends_the_run_with_a_problem(folder: Path, out: Path) -> None:
    (folder / "6.png").write_bytes(b"broken")
    report = process(open_source(folder), push, all_writers(out))
    assert report.frames == 6
    assert report.problem is not None
    assert "6.png can't be decoded" in report.problem
    assert not report.interrupted
    check_outputs(out, 6)


def test_truncated_video_is_processed_up_to_its_end(tmp_path: Path, out: Path) -> None:
    whole = OverlayVideo(tmp_path / "whole.mp4", 10)
    noise = np.random.default_rng(0)
    for index in range(30):
        image = noise.integers(0, 256, (48, 64, 3), np.uint8)
        whole.add(Frame(index, 0.0, image, "x"), push(image))
    whole.close()
    data = whole.path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with open_source(tmp_path / "cut.mp4") as source:
        report = process(source, push, [MapArray(out / "m.npy")])
    assert 5 < report.frames < 30
    assert report.problem == source.problem
    assert report.problem is not None
    assert report.problem.startswith(f"decoded {report.frames} of 30 frames; the file is truncated")
    assert len(np.load(out / "m.npy")) == report.frames


def test_a_source_without_any_frame_is_an_error(folder: Path, out: Path) -> None:
    source = open_source(folder)
    source.close()
    with pytest.raises(SourceError, match="closed already"):
        process(source, push, all_writers(out))
    assert list(out.iterdir()) == []


# --- outputs that fail


def test_a_writer_that_fails_is_discarded_and_the_others_completed(folder: Path) -> None:
    writers = [Spy("a"), Spy("b", fail_at=5), Spy("c")]
    with pytest.raises(OutputError, match=r"/spy/b .*disk full; complete nonetheless: /spy/a"):
        process(open_source(folder), push, writers)
    assert [writer.events for writer in writers] == [["close"], ["discard"], ["close"]]
    assert [len(writer.frames) for writer in writers] == [6, 5, 5]


@pytest.mark.parametrize("error", [OutputError("/spy/b can't be written: full"), ValueError("a bug")])
def test_a_writer_that_can_t_be_closed_is_discarded(folder: Path, error: Exception) -> None:
    writers = [Spy("a"), Spy("b", fail_close=error), Spy("c", fail_at=5)]
    with pytest.raises(OutputError) as caught:
        process(open_source(folder), push, writers)
    assert [writer.events for writer in writers] == [["close"], ["close", "discard"], ["discard"]]
    for part in ("/spy/c can't be written: disk full", "/spy/b can't be", "complete nonetheless: /spy/a"):
        assert part in str(caught.value)


def test_full_disk_at_the_end_keeps_the_other_files(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if str(target).endswith("m.npy"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match=r"m\.npy can't be written: No space left on device"):
        process(open_source(folder), push, all_writers(out))
    assert sorted(path.name for path in out.iterdir()) == ["maps", "o.mp4", "p.csv"]


# --- bugs and engine failures


@pytest.mark.parametrize("error", [SessionError("engine lost"), ZeroDivisionError("bug")])
def test_what_push_raises_comes_out_after_the_outputs_are_complete(
    folder: Path, out: Path, error: Exception
) -> None:
    with pytest.raises(type(error)) as caught:
        process(open_source(folder), push_until(5, error), all_writers(out))
    assert caught.value is error
    check_outputs(out, 5)


def test_a_failing_progress_loses_nothing(folder: Path, out: Path) -> None:
    def fail(now: Progress) -> None:
        raise BrokenPipeError("terminal gone")

    with pytest.raises(BrokenPipeError):
        process(open_source(folder), push, all_writers(out), progress=fail)
    check_outputs(out, 1)


def test_a_second_failure_is_noted_on_the_first(folder: Path) -> None:
    writers = [Spy("a", fail_close=OutputError("/spy/a can't be written: full")), Spy("b")]
    with pytest.raises(SessionError) as caught:
        process(open_source(folder), push_until(2, SessionError("engine lost")), writers)
    assert getattr(caught.value, "__notes__", None) == ["/spy/a can't be written: full"]
    assert [writer.events for writer in writers] == [["close", "discard"], ["close"]]


# --- collisions


def test_a_source_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    image = folder / "0.png"
    (tmp_path / "link").symlink_to(folder)
    cases: list[tuple[Source, Writer]] = [
        (open_source(folder), MapImages(folder)),
        (open_source(tmp_path / "link"), MapImages(folder)),
        (open_source(folder), MapImages(tmp_path / "link")),
        (open_source(image), MapImages(folder)),
        (open_source(image), MapArray(image)),
    ]
    for source, writer in cases:
        with pytest.raises(OptionError, match="is the source or another output"):
            process(source, push, [writer])
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_two_outputs_never_share_a_path(folder: Path, out: Path) -> None:
    with pytest.raises(OptionError, match="another output"):
        process(open_source(folder), push, [MapArray(out / "x"), PeakTable(out / "x")])
    assert list(out.iterdir()) == []


@pytest.fixture(autouse=True)
def default_interrupt() -> Iterator[None]:
    """Signals are sent to this process: make sure that Python's own handler meets them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
