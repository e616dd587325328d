"""The same weights in other engines, and other models of saliency, in one run; the table of docs/performance.md.

    python benchmarks/peers.py [--data DATA] [--write docs/performance.md]

What is compared is in peers_runners.py, and has to be installed first:

    python -m pip install -c constraints.txt -e '.[bench]'
    python -m venv build/peers/contrib   # OpenCV's contributed modules share their files with OpenCV: a place apart
    build/peers/contrib/bin/python -m pip install numpy==2.2.6 opencv-contrib-python-headless==5.0.0.93

Everything has one thread and a process of its own, which loads it and answers (peers_worker.py). The golden clip is
chained first, frame by frame: who misses its maps, or keeps more than one core busy, gets no times. Then all run in
turns, so that whatever else the machine does falls on all alike, and the ratio to torch eager is the median of those
of the rounds. With --data all maps of the val split's stills and of some of its clips are scored as uva-edge evaluate
does. Converted models are kept in build/peers; to convert takes some minutes, once. What can't be measured says why.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from peers_install import NotInstalledError, bytes_beyond_base, installed
from peers_process import NotMeasuredError, Peer, converted
from peers_runners import REFERENCE, RUNNERS, Runner
from peers_table import Row, machine, table
from performance import replace_between

from uva_edge import Bundle
from uva_edge.data.footage import Footage
from uva_edge.data.sources import open_footage
from uva_edge.data.synthetic import AerialScene
from uva_edge.metrics import cc
from uva_edge.preprocess import network_input
from uva_edge.runtimes.agreement import TOLERANCES
from uva_edge.training.predictors import from_folder
from uva_edge.training.scoring import score

BEGIN, END = "<!-- measured beside peers: begin -->", "<!-- measured beside peers: end -->"
COLD_STARTS: Final = 3
"""Of each; the first may be slow, for it fills the caches, and the median is not it."""
TURN: Final = 0.05
"""Seconds that a runner has in a round; one frame at least."""
MOST_CORES: Final = 1.1
SCENE_SIZE: Final = (320, 180)
"""Of the frames that models other than ours are timed on."""


def main(words: Sequence[str] | None = None) -> int:
    arguments = parse(words)
    arguments.models.mkdir(parents=True, exist_ok=True)
    runners = [RUNNERS[name] for name in arguments.only]
    rows: list[Row] = []
    load = os.getloadavg()[0]
    footage = chosen(open_footage(arguments.data, "val"), arguments.clips) if arguments.data else []
    with tempfile.TemporaryDirectory(prefix="uva-edge-peers-") as scratch:
        for bundle in arguments.bundles:
            # Models other than ours have no resolution of ours: they run once, with the first bundle.
            fitting = [runner for runner in runners if runner.ours or bundle == arguments.bundles[0]]
            place = Path(scratch) / bundle
            place.mkdir()
            rows += measure(bundle, fitting, place, footage, arguments)
    page = "\n".join([machine(load, rows, footage), "", *table(rows)])
    print(page)
    if arguments.write:
        replace_between(arguments.write, BEGIN, END, page)
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="footage to score on, as of uva-edge evaluate")
    parser.add_argument(
        "--write", type=Path, help="replace the part of this page that was measured beside peers"
    )
    parser.add_argument("--bundles", type=lambda text: text.split(","), default=["uva-64", "uva-32"])
    parser.add_argument(
        "--only", type=_names, default=list(RUNNERS), help="names of runners, with commas between"
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--clips", type=int, default=3, help="of --data, how many of its val clips to score on"
    )
    parser.add_argument(
        "--models", type=Path, default=Path("build/peers"), help="where converted models are kept"
    )
    parser.add_argument("--contrib", type=Path, default=Path("build/peers/contrib/bin/python"))
    return parser.parse_args(words)


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in RUNNERS:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(RUNNERS)}; got {name}")
    return names


def measure(
    bundle: str,
    runners: Sequence[Runner],
    place: Path,
    footage: Sequence[Footage],
    arguments: argparse.Namespace,
) -> list[Row]:
    """The rows of one bundle, of other models too where they are among the runners."""
    golden = Bundle.open(bundle).golden()
    own, others = place / "golden.npy", place / "scene.npy"
    np.save(own, golden.frames)
    if not all(runner.ours for runner in runners):
        np.save(others, np.stack([item.image for item in AerialScene(seed=1, size=SCENE_SIZE).frames(16)]))
    side = golden.frames.shape[1]
    rows = {}
    with ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for runner in runners:
            size = f"{side}x{side}" if runner.ours else "x".join(map(str, SCENE_SIZE))
            row = rows[runner.name] = Row(runner, bundle, size)
            try:
                peer = _start(row, own if runner.ours else others, arguments, stack)
                if runner.ours:
                    row.golden = _checked(peer, golden.maps, own, runner.precision)
                _expect_one_core(peer)
                peers[runner.name] = peer
            except (NotMeasuredError, NotInstalledError) as error:
                row.refused = str(error)
            print(f"{bundle}, {runner.name}: {row.refused or 'ready'}", file=sys.stderr, flush=True)
        _in_turns(peers, rows, arguments.rounds)
        for name, peer in peers.items():
            rows[name].memory = peer.ask("memory")["bytes"]
        if footage:
            _score(bundle, peers, rows, footage, place)
    return list(rows.values())


def _start(row: Row, frames: Path, arguments: argparse.Namespace, stack: ExitStack) -> Peer:
    """Its size and cold start, and the process of the last of these."""
    runner = row.runner
    python = arguments.contrib if runner.contrib else Path(sys.executable)
    found = installed(runner.packages, python, runner.fix)
    row.versions = {name: found[name].version for name in runner.packages}
    row.install = bytes_beyond_base(found, python)
    model = converted(runner, row.bundle, arguments.models.resolve())
    seconds = []
    for start in range(1, COLD_STARTS + 1):
        began = time.perf_counter()
        peer = Peer(runner, row.bundle, model, frames, python, frames.with_name(f"{runner.name}.txt"))
        stack.callback(peer.close)
        peer.answer()
        seconds.append(time.perf_counter() - began)
        if start < COLD_STARTS:
            peer.close()
    row.cold = statistics.median(seconds)
    return peer


def _checked(peer: Peer, expected: NDArray[np.float32], frames: Path, precision: str) -> str:
    """How near the maps of the golden clip are; raises NotMeasuredError if they are not what the precision promises."""
    output = frames.with_name("maps.npy")
    peer.ask("maps", frames=str(frames), maps=str(output))
    maps, tolerance = np.load(output), TOLERANCES[precision]
    if maps.shape != expected.shape or not np.isfinite(maps).all():
        raise NotMeasuredError(f"wrong maps: expected finite ones of {expected.shape}, got {maps.shape}")
    worst = float(np.abs(maps - expected).max())
    least = min(cc(ours, theirs) for ours, theirs in zip(maps, expected, strict=True))
    if not (worst <= tolerance.max_abs and least >= tolerance.min_cc):
        raise NotMeasuredError(
            f"wrong maps: {worst:.2g} from the golden ones, CC {least:.4f}; {precision} has to be {tolerance}"
        )
    return f"{worst:.1e}, {least:.4f}"


def _expect_one_core(peer: Peer) -> None:
    cores = min(peer.ask("time", seconds=TURN)["cores"] for _ in range(3))
    if cores > MOST_CORES:
        raise NotMeasuredError(f"it keeps {cores:.1f} cores busy, where one thread was asked for")


def _in_turns(peers: dict[str, Peer], rows: dict[str, Row], rounds: int) -> None:
    """Times and ratios of all; a peer that ends on the way is taken out."""
    for _ in range(rounds):
        for name, peer in list(peers.items()):
            try:
                rows[name].seconds.append(peer.ask("time", seconds=TURN)["seconds"])
            except NotMeasuredError as error:
                rows[name].refused = str(error)
                del peers[name]
    for name in peers if REFERENCE in peers else ():
        pairs = zip(rows[REFERENCE].seconds, rows[name].seconds, strict=True)
        rows[name].ratio = statistics.median(reference / taken for reference, taken in pairs)


# --- accuracy -------------------------------------------------------------------------------------------


def _score(
    bundle: str, peers: dict[str, Peer], rows: dict[str, Row], footage: Sequence[Footage], place: Path
) -> None:
    """Every map of the footage by every runner, scored side by side."""
    side = Bundle.open(bundle).manifest.contract.resolution
    peers = {name: peer for name, peer in peers.items() if RUNNERS[name].trained}
    if not peers:
        return
    folders = {name: place / f"maps-{index}" for index, name in enumerate(peers)}
    for folder in folders.values():
        folder.mkdir()
    for item in footage:
        images = [frame.image for frame in item.read()]
        np.save(place / "whole.npy", np.stack(images))
        np.save(place / "inputs.npy", np.stack([network_input(image, side) for image in images]))
        for name, peer in peers.items():
            frames = place / ("inputs.npy" if RUNNERS[name].ours else "whole.npy")
            peer.ask("maps", frames=str(frames), maps=str(folders[name] / f"{item.name}.npy"))
    scores = score([from_folder(folder) for folder in folders.values()], footage)
    for name, folder in folders.items():
        rows[name].scores = scores.means(str(folder))


def chosen(footage: Sequence[Footage], clips: int) -> list[Footage]:
    """All stills, and so many clips spread over the list."""
    videos = [item for item in footage if item.kind == "video"]
    kept = {
        videos[index].name for index in np.linspace(0, len(videos) - 1, min(clips, len(videos))).astype(int)
    }
    return [item for item in footage if item.kind == "still" or item.name in kept]


if __name__ == "__main__":
    sys.exit(main())
