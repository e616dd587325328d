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
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from peers_install import NotInstalledError, bytes_beyond_base, installed
from peers_runners import REFERENCE, RUNNERS, Runner
from performance import percentiles, replace_between

from uva_edge import Bundle, __version__, environment
from uva_edge.data.footage import Footage
from uva_edge.data.sources import open_footage
from uva_edge.data.synthetic import AerialScene
from uva_edge.metrics import cc
from uva_edge.preprocess import network_input
from uva_edge.runtimes.agreement import TOLERANCES
from uva_edge.training.predictors import from_folder
from uva_edge.training.scoring import score

HERE: Final = Path(__file__).resolve().parent
BEGIN, END = "<!-- measured beside peers: begin -->", "<!-- measured beside peers: end -->"
COLD_STARTS: Final = 3
TURN: Final = 0.05
"""Seconds that a runner has in a round; one frame at least."""
MOST_CORES: Final = 1.1
PATIENCE: Final = 600
"""Seconds after which a process that does not answer is ended."""
SCENE_SIZE: Final = (320, 180)
"""Of the frames that models other than ours are timed on."""
ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS"), "1")


class NotMeasuredError(Exception):
    """Why a runner has no times."""


@dataclass
class Row:
    """One line of the table; what stays empty was not measured."""

    runner: Runner
    bundle: str
    input: str
    refused: str = ""
    seconds: list[float] = field(default_factory=list)
    ratio: float = 0.0
    golden: str = ""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    install: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    cold: float = 0.0
    memory: int = 0


class Peer:
    """A process with a runner in it; what it prints goes to the file `log`."""

    def __init__(
        self, runner: Runner, bundle: str, model: Path, frames: Path, python: Path, log: Path
    ) -> None:
        self._log = log
        command = [python, HERE / "peers_worker.py", runner.name, bundle, model, frames]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ONE_THREAD, "TORCHINDUCTOR_CACHE_DIR": str(model.parent / "inductor")},
            )

    def answer(self) -> dict[str, Any]:
        """The next one; raises NotMeasuredError with the process's last words if it ended."""
        assert self._process.stdout is not None
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            raise NotMeasuredError(last_words(self._process.wait(), self._log))
        return dict(json.loads(line))

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Raises NotMeasuredError as `answer`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and the answer will say why
            print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()


def last_words(code: int, log: Path) -> str:
    """Why a process ended, by the last line that it wrote."""
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"its process ended with exit code {code}"


# --- what is measured -----------------------------------------------------------------------------------


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
        "--clips", type=int, default=4, help="of --data, how many of its val clips to score on"
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
    model = _converted(runner, row.bundle, arguments.models.resolve())
    seconds = []
    for start in range(COLD_STARTS + 1):
        began = time.perf_counter()
        peer = Peer(runner, row.bundle, model, frames, python, frames.with_name(f"{runner.name}.txt"))
        stack.callback(peer.close)
        peer.answer()
        seconds.append(time.perf_counter() - began)
        if start < COLD_STARTS:
            peer.close()
    row.cold = statistics.median(seconds[1:])  # the first one filled the caches
    return peer


def _converted(runner: Runner, bundle: str, models: Path) -> Path:
    """The folder of the converted model, made unless it is there."""
    if not runner.converter:
        return models / "none"
    version = installed([runner.converter], Path(sys.executable), runner.fix)[runner.converter].version
    manifest = Bundle.open(bundle).manifest
    weights = next(item for item in manifest.artifacts if item.format == "torch").files[0].sha256
    key = hashlib.sha256((weights + (HERE / "peers_models.py").read_text("utf-8")).encode()).hexdigest()[:12]
    folder = models / f"{bundle}-{runner.converter}-{version}-{key}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=models) as scratch:
            made, log = Path(scratch) / "model", Path(scratch) / "log.txt"
            made.mkdir()
            command = [sys.executable, str(HERE / "peers_models.py"), runner.converter, bundle, str(made)]
            with log.open("w") as output:
                environ = {**os.environ, **ONE_THREAD}
                code = subprocess.run(command, stdout=output, stderr=output, env=environ).returncode
            if code:
                raise NotMeasuredError(f"its converter failed: {last_words(code, log)}")
            made.rename(folder)
    return folder


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


# --- telling --------------------------------------------------------------------------------------------

HEADS: Final = (
    "model", "input", "ms a frame p50 / p95", "FPS", "x torch", "golden: max error, least CC",
    "OSIE NSS / CC / AUC", "SUN-500 NSS / CC / AUC", "clips CC", "install MB", "cold start ms", "peak MB",
)  # fmt: skip


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Ours and those with our weights by resolution, the fastest first; then the other models."""

    def place(row: Row) -> tuple[bool, str, bool, float]:
        speed = statistics.median(row.seconds) if row.seconds else 0.0
        return not row.runner.ours, row.bundle, bool(row.refused), speed

    yield f"| {' | '.join(HEADS)} |"
    yield "|---" * len(HEADS) + "|"
    for row in sorted(rows, key=place):
        name = f"{row.bundle} {row.runner.name}" if row.runner.ours else row.runner.name
        refused = row.refused.replace("|", "/")  # which would end the cell
        cells = [f"not measured: {refused}"] if refused else list(_cells(row))
        yield f"| {' | '.join([name, row.input, *cells])}" + " |" * (len(HEADS) - 1 - len(cells))


def _cells(row: Row) -> Iterator[str]:
    p50, p95 = percentiles(row.seconds, 50, 95)
    yield f"{p50:.3f} / {p95:.3f}"
    yield f"{1e3 / p50:.0f}" if p50 < 100 else f"{1e3 / p50:.1f}"
    yield f"{row.ratio:.{1 if row.ratio >= 1 else 2}f}" if row.ratio else ""
    yield row.golden
    for dataset in ("osie", "sun500"):
        found = row.scores.get(dataset, {})
        yield " / ".join(f"{found[name]:.3f}" for name in ("nss", "cc", "auc") if name in found)
    teacher = row.scores.get("clips", {}).get("teacher_cc")
    yield f"{teacher:.3f}" if teacher is not None else ""
    yield f"{row.install / 1e6:.0f}"
    yield f"{row.cold * 1e3:.0f}"
    yield f"{row.memory / 1e6:.0f}"


def machine(load: float, rows: Sequence[Row], footage: Sequence[Footage]) -> str:
    """What was measured on, with which versions and which footage."""
    cpu = environment.probe_cpu()
    versions = sorted({pair for row in rows for pair in row.versions.items()})
    counts = Counter(item.dataset for item in footage)
    scored = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "none"
    return (
        f"Machine: {cpu.model}, class {cpu.processor_class}, one thread. Load before the run: {load:.2f}. "
        f"uva_edge {__version__}, Python {sys.version.split()[0]}, numpy {np.__version__}, "
        f"{', '.join(f'{name} {version}' for name, version in versions)}. "
        f"Stills and clips of the val split that are scored: {scored}."
    )


if __name__ == "__main__":
    sys.exit(main())
