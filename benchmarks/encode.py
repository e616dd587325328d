"""What regions of interest are worth: error where people look, against plain coding at the same size.

    python benchmarks/encode.py --data DATA [--write]                                 # the table of docs/video.md
    python benchmarks/encode.py --data DATA --split train --strengths 1,2,3 --most 24     # to choose a strength

Each clip is coded plainly at a CRF, then with regions at the CRF that gives its size again, within 1 %. The error is
weighted by where people look, which our own prediction does not say: on clips a teacher's maps do, on stills people's
fixations. That people look at the middle needs no network, so a Gaussian there is coded by as well. Intervals are of
95 %, by bootstrap over the sources of the footage, since clips of one source are alike.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from accuracy import DOCS, replace_between
from numpy.typing import NDArray

from uva_edge import SaliencyPredictor
from uva_edge.data.footage import Footage
from uva_edge.data.still_images import list_stills
from uva_edge.data.teacher_clips import list_clips
from uva_edge.metrics import fixation_density, resize_map
from uva_edge.runtimes.video.encode import STRENGTHS, Marker
from uva_edge.runtimes.video.movie_writer import Coding, encoder_options
from uva_edge.runtimes.video.regions_of_interest import RegionOfInterest, cell_density, qp_offsets, regions_of
from uva_edge.training.baselines import BASELINES

SETTINGS = (Coding(crf=24), Coding(crf=32), Coding("libx265", crf=28))
RATE = Fraction(25)
TOLERANCE = 0.01
TRIES = 9
CENTRE = "centre"
RESAMPLES = 10_000
DECODERS = {"libx264": "h264", "libx265": "hevc"}


@dataclass(frozen=True, eq=False)
class Shot:
    """Footage in memory: luma and chroma as the encoder gets them, where people look, and maps to code by."""

    name: str
    source: str
    planes: list[NDArray[np.uint8]]
    looks: NDArray[np.float32]
    maps: dict[str, list[NDArray[np.float32]]]

    @property
    def size(self) -> tuple[int, int]:
        return self.planes[0].shape[1], self.planes[0].shape[0] * 2 // 3


@dataclass(frozen=True)
class Gain:
    """Of one shot, in dB: where people look, and over the whole picture. `size`: of what was compared, a ratio."""

    source: str
    looked: float
    whole: float
    size: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--bundle", default="uva-64")
    parser.add_argument("--strengths", help="such as 1,2,3; by default that of each encoder")
    parser.add_argument("--only", choices=("clips", "stills"))
    parser.add_argument("--most", type=int, help="so many clips and so many stills, evenly chosen")
    parser.add_argument("--frames", type=int, default=48, help="of each clip, from its start")
    parser.add_argument("--write", action="store_true", help="replace the measured part of docs/video.md")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    readers = {"clips": list_clips, "stills": list_stills}
    lines = [
        "| footage | plain at | by | strength | dB where people look | dB of all | compared |",
        "|---" * 7 + "|",
    ]
    print("\n".join(lines), flush=True)
    with SaliencyPredictor(arguments.bundle) as predictor:
        for title in (arguments.only,) if arguments.only else readers:
            footage = some(readers[title](arguments.data, arguments.split), arguments.most)
            shots = list(_shots(footage, predictor, arguments.data, arguments.frames))
            for coding in SETTINGS:
                asked = arguments.strengths
                for strength in map(float, asked.split(",")) if asked else (STRENGTHS[coding.codec],):
                    for maps in (predictor.bundle.name, CENTRE):
                        found = _row([_gain(shot, coding, maps, strength) for shot in shots])
                        plain = f"{coding.codec}, CRF {coding.crf:g}"
                        lines.append(f"| {title} | {plain} | {maps} | {strength:g} | {found} |")
                        print(lines[-1], flush=True)
    if arguments.write:
        replace_between(DOCS / "video.md", "gain", lines)


def some(footage: Sequence[Footage], most: int | None) -> list[Footage]:
    """At most so many, evenly chosen."""
    if most is None or most >= len(footage):
        return list(footage)
    return [footage[place] for place in np.linspace(0, len(footage) - 1, most).astype(int)]


def _row(gains: Sequence[Gain]) -> str:
    fair = [gain for gain in gains if abs(gain.size - 1) <= TOLERANCE]
    looked = interval([(gain.source, gain.looked) for gain in fair])
    whole = interval([(gain.source, gain.whole) for gain in fair])
    return f"{looked} | {whole} | {len(fair)} of {len(gains)}"


def interval(values: Sequence[tuple[str, float]], form: str = "+.2f") -> str:
    """Mean of values, each with its source, and 95 % of the means of resampled sources, as numbers of that form."""
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for source, value in values:
        groups[source].append(value)
    sums, counts = np.array([(sum(group), len(group)) for group in groups.values()], float).T
    drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return f"{sums.sum() / counts.sum():{form}} ({low:{form}} to {high:{form}})"


# --- footage --------------------------------------------------------------------------------------------


def _shots(footage: Sequence[Footage], predictor: SaliencyPredictor, data: Path, most: int) -> Iterator[Shot]:
    with (data / "clips.csv").open(newline="") as file:
        repositories = {row["name"]: row["repo"] for row in csv.DictReader(file)}
    for item in footage:
        frames = list(islice(item.read(), most))
        images = [_even(frame.image) for frame in frames]
        size = images[0].shape[1], images[0].shape[0]
        looks = [
            fixation_density(frame.fixations, size)
            if frame.fixations is not None
            else _density(frame.teacher, size)
            for frame in frames
        ]
        planes = [np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8) for image in images]
        maps = {
            predictor.bundle.name: list(predictor.predict_clip(images)),
            CENTRE: [np.asarray(found, np.float32) for found in BASELINES[CENTRE](images)],
        }
        yield Shot(item.name, repositories.get(item.name, item.name), planes, np.stack(looks), maps)


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])


def _density(teacher: NDArray[np.uint8] | None, size: tuple[int, int]) -> NDArray[np.float32]:
    assert teacher is not None, "a clip without a teacher's maps"
    values = resize_map(teacher.astype(np.float32), size)
    return values / values.sum()


# --- coding ---------------------------------------------------------------------------------------------


def _gain(shot: Shot, coding: Coding, maps: str, strength: float) -> Gain:
    regions = [
        regions_of(qp_offsets(cell_density(values, shot.size), strength=strength), shot.size)
        for values in shot.maps[maps]
    ]
    plain_size, before = _plain(shot, coding)
    size, pictures = _coded_to_size(shot, coding, regions, plain_size)
    after = _errors(shot, pictures)
    looked, whole = (10 * float(np.log10(old / new)) for old, new in zip(before, after, strict=True))
    return Gain(shot.source, looked, whole, size / plain_size)


@cache
def _plain(shot: Shot, coding: Coding) -> tuple[int, tuple[float, float]]:
    """Bytes and errors."""
    size, pictures = _coded(shot, coding, None)
    return size, _errors(shot, pictures)


def _coded_to_size(
    shot: Shot, coding: Coding, regions: Sequence[tuple[RegionOfInterest, ...]], wanted: int
) -> tuple[int, list[NDArray[np.uint8]]]:
    """Secant steps on the logarithm of the size, which is nearly straight in the CRF; the nearest of all tries."""
    crf, tried = float(coding.crf or 0), []
    while len(tried) < TRIES:
        tried.append((crf, *_coded(shot, replace(coding, crf=crf), regions)))
        if abs(tried[-1][1] / wanted - 1) <= TOLERANCE / 2:
            break
        slope = -0.12
        if len(tried) > 1:
            (a, bytes_a, _), (b, bytes_b, _) = tried[-2:]
            slope = min(np.log(bytes_b / bytes_a) / (b - a), -0.04) if a != b else slope
        crf = float(np.clip(crf + np.log(wanted / tried[-1][1]) / slope, 0, 51))
    _, size, pictures = min(tried, key=lambda found: abs(np.log(found[1] / wanted)))
    return size, pictures


def _coded(
    shot: Shot, coding: Coding, regions: Sequence[tuple[RegionOfInterest, ...]] | None
) -> tuple[int, list[NDArray[np.uint8]]]:
    """Bytes of the packets, and the luma that a decoder makes of them."""
    encoder: Any = av.CodecContext.create(coding.codec, "w")
    encoder.options = encoder_options(coding)
    encoder.width, encoder.height = shot.size
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", RATE, 1 / RATE
    marker, packets = Marker(1 / RATE), []
    for index, planes in enumerate(shot.planes):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = index, 1 / RATE
        if regions is not None:
            frame, _ = marker.marked(frame, regions[index])
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create(DECODERS[coding.codec], "r")
    decoder.thread_count = 1
    pictures = [frame for packet in packets for frame in decoder.decode(av.Packet(bytes(packet)))]
    pictures += decoder.decode(None)
    assert len(pictures) == len(shot.planes), (
        f"{shot.name}: {len(pictures)} of {len(shot.planes)} frames came back"
    )
    height = shot.size[1]
    return sum(packet.size for packet in packets), [
        frame.to_ndarray(format="yuv420p")[:height] for frame in pictures
    ]


def _errors(shot: Shot, pictures: Sequence[NDArray[np.uint8]]) -> tuple[float, float]:
    """Mean squared error of the luma: weighted by where people look, and over the whole picture."""
    looked = whole = 0.0
    for planes, picture, look in zip(shot.planes, pictures, shot.looks, strict=True):
        squared = (planes[: shot.size[1]].astype(np.float32) - picture) ** 2
        looked += float((squared * look).sum())
        whole += float(squared.mean())
    floor = 1e-3 * len(pictures)  # a picture that came back exactly
    return max(looked, floor), max(whole, floor)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
