"""Two minutes of mixed traffic; and engines and predictors with a fault each, which such a run must find."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from uva_edge.bundle import Bundle
from uva_edge.cli import main
from uva_edge.errors import FrameError, OptionError, SessionError
from uva_edge.runtimes import SaliencyPredictor, Stream
from uva_edge.runtimes.bench import soak as soaking
from uva_edge.runtimes.bench.soak import Soak, soak
from uva_edge.runtimes.registry import BACKENDS

# --- two minutes ----------------------------------------------------------------------------------------------

RUNS = [
    ("uva-64", "auto", "auto"),
    ("uva-32", "onnxruntime", "fp32"),
    ("uva-64", "openvino", "fp32"),
    ("uva-32", "native", "fp32"),
]


@pytest.mark.parametrize(("bundle", "backend", "precision"), RUNS, ids=lambda value: value)
def test_half_a_minute_of_mixed_traffic(bundle: str, backend: str, precision: str) -> None:
    """Four of them are the two minutes."""
    if backend != "auto":
        availability = BACKENDS[backend].probe()
        if not availability.ok:
            pytest.skip(f"{availability.reason}; {availability.fix}")
    with SaliencyPredictor(bundle, backend=backend, precision=precision) as predictor:
        found = soak(predictor, seconds=30, streams=8, seed=3)
    assert found.passed, found.problems
    assert found.seconds >= 30
    assert not found.interrupted


def test_a_network_that_sees_windows(windowed: Bundle) -> None:
    """Its maps depend on sixteen frames, and it takes one stream in a call."""
    with SaliencyPredictor(windowed.location, backend="onnxruntime") as predictor:
        found = soak(predictor, seconds=10, streams=4)
    assert found.passed, found.problems


# --- runs that must fail --------------------------------------------------------------------------------------


class Faulty:
    """A session, with a fault added to what the real one does."""

    def __init__(self, real: Any) -> None:
        self.real, self.runs, self._last = real, 0, time.monotonic()

    def due(self) -> bool:
        """Twenty times a second, however fast the machine is."""
        now = time.monotonic()
        if now - self._last < 0.05:
            return False
        self._last = now
        return True

    @property
    def info(self) -> Any:
        return self.real.info

    def run(self, frames: Any, state: Any) -> Any:
        self.runs += 1
        return self.real.run(frames, state)

    def close(self) -> None:
        self.real.close()


class KeepsStates(Faulty):
    """A leak of a megabyte at a time."""

    def __init__(self, real: Any) -> None:
        super().__init__(real)
        self.kept: list[Any] = []

    def run(self, frames: Any, state: Any) -> Any:
        maps, after = super().run(frames, state)
        if self.due():
            self.kept.append(np.ones(1 << 20, np.uint8))
        return maps, after


class KeepsDescriptors(Faulty):
    def run(self, frames: Any, state: Any) -> Any:
        if self.due():
            KEPT.append(os.open(os.devnull, os.O_RDONLY))
        return super().run(frames, state)


class KeepsThreads(Faulty):
    def run(self, frames: Any, state: Any) -> Any:
        if self.due():
            threading.Thread(target=RELEASED.wait, daemon=True).start()
        return super().run(frames, state)


class MixesStates(Faulty):
    """Now and then a stream gets the state that another one left."""

    last: Any = None

    def run(self, frames: Any, state: Any) -> Any:
        maps, after = super().run(frames, state if self.runs % 50 or self.last is None else self.last)
        if len(after) == 1:
            self.last = after
        return maps, after


class Drifts(Faulty):
    """Slowly enough that twins don't see it."""

    def run(self, frames: Any, state: Any) -> Any:
        maps, after = super().run(frames, state)
        return (maps * np.float32(0.999) if self.runs > 100 else maps), after


class Fails(Faulty):
    def run(self, frames: Any, state: Any) -> Any:
        if self.runs % 40 == 39:
            self.runs += 1
            raise SessionError("out of memory")
        return super().run(frames, state)


class Hangs(Faulty):
    def run(self, frames: Any, state: Any) -> Any:
        if self.runs > 60 and threading.current_thread().name == "soak-0":
            HANGING.set()
            RELEASED.wait()
        return super().run(frames, state)


KEPT: list[int] = []
RELEASED, HANGING = threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """What the faults keep is given back."""
    RELEASED.clear()
    HANGING.clear()
    yield
    RELEASED.set()
    while KEPT:
        os.close(KEPT.pop())


def soaked(fault: Callable[[Any], Any] = Faulty, seconds: float = 4) -> Soak:
    with SaliencyPredictor("uva-32", backend="onnxruntime") as predictor:
        predictor._step_session = fault(predictor._step_session)
        return soak(predictor, seconds=seconds, streams=4)


def soaked_until(reached: Callable[[int], bool], fault: Callable[[Any], Any] = Faulty) -> Soak:
    """Until so many defects were found, and then interrupted: a busy machine takes longer to come to them."""

    def progress(seconds: float, frames: int, defects: int) -> None:
        if reached(defects):
            raise KeyboardInterrupt

    with SaliencyPredictor("uva-32", backend="onnxruntime") as predictor:
        predictor._step_session = fault(predictor._step_session)
        return soak(predictor, seconds=120, streams=4, progress=progress)


def test_the_stand_in_without_a_fault_passes() -> None:
    found = soaked()
    assert found.passed, found.problems


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (KeepsStates, "memory grew by"),
        (KeepsDescriptors, "descriptors grew by"),
        (KeepsThreads, "threads grew by"),
        (Drifts, "the golden clip's maps drifted"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_engine_that_changes_slowly_is_found(fault: Callable[[Any], Any], words: str) -> None:
    found = soaked(fault, 8)
    assert not found.passed
    assert any(words in problem for problem in found.problems), found.problems


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (MixesStates, "differ by"),
        (Fails, "SessionError where none belongs: out of memory"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_faulty_engine_is_found(fault: Callable[[Any], Any], words: str) -> None:
    found = soaked_until(lambda defects: defects > 5, fault)
    assert not found.passed
    assert any(words in problem for problem in found.problems), found.problems


def test_an_engine_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking, "_GRACE", 5.0)
    found = soaked_until(lambda defects: HANGING.is_set(), Hangs)
    assert any("soak-0 did not end its last call within 5 s: it hangs" in line for line in found.problems)


def _swallows(stream: Stream, frame: Any) -> Any:
    try:
        return PUSH(stream, frame)
    except FrameError:
        return None


def _tells_otherwise(stream: Stream, frame: Any) -> Any:
    try:
        return PUSH(stream, frame)
    except FrameError as error:
        raise TypeError(str(error)) from None


def _forgets(stream: Stream, frame: Any) -> Any:
    try:
        return PUSH(stream, frame)
    except FrameError:
        stream._state = None
        raise


def _counts(stream: Stream, frame: Any) -> Any:
    try:
        return PUSH(stream, frame)
    except FrameError:
        stream.frames += 1
        raise


def _goes_on(stream: Stream, frame: Any) -> Any:
    stream._closed = False
    return PUSH(stream, frame)


PUSH = Stream.push


@pytest.mark.parametrize(
    ("push", "words"),
    [
        (_swallows, "was taken; expected FrameError"),
        (_tells_otherwise, "raised TypeError"),
        (_forgets, "maps of twin streams differ by"),
        (_counts, "changed the count"),
        (_goes_on, "a closed stream took a frame"),
    ],
)
def test_a_faulty_stream_is_found(push: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "push", push)
    found = soaked_until(bool)
    assert any(words in problem for problem in found.problems), found.problems


def test_a_run_that_checked_nothing_has_failed() -> None:
    found = Soak(1.0, {}, {}, (), 0, (), interrupted=False)
    assert not found.passed
    assert len(found.problems) == 5
    assert all("too short" in line for line in found.problems)


def test_many_defects_are_counted_and_some_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "push", _swallows)
    found = soaked_until(lambda defects: defects > 30)
    assert len(found.defects) == 20 < found.defect_count
    assert f"and {found.defect_count - 20} more" in found.problems


@pytest.mark.parametrize(
    "options", [{"seconds": 0}, {"seconds": float("nan")}, {"streams": 3}, {"streams": 0}]
)
def test_wrong_options_are_told(options: dict[str, Any]) -> None:
    with (
        SaliencyPredictor("uva-32", backend="onnxruntime") as predictor,
        pytest.raises(OptionError, match=r"expected an even number|more than 0"),
    ):
        soak(predictor, **{"seconds": 1, **options})


# --- the command ----------------------------------------------------------------------------------------------

WORDS = ["soak", "--bundle", "uva-32", "--backend", "onnxruntime", "--streams", "2"]


def test_the_command_tells_its_verdict() -> None:
    result = CliRunner().invoke(main, [*WORDS, "--minutes", "0.05"])
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("PASS\n")
    for word in (
        "uva-32 on onnxruntime",
        "bad frames refused",
        "memory MB",
        "descriptors",
        "threads",
        "steady",
    ):
        assert word in result.stdout


def test_the_command_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "push", _swallows)
    result = CliRunner().invoke(main, [*WORDS, "--minutes", "0.05", "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["passed"] is False
    assert any("was taken" in line for line in report["problems"])


def test_ctrl_c_ends_with_what_was_measured() -> None:
    command = [sys.executable, "-m", "uva_edge", *WORDS, "--minutes", "10", "--json"]
    master, slave = os.openpty()  # where there is a terminal, there is a bar
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave, text=True) as process:
        os.close(slave)
        seen = b""
        while not re.search(rb"[1-9]\d* frames", seen):
            seen += os.read(master, 4096)  # an error where the process ended before that
        process.send_signal(signal.SIGINT)
        drain = threading.Thread(target=_read_all, args=(master,))
        drain.start()
        out, _ = process.communicate(timeout=120)
        drain.join()
    os.close(master)
    assert process.returncode == 130
    report = json.loads(out)
    assert report["interrupted"]
    assert report["defect_count"] == 0
    assert report["options"]["minutes"] == 10
    assert not report["passed"], "it was too short"


def _read_all(descriptor: int) -> None:
    """Until the other end of the terminal is closed, which is an error of input there."""
    with suppress(OSError):
        while os.read(descriptor, 4096):
            pass
