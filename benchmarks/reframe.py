"""How much of where people look a moving 9:16 crop keeps, and how much it moves.

    python benchmarks/reframe.py --data DATA [--write]                          # the table of docs/video.md
    python benchmarks/reframe.py --data DATA --split train --most 40            # to choose patience and span

Crops are planned by our prediction; what they keep is judged by a teacher's maps. The centre and the best place of each
frame, which jumps, are the bounds between which a path can lie. Intervals as in `encode`.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from accuracy import DOCS, replace_between
from encode import interval, some
from numpy.typing import NDArray

from uva_edge import SaliencyPredictor
from uva_edge.data.footage import Footage
from uva_edge.data.teacher_clips import list_clips
from uva_edge.runtimes.video.attention import LivePath, Look, planned_path
from uva_edge.runtimes.video.crop import window_of
from uva_edge.runtimes.video.crop_path import missed, places_of

ASPECT = Fraction(9, 16)
WIDE = 1.5  # the footage that is worth a crop
FEW = 24  # frames
MIDDLE = "in the middle"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--bundle", default="uva-64")
    parser.add_argument("--most", type=int, help="so many clips, evenly chosen")
    parser.add_argument("--write", action="store_true", help="replace the measured part of docs/video.md")
    arguments = parser.parse_args()
    with (arguments.data / "clips.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    kept: dict[str, list[tuple[str, float]]] = {}
    moved: dict[str, list[tuple[str, float]]] = {}
    with SaliencyPredictor(arguments.bundle) as predictor:
        for clip in some(list_clips(arguments.data, arguments.split), arguments.most):
            row = rows[clip.name]
            if int(row["frames"]) < FEW or int(row["width"]) < WIDE * int(row["height"]):
                continue
            for name, (share, way) in _paths(clip, predictor, float(row["fps"])).items():
                kept.setdefault(name, []).append((row["repo"], 100 * share))
                moved.setdefault(name, []).append((row["repo"], way))
    count = len(kept[MIDDLE])
    lines = [
        f"| crop, {count} clips | % of attention kept | more than in the middle | picture widths moved a second |"
    ]
    lines.append("|---" * 4 + "|")
    for name, shares in kept.items():
        more = [(repo, share - rest) for (repo, share), (_, rest) in zip(shares, kept[MIDDLE], strict=True)]
        columns = (interval(shares, ".1f"), interval(more, "+.1f"), interval(moved[name], ".2f"))
        lines.append(f"| {name} | {' | '.join(columns)} |")
    print("\n".join(lines))
    if arguments.write:
        replace_between(DOCS / "video.md", "crops", lines)


def _paths(clip: Footage, predictor: SaliencyPredictor, fps: float) -> dict[str, tuple[float, float]]:
    """For each kind of path, the share of the teacher's map that it keeps, and its way in widths a second."""
    frames = list(clip.read())
    height, width = frames[0].image.shape[:2]
    window = window_of((width // 2 * 2, height // 2 * 2), Fraction(1), ASPECT, None)
    places = places_of(window.length, window.extent)

    def costs(maps: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float64]]:
        return [missed(values.sum(axis=0), places, window.extent, window.length) for values in maps]

    ours = predictor.predict_clip([frame.image for frame in frames])
    looks = [Look(index / fps, False, cost) for index, cost in enumerate(costs(list(ours)))]
    truth = 1 - np.stack(costs([np.asarray(frame.teacher, np.float32) for frame in frames]))
    live = LivePath(places, window.length)
    paths = {
        MIDDLE: np.full(len(frames), (window.length - window.extent) / 2),
        "live": np.array([live.push(look) for look in looks]),
        "planned": planned_path(looks, places, window.length),
        "the best place of each frame, by the teacher": places[truth.argmax(axis=1)],
    }
    return {
        name: (
            float(np.mean([np.interp(at, places, row) for at, row in zip(path, truth, strict=True)])),
            float(np.abs(np.diff(path)).sum() / window.length / (len(path) / fps)),
        )
        for name, path in paths.items()
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
