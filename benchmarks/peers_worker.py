"""The process of one runner of benchmarks/peers.py: numpy and the engine, nothing else.

    python benchmarks/peers_worker.py RUNNER BUNDLE MODEL FRAMES.npy

It loads, computes the first map of the frames, uint8 [N, h, w, 3], and answers ``{}``: there the cold start ends. Then
it answers requests, a line of JSON each, on the standard streams, until its input ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers_runners import RUNNERS, Model, Push


class Worker:
    """A loaded model and a stream through the given frames, which never ends."""

    def __init__(self, name: str, bundle: str, model: str, frames: str) -> None:
        self._frames = np.load(frames)
        self._model: Model = RUNNERS[name].load(bundle, Path(model))
        self._push: Push = self._model()
        self._push(self._frames[0])
        self._at = 0

    def time(self, seconds: float) -> dict[str, Any]:
        """Frames until so long has passed: seconds a frame, and how many cores were busy."""
        start, cpu, count = time.perf_counter(), time.process_time(), 0
        while (taken := time.perf_counter() - start) < seconds or not count:
            self._at = (self._at + 1) % len(self._frames)
            self._push(self._frames[self._at])
            count += 1
        return {"seconds": taken / count, "cores": (time.process_time() - cpu) / taken}

    def maps(self, frames: str, maps: str) -> dict[str, Any]:
        """The maps of a file of frames as a stream of its own, float32 [N, h, w]."""
        push = self._model()
        np.save(maps, np.stack([push(frame) for frame in np.load(frames)]))
        return {}

    def memory(self) -> dict[str, Any]:
        """The most memory that this process ever had."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return {"bytes": int(peak.split()[1]) * 1024}


def main() -> None:
    # Engines print on standard output what they like: it goes to the other stream, and answers have their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(*sys.argv[1:])
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(worker, request.pop("do"))(**request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
