"""A process that runs one case of speed, and this side's handle on it: JSON lines over pipes.

    python -m uva_edge.runtimes.bench.worker

The first line is the case. The answer tells how long the load and the first frame took; then each line is a number of
calls, answered with the times of each; an empty line ends it.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.errors import SessionError, UvaEdgeError, WrongDeviceError
from uva_edge.preprocess import Frame, network_input
from uva_edge.saliency import Saliency

from ..backend import Session, SessionOptions, State, first_state
from ..engines import with_built
from ..registry import BACKENDS
from .host import peak_rss_mb

STAGES: Final = ("input", "session", "result")
"""A camera frame to the network's input; the engine's call; the map to its three strongest peaks."""

_FRAMES: Final = 8
"""Different frames that a camera shows in turns: at 1080p more than a processor's caches hold."""
_PEAKS: Final = 3
_PATIENCE_S: Final = 300.0
"""For one answer. An engine that compiles on a slow board takes minutes; none takes this."""


@dataclass(frozen=True)
class SpeedCase:
    """What is timed: `bundle` is its place, `length` T, the frames in a call."""

    bundle: str
    backend: str
    artifact: str
    threads: int
    length: int
    color: str
    width: int
    height: int

    def __str__(self) -> str:
        threads = f"/threads={self.threads}" if self.threads > 1 else ""
        return (
            f"{self.backend}/{self.artifact}/T={self.length}{threads}/{self.color} {self.width}x{self.height}"
        )


class Worker:
    """A running process; a `with` block ends it.

    Attributes:
        load_seconds: opening the bundle, importing the engine, making the session.
        first_seconds: the first frame of a stream, from the camera's frame to peaks.

    Raises:
        WrongDeviceError: the artifact was made for another device.
        SessionError: the engine refuses it, the process died, or gave no answer.
    """

    def __init__(self, case: SpeedCase) -> None:
        self.case = case
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        try:
            answer = self._ask(json.dumps(asdict(case)))
        except BaseException:
            self._kill()
            raise
        self.load_seconds, self.first_seconds = float(answer["load"]), float(answer["first"])

    def run(self, calls: int) -> NDArray[np.float64]:
        """So many calls: their seconds, [calls, stages]."""
        return np.array(self._ask(str(calls))["times"], np.float64)

    def peak_rss_mb(self) -> float:
        """Of the whole process so far, less the camera's frames."""
        return float(self._ask("0")["rss_mb"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    def _ask(self, line: str) -> dict[str, Any]:
        """One line there, one line back."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise self._died() from None
        answer = json.loads(self._line())
        if error := answer.get("error"):
            raise (WrongDeviceError if answer["wrong_device"] else SessionError)(error)
        return dict(answer)

    def _line(self) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        deadline, line = time.monotonic() + _PATIENCE_S, b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(deadline - time.monotonic()):
                    raise SessionError(
                        f"{self.case}: no answer in {_PATIENCE_S:.0f} s; its process was ended"
                    )
                piece = os.read(stdout.fileno(), 1 << 20)
                if not piece:
                    raise self._died()
                line += piece
        return line

    def _died(self) -> SessionError:
        return SessionError(
            f"{self.case}: its process ended with code {self._process.wait()}, its last words above"
        )

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


# --- the process ----------------------------------------------------------------------------------------


class _Camera:
    """Frames that repeat; what they show makes no difference to the time."""

    def __init__(self, case: SpeedCase) -> None:
        shape = {
            "gray": (case.height, case.width),
            "nv12": (case.height * 3 // 2, case.width),
            "i420": (case.height * 3 // 2, case.width),
            "yuyv": (case.height, case.width, 2),
        }.get(case.color, (case.height, case.width, 3))
        rng = np.random.default_rng(0)
        self.frames: list[Frame] = [rng.integers(0, 256, shape, np.uint8) for _ in range(_FRAMES)]
        self.megabytes = sum(np.asarray(frame).nbytes for frame in self.frames) / 2**20
        self._next = 0

    def take(self, count: int) -> list[Frame]:
        taken = [self.frames[(self._next + place) % _FRAMES] for place in range(count)]
        self._next += count
        return taken


class _Stream:
    """One camera through one session, with a clock at every stage."""

    def __init__(self, case: SpeedCase, bundle: Bundle, session: Session, camera: _Camera) -> None:
        self._case, self._contract = case, bundle.manifest.contract
        self._session, self._camera = session, camera
        self._state: State | None = None

    def call(self) -> tuple[float, float, float]:
        """Seconds of each stage; the first call makes the first state too."""
        case, frames = self._case, self._camera.take(self._case.length)
        start = time.perf_counter()
        pixels = np.stack(
            [network_input(frame, self._contract.grid, color=case.color) for frame in frames]  # type: ignore[arg-type]
        )
        ready = time.perf_counter()
        if self._state is None:
            self._state = first_state(self._contract, self._session.run, pixels[:1])
        maps, self._state = self._session.run(pixels, self._state)
        done = time.perf_counter()
        for found in maps:
            Saliency(found, (case.width, case.height)).peaks(_PEAKS)
        return ready - start, done - ready, time.perf_counter() - done


def main() -> None:
    # An engine may print: what it prints is not an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**words: object) -> None:
        print(json.dumps(words), file=answers, flush=True)

    case = SpeedCase(**json.loads(sys.stdin.readline()))
    try:
        _serve(case, answer)
    except UvaEdgeError as error:
        answer(error=str(error), wrong_device=isinstance(error, WrongDeviceError))


def _serve(case: SpeedCase, answer: Any) -> None:
    camera = _Camera(case)
    start = time.perf_counter()
    bundle = with_built(Bundle.open(case.bundle))
    session = BACKENDS[case.backend].load(
        bundle, bundle.artifact(case.artifact), SessionOptions(threads=case.threads)
    )
    load = time.perf_counter() - start
    stream = _Stream(case, bundle, session, camera)
    first = sum(stream.call())
    answer(load=load, first=first)
    for line in sys.stdin:
        answer(times=[stream.call() for _ in range(int(line))], rss_mb=peak_rss_mb() - camera.megabytes)


if __name__ == "__main__":
    main()
