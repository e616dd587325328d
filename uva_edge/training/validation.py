"""Validation while training: the val split made ready once, then scored in seconds whenever the loop asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.data.intake import Intake
from uva_edge.errors import OptionError
from uva_edge.metrics import auc_judd, cc, fixation_density, fixation_pixels, nss, resize_map
from uva_edge.models.uva_net import Output, Pairing, to_map
from uva_edge.preprocess import network_input

VIDEO_STRIDE = 7
"""Every so manieth frame of a video is scored: its neighbours say the same. Not 8: a teacher whose windows start at
every eighth frame is another one there, and CC with it came out .01 too high."""
_CHUNK = 32

Scores = dict[str, dict[str, float]]
"""Data set -> metric -> mean over its stills or videos."""


@dataclass(frozen=True, eq=False)
class _Case:
    """A frame to score, and what is known of it at its own size."""

    footage: int
    frame: NDArray[np.uint8]
    other: NDArray[np.uint8]
    size: tuple[int, int]
    fixations: NDArray[np.int64] | None
    target: NDArray[np.float32]
    """The density of fixations, or the teacher's map."""


class Validation:
    """The frames of a val split as a network of one resolution sees them.

    Human truth gives NSS, CC and AUC-Judd; where there is only a teacher's map, its CC. The complete scores,
    with intervals, are `uva-edge evaluate`'s.

    Raises:
        OptionError: nothing to score.
        DataError: footage can't be read.
    """

    def __init__(self, footage: Sequence[Footage], *, resolution: int, pairing: Pairing) -> None:
        self._cases: list[_Case] = []
        self._datasets: list[str] = []
        prepare = Intake(footage).map(lambda item: _cases(item, resolution, pairing, len(self._datasets)))
        for item, cases in prepare:
            self._cases += cases
            self._datasets.append(item.dataset)
        if not self._cases:
            raise OptionError("expected footage with fixations or teacher maps to score, got none")

    def score(
        self, logits: Callable[[Tensor, Tensor], Tensor], output: Output, device: torch.device
    ) -> Scores:
        """Means of what `score_each` gives, by data set."""
        values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for dataset, scores in self.score_each(logits, output, device):
            for metric, value in scores.items():
                values[dataset][metric].append(value)
        return {
            dataset: {metric: float(np.mean(found)) for metric, found in metrics.items()}
            for dataset, metrics in values.items()
        }

    def score_each(
        self, logits: Callable[[Tensor, Tensor], Tensor], output: Output, device: torch.device
    ) -> list[tuple[str, dict[str, float]]]:
        """The data set and scores of each still and video, means over its frames, in the order of the footage.

        Args:
            logits: gives those of frames and their partners, uint8 [N, R, R, 3] each.

        Raises:
            OptionError: a map holds NaN.
        """
        sums: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for start in range(0, len(self._cases), _CHUNK):
            cases = self._cases[start : start + _CHUNK]
            frames, others = (
                torch.from_numpy(np.stack([getattr(case, name) for case in cases])).to(device)
                for name in ("frame", "other")
            )
            with torch.inference_mode():
                maps = to_map(logits(frames, others).float(), output).cpu().numpy()
            for case, small in zip(cases, maps, strict=True):
                for metric, value in _scores(case, small).items():
                    sums[case.footage][metric].append(value)
        return [
            (self._datasets[footage], {metric: float(np.mean(found)) for metric, found in metrics.items()})
            for footage, metrics in sums.items()
        ]


def headline(scores: Scores) -> float:
    """What a stage is stopped and chosen by: the mean NSS over the data sets that have one, else the mean CC."""
    for metric in ("nss", "cc"):
        values = [metrics[metric] for metrics in scores.values() if metric in metrics]
        if values:
            return float(np.mean(values))
    raise OptionError("expected scores with NSS or CC, got none")


def _cases(footage: Footage, resolution: int, pairing: Pairing, number: int) -> list[_Case]:
    """One frame at a time is held at its own size."""
    inputs: list[NDArray[np.uint8]] = []
    truths = {}
    for index, frame in enumerate(footage.read()):
        inputs.append(network_input(frame.image, resolution))
        if index % VIDEO_STRIDE == 0:
            truths[index] = _truth(frame)
    cases = []
    for index, truth in truths.items():
        other = max(index - 1, 0) if pairing == "causal" else min(index + 1, len(inputs) - 1)
        if truth is not None:
            target, fixations, size = truth
            cases.append(_Case(number, inputs[index], inputs[other], size, fixations, target))
    return cases


def _truth(
    frame: LabelledFrame,
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, tuple[int, int]] | None:
    """The target, fixation pixels and (width, height) of the best that is known of a frame."""
    height, width = frame.image.shape[:2]
    if frame.fixations is not None and len(frame.fixations):
        size = (width, height)
        density = fixation_density(frame.fixations, size).astype(np.float32)
        return density, fixation_pixels(frame.fixations, size), size
    known = frame.density if frame.density is not None else frame.teacher
    if known is None or not known.any():
        return None
    return known.astype(np.float32), None, (known.shape[1], known.shape[0])


def _scores(case: _Case, small: NDArray[np.float32]) -> dict[str, float]:
    saliency = resize_map(small, case.size)
    if case.fixations is None:
        return {"cc": cc(saliency, case.target)}
    return {
        "nss": nss(saliency, case.fixations),
        "cc": cc(saliency, case.target),
        "auc": auc_judd(saliency, case.fixations),
    }
