"""Several teachers as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError

from .teacher import Size, Teacher


class Ensemble:
    """The weighted mean of its members' densities, each normalised to sum 1, at the finest resolution.

    Args:
        teachers: the members, one at least.
        weights: one a member, relative to each other; equal unless given.

    Raises:
        OptionError: no member, another number of weights, or weights that are not finite, negative or all 0.
    """

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float] | None = None) -> None:
        if not teachers:
            raise OptionError("an ensemble has at least one teacher, got none")
        weights = [1.0] * len(teachers) if weights is None else list(weights)
        if len(weights) != len(teachers) or not all(math.isfinite(w) and w >= 0 for w in weights):
            raise OptionError(
                f"weights of an ensemble are numbers of 0 or more, one for each of {len(teachers)} teachers; "
                f"got {weights}"
            )
        if not sum(weights) > 0:
            raise OptionError(f"one weight of an ensemble must be above 0, got {weights}")
        self.teachers = tuple(teachers)
        self.weights = tuple(weights)

    @property
    def name(self) -> str:
        return "+".join(teacher.name for teacher in self.teachers)

    @property
    def resolution(self) -> Size:
        return max((teacher.resolution for teacher in self.teachers), key=math.prod)

    def predict(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Teacher.predict`."""
        height, width = self.resolution
        total = np.zeros((len(frames), height, width), np.float32)
        for teacher, weight in zip(self.teachers, self.weights, strict=True):
            for mean, map_ in zip(total, teacher.predict(frames), strict=True):
                scaled = cv2.resize(map_, (width, height), interpolation=cv2.INTER_LINEAR)
                mean += weight * scaled / max(scaled.sum(dtype=np.float64), np.finfo(np.float32).tiny)
        peaks = total.max(axis=(1, 2), keepdims=True)
        return np.asarray(total / np.maximum(peaks, np.finfo(np.float32).tiny))
