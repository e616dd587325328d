"""Many cameras in one call, and frames read ahead: measured here, and written into docs/performance.md.

    python benchmarks/streams.py [--clips FOLDER] [--write]

A camera's frame has the size of the network's input, so that the engine is what is measured, in processor time: it has
one thread, and other work on the machine then adds little. For the clips the time is that on the wall of a whole run
over all videos of the folder: decode, prepare, predict. Within a round everything runs once,
one after the other, so other work on the machine meets all alike; a ratio is the median of those of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from accuracy import DOCS, replace_between

from uva_edge import SaliencyPredictor, environment
from uva_edge.data.synthetic import AerialScene
from uva_edge.preprocess import network_input
from uva_edge.runtimes.clips import clip_maps
from uva_edge.runtimes.folders import find_videos
from uva_edge.runtimes.sources import open_source

BUNDLES = ("uva-32", "uva-64")
BACKENDS = ("onnxruntime", "openvino")
PRECISIONS = ("fp32", "int8")
COUNTS = (1, 4, 16)
WARM_UP = 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, help="a folder of videos, for the frames that are read ahead")
    parser.add_argument(
        "--write", action="store_true", help="replace the measured parts of docs/performance.md"
    )
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    _put("streams", _streams(arguments.rounds), write=arguments.write)
    if arguments.clips:
        videos = find_videos(arguments.clips.resolve(), leave_out=Path())
        _put("ahead", _ahead(videos, max(4, arguments.rounds // 4)), write=arguments.write)


def _put(mark: str, table: Sequence[str], *, write: bool) -> None:
    lines = [_machine(), "", *table]
    print("\n".join(lines), flush=True)
    if write:
        replace_between(DOCS / "performance.md", mark, lines)


def _streams(rounds: int) -> list[str]:
    """A step of n cameras: by one `StreamBatch`, and by n `Stream`s."""
    rows = [
        "| bundle | backend | cameras | own streams, CPU ms a frame | one batch, CPU ms a frame | batch is faster by |",
        "|---|---|---|---|---|---|",
    ]
    for bundle in BUNDLES:
        for backend in BACKENDS:
            for precision in PRECISIONS:
                with SaliencyPredictor(bundle, backend=backend, precision=precision) as predictor:
                    for count in COUNTS:
                        own, batch, ratio = _paired(_cameras(predictor, count), rounds, time.process_time)
                        rows.append(
                            f"| {bundle} | {backend}{' int8' * (precision == 'int8')} | {count} | "
                            f"{own / count * 1e3:.3f} | {batch / count * 1e3:.3f} | {ratio:.2f}x |"
                        )
    return rows


def _cameras(predictor: SaliencyPredictor, count: int) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    scene = [frame.image for frame in AerialScene(seed=1, size=(320, 180)).frames(count + 8)]
    inputs = [network_input(image, predictor.grid) for image in scene]
    streams = [predictor.stream(color="rgb") for _ in range(count)]
    batch = predictor.stream_batch(count, color="rgb")

    def frames(tick: int) -> list[Any]:
        return [inputs[(tick + place) % len(inputs)] for place in range(count)]

    return (
        lambda tick: [stream.push(frame) for stream, frame in zip(streams, frames(tick), strict=True)],
        lambda tick: batch.push(frames(tick)),
    )


def _ahead(videos: Sequence[Path], rounds: int) -> list[str]:
    """A whole archive: each frame decoded when it is asked for, or in a thread meanwhile."""
    rows = [
        "| bundle | frames from | one after the other, ms a frame | read ahead, ms a frame | faster by |",
        "|---|---|---|---|---|",
    ]
    memory = [frame for _, frame in zip(range(600), _decoded(videos), strict=False)]
    # Any bytes of the right shape: what they show makes no difference to the time.
    large = list(np.random.default_rng(0).integers(0, 256, (8, 1080, 1920, 3), dtype=np.uint8)) * 20
    total = sum(1 for _ in _decoded(videos))
    sources: dict[str, tuple[int, Callable[[], Iterator[Any]]]] = {
        f"{len(videos)} videos": (total, lambda: _decoded(videos)),
        "memory, the same": (len(memory), lambda: iter(memory)),
        "memory, 1920x1080": (len(large), lambda: iter(large)),
    }
    for bundle in BUNDLES:
        with SaliencyPredictor(bundle, backend="onnxruntime", precision="fp32") as predictor:
            for name, (count, source) in sources.items():
                plain, ahead, ratio = _paired(_clip(predictor, source), rounds, time.perf_counter)
                rows.append(
                    f"| {bundle} | {name} | {plain / count * 1e3:.3f} | {ahead / count * 1e3:.3f} | {ratio:.2f}x |"
                )
    return rows


def _clip(
    predictor: SaliencyPredictor, source: Callable[[], Iterator[Any]]
) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    session, contract = predictor._session_for_clips(), predictor.bundle.manifest.contract

    def run(*, overlap: bool) -> None:
        inputs = (network_input(image, contract.grid)[None] for image in source())
        for _ in clip_maps(session, contract, inputs, 32, overlap=overlap):
            pass

    return lambda _: run(overlap=False), lambda _: run(overlap=True)


def _decoded(videos: Sequence[Path]) -> Iterator[Any]:
    for video in videos:
        with open_source(video) as source:
            for frame in source:
                yield frame.image


def _paired(
    calls: tuple[Callable[[int], Any], Callable[[int], Any]], rounds: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Median seconds of the first and of the second, and the median of how many times faster the second is."""
    times: tuple[list[float], list[float]] = ([], [])
    for tick in range(WARM_UP + rounds):
        # Who is first changes, for what comes second finds the caches of the first.
        for index in (0, 1) if tick % 2 else (1, 0):
            start = clock()
            calls[index](tick)
            if tick >= WARM_UP:
                times[index].append(clock() - start)
    ratio = statistics.median(first / second for first, second in zip(*times, strict=True))
    return statistics.median(times[0]), statistics.median(times[1]), float(ratio)


def _machine() -> str:
    cpu = environment.probe_cpu()
    return (
        f"Machine: {cpu.model}, {cpu.cores} usable cores, class {cpu.processor_class}, one thread for the engine. Load "
        f"of the minute before the end: {os.getloadavg()[0]:.2f}. OpenCV {cv2.__version__}, numpy {np.__version__}."
    )


if __name__ == "__main__":
    main()
