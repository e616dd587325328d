"""Scores of predictors on footage: against human fixations and densities, or else against a teacher's maps.

A frame is scored by what is known of it. With fixations: ``auc`` (Judd), ``sauc`` (shuffled) and ``nss``, at the
frame's size. With a density, the data set's own or that of the fixations: ``cc``, ``sim`` and ``kld``, at the
density's size. With a teacher's map alone: ``teacher_cc``, ``teacher_sim`` and ``teacher_kld``, at that map's
size. Maps are resized to these sizes (bilinear). A video's score is the mean over the frames that have it, a data
set's the mean over its stills and videos: a long video counts as much as a short one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import tee
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge import metrics
from uva_edge.data.footage import Footage, Kind, LabelledFrame
from uva_edge.data.intake import Intake
from uva_edge.errors import DataError, OptionError
from uva_edge.metrics import RealMap, fixation_density, fixation_pixels, resize_map

Predict: TypeAlias = Callable[[Footage, Iterable[NDArray[np.uint8]]], Iterator[RealMap]]
"""From footage and its frames (BGR, decoded as they are taken) to one map [h, w] for each, in order."""
Points: TypeAlias = NDArray[np.float32]
"""[N, 2], x and y in 0..1 of width and height."""

METRICS: Final = ("auc", "sauc", "nss", "cc", "sim", "kld", "teacher_cc", "teacher_sim", "teacher_kld")
LOWER_IS_BETTER: Final = frozenset({"kld", "teacher_kld"})
NEGATIVES_PER_FOOTAGE: Final = 200
"""The most fixations of one still or video among the negatives of the others' shuffled AUC."""
RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Predictor:
    """What is scored, under a name that no other has."""

    name: str
    predict: Predict = field(repr=False)


@dataclass(frozen=True)
class FootageScores:
    """One predictor on one still or video."""

    predictor: str
    dataset: str
    name: str
    kind: Kind
    frames: int
    scores: dict[str, float]
    """Of `METRICS`, those that what is known allows."""


@dataclass(frozen=True)
class Estimate:
    """A mean over stills and videos, and where the mean of others like them would lie."""

    mean: float
    interval: tuple[float, float] | None
    """95 % by bootstrap over stills and videos; None if there is but one."""
    count: int
    """Stills and videos that have this score."""


@dataclass(frozen=True)
class DataSetScores:
    """One predictor on one data set."""

    predictor: str
    dataset: str
    scores: dict[str, Estimate]


@dataclass(frozen=True)
class Scores:
    """All that `score` found: for each predictor and each still or video, and what was skipped."""

    rows: tuple[FootageScores, ...]
    damaged: dict[str, str]
    """``dataset/name`` of each skipped still or video, and what is wrong with it."""

    def summary(self, *, resamples: int = RESAMPLES, seed: int = 0) -> list[DataSetScores]:
        """A row for each predictor and data set, in the order in which they were scored.

        The resamples of a data set are the same for all predictors, so their intervals can be compared.
        """
        groups: defaultdict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        for row in self.rows:
            groups[row.predictor, row.dataset].append(row.scores)
        return [
            DataSetScores(predictor, dataset, _estimates(scores, resamples, seed))
            for (predictor, dataset), scores in groups.items()
        ]

    def means(self, predictor: str) -> dict[str, dict[str, float]]:
        """Data set -> metric -> mean of one predictor, as a bundle stores its accuracy."""
        return {
            item.dataset: {name: estimate.mean for name, estimate in item.scores.items()}
            for item in self.summary(resamples=1)
            if item.predictor == predictor
        }


def score(
    predictors: Sequence[Predictor],
    footage: Sequence[Footage],
    *,
    progress: Callable[[Footage], object] = lambda _: None,
    report: Callable[[str], object] | None = None,
) -> Scores:
    """Score predictors on footage; every still and video is decoded once for all of them.

    The negatives of a shuffled AUC are fixations of the other stills and videos of the same data set, at most
    `NEGATIVES_PER_FOOTAGE` of each, spread evenly over its list: no chance is involved. To know them, all is
    decoded once before.

    Args:
        predictors: at least one, of different names.
        footage: at least one still or video; frames are held one at a time.
        progress: is told of each still or video that was scored.
        report: is told of each that is damaged and skipped, in one line.

    Raises:
        OptionError: no predictors, two of one name, or a map that can't be scored.
        DataError: no footage, nothing known of any of it, or more of it damaged than `Intake` tolerates.
        UvaEdgeError: whatever a predictor raises.
    """
    _expect_different(predictors)
    negatives = _Negatives(footage)
    intake = Intake(footage, report)
    rows: list[FootageScores] = []
    for item, scored in intake.map(lambda item: _score_footage(item, predictors, negatives)):
        rows += scored
        progress(item)
    if not any(row.scores for row in rows):
        raise DataError("nothing is known of where people look, by fixations, densities or a teacher's maps")
    return Scores(tuple(rows), intake.damaged)


def _expect_different(predictors: Sequence[Predictor]) -> None:
    names = [predictor.name for predictor in predictors]
    if not names:
        raise OptionError("expected at least one predictor to score, got none")
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"two predictors are called {name!r}; give each a name of its own")


# --- one still or video -----------------------------------------------------------------------------------


def _score_footage(
    footage: Footage, predictors: Sequence[Predictor], negatives: _Negatives
) -> list[FootageScores]:
    """One row for each predictor; all of them go through the footage side by side."""
    others = negatives.of(footage)
    truths, *copies = tee(footage.read(), 1 + len(predictors))
    streams = [
        predictor.predict(footage, (frame.image for frame in copy))
        for predictor, copy in zip(predictors, copies, strict=True)
    ]
    values: list[defaultdict[str, list[float]]] = [defaultdict(list) for _ in predictors]
    frames = 0
    for frame, *maps in zip(truths, *streams, strict=True):
        frames += 1
        truth = _Truth.of(frame, others)
        for saliency, found in zip(maps, values, strict=True):
            for name, value in truth.scores(saliency):
                found[name].append(value)
    return [
        FootageScores(
            predictor=predictor.name,
            dataset=footage.dataset,
            name=footage.name,
            kind=footage.kind,
            frames=frames,
            scores={name: float(np.mean(found[name])) for name in METRICS if name in found},
        )
        for predictor, found in zip(predictors, values, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Truth:
    """What is known of a frame, in the form that the metrics take; made once for all predictors."""

    size: tuple[int, int]
    """(width, height) of the frame."""
    fixations: NDArray[np.int64] | None
    negatives: NDArray[np.int64] | None
    density: RealMap | None
    teacher: NDArray[np.uint8] | None

    @classmethod
    def of(cls, frame: LabelledFrame, others: Points) -> _Truth:
        height, width = frame.image.shape[:2]
        size = (width, height)
        points, density = frame.fixations, frame.density
        if points is not None and not len(points):
            points = None
        if density is None and points is not None:
            density = fixation_density(points, size)
        return cls(
            size,
            None if points is None else fixation_pixels(points, size),
            fixation_pixels(others, size) if points is not None and len(others) else None,
            density,
            frame.teacher if points is None and density is None else None,
        )

    def scores(self, saliency: RealMap) -> Iterator[tuple[str, float]]:
        """The name and value of every metric that the truth allows."""
        if self.fixations is not None:
            resized = resize_map(saliency, self.size)
            yield "auc", metrics.auc_judd(resized, self.fixations)
            if self.negatives is not None:
                yield "sauc", metrics.auc_shuffled(resized, self.fixations, self.negatives)
            yield "nss", metrics.nss(resized, self.fixations)
        for prefix, density in (("", self.density), ("teacher_", self.teacher)):
            if density is not None and density.any():
                height, width = density.shape
                resized = resize_map(saliency, (width, height))
                yield f"{prefix}cc", metrics.cc(resized, density)
                yield f"{prefix}sim", metrics.sim(resized, density)
                yield f"{prefix}kld", metrics.kld(resized, density)


# --- negatives of the shuffled AUC ------------------------------------------------------------------------


class _Negatives:
    """Fixations by footage, a sample of each."""

    def __init__(self, footage: Sequence[Footage]) -> None:
        self._samples: defaultdict[str, dict[str, Points]] = defaultdict(dict)
        for item, points in Intake(footage).map(_fixations_of):
            kept = np.linspace(0, len(points) - 1, min(len(points), NEGATIVES_PER_FOOTAGE))
            self._samples[item.dataset][item.name] = points[kept.round().astype(int)]

    def of(self, footage: Footage) -> Points:
        """Those of the other footage of its data set, [N, 2]; N may be 0."""
        samples = self._samples[footage.dataset].items()
        return np.concatenate(
            [np.empty((0, 2), np.float32), *(points for name, points in samples if name != footage.name)]
        )


def _fixations_of(footage: Footage) -> Points:
    """The fixations of all frames, [N, 2]."""
    points = [frame.fixations for frame in footage.read() if frame.fixations is not None]
    return np.concatenate([np.empty((0, 2), np.float32), *points])


# --- means over stills and videos -------------------------------------------------------------------------


def _estimates(scores: Sequence[Mapping[str, float]], resamples: int, seed: int) -> dict[str, Estimate]:
    return {
        name: estimate_mean([item[name] for item in scores if name in item], resamples=resamples, seed=seed)
        for name in METRICS
        if any(name in item for item in scores)
    }


def estimate_mean(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean and its interval by the percentile bootstrap (Efron & Tibshirani, 1993), of at least one value.

    The same seed and number of values give the same resamples.
    """
    sample = np.asarray(values, np.float64)
    count = len(sample)
    if not count:
        raise OptionError("expected at least one value to average, got none")
    mean = float(sample.mean())
    if count == 1:
        return Estimate(mean, None, 1)
    # How often each value occurs in each resample: a mean of a resample is one row of a product.
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws @ sample / count, (tail, 1 - tail))
    return Estimate(mean, (float(low), float(high)), count)
