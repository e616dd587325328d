"""Self-resemblance ([SM] Seo & Milanfar, "Static and space-time visual saliency detection by self-resemblance",
Journal of Vision 9(12):15, 2009), the static form: a place is salient when its local structure is unlike that
of its surround.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .frame import Image, Map, shrunk, still_baseline

_SIDE: Final = 64
_KERNEL: Final = 1
"""Radius of a kernel: 3x3 pixels; of the gradients that steer it, too."""
_MATRIX: Final = 3
"""Radius of a feature matrix: 7x7 kernels."""
_SURROUND: Final = 1
"""Radius of centre and surround: 3x3 feature matrices."""
_BANDWIDTH: Final = 0.2
"""h of the kernels."""
_FALL_OFF: Final = 0.07
"""sigma of the self-resemblance."""
_SENSITIVITY: Final = 0.42
"""alpha: how much the strength of the gradients counts beside their direction."""


@still_baseline
def self_resemblance(image: Image) -> Map:
    """``1 / sum_j exp((rho(F_i, F_j) - 1) / sigma^2)`` over the pixels j around each pixel i, at 64x64.

    F_i holds the local steering kernels around i of L*, a* and b*; rho is their matrix cosine similarity, the
    cosine of the angle between the two as vectors. Sizes and constants are those of the authors' demonstration.
    """
    kernels = _mirrored(_steering_kernels(_lab(image)), _SURROUND + _MATRIX)
    # Summing products of kernels over a window gives the inner product of feature matrices.
    norms = np.sqrt(_window_sum(np.square(kernels).sum(axis=-1), _MATRIX))
    reach = _SIDE + 2 * _MATRIX
    centres = slice(_SURROUND, _SURROUND + reach)
    inside = slice(_MATRIX, _MATRIX + _SIDE)
    total = np.zeros((_SIDE, _SIDE), np.float32)
    for row, column in product(range(2 * _SURROUND + 1), repeat=2):
        others = slice(row, row + reach), slice(column, column + reach)
        inner = _window_sum(np.einsum("hwk,hwk->hw", kernels[centres, centres], kernels[others]), _MATRIX)
        cosine = inner / (norms[centres, centres] * norms[others])
        total += np.exp((cosine[inside, inside] - 1) / _FALL_OFF**2)
    return np.reciprocal(total)


def _lab(image: Image) -> NDArray[np.float32]:
    """CIE L*a*b*, [side, side, 3], each plane stretched to 0..1."""
    lab = cv2.cvtColor(shrunk(image, _SIDE), cv2.COLOR_BGR2Lab)
    low, high = lab.min(axis=(0, 1)), lab.max(axis=(0, 1))
    return np.asarray((lab - low) / np.where(high > low, high - low, 1), np.float32)


def _steering_kernels(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The kernels of each pixel and plane: [h, w, planes * 9], 1 at their centres.

    ``exp(-d' C d / (2 h^2))`` at the offset d, with the covariance C of the pixel there. [SM] has the factor
    ``sqrt(det C)`` too; the authors' demonstration leaves it out, for in even areas it is nothing but noise.
    """
    covariances = [_mirrored(value, _KERNEL) for value in _covariances(planes)]
    height, width = planes.shape[:2]
    values = []
    for dy, dx in product(range(-_KERNEL, _KERNEL + 1), repeat=2):
        top, left = _KERNEL + dy, _KERNEL + dx
        xx, xy, yy = (value[top : top + height, left : left + width] for value in covariances)
        values.append(np.exp(-(xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy) / (2 * _BANDWIDTH**2)))
    return np.stack(values, axis=-1).reshape(height, width, -1)


def _covariances(planes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """The regularised covariance of the gradients of 3x3 pixels: its xx, xy and yy, each [h, w, planes].

    With the singular values s1 >= s2 of the gradients and their directions v1, v2 it is ``gamma (a v1 v1' +
    v2 v2' / a)``, where ``a = (s1 + 1) / (s2 + 1)`` and ``gamma = ((s1 s2 + 1e-7) / 9)^alpha``.
    """
    gy, gx = np.gradient(planes, axis=(0, 1))
    xx, xy, yy = (_window_sum(value, _KERNEL) for value in (gx * gx, gx * gy, gy * gy))
    mean, cosine, sine = (xx + yy) / 2, (xx - yy) / 2, xy
    half = np.hypot(cosine, sine)
    s1, s2 = np.sqrt(mean + half), np.sqrt(np.maximum(mean - half, 0))
    stretch = (s1 + 1) / (s2 + 1)
    gamma = ((s1 * s2 + 1e-7) / 9) ** _SENSITIVITY
    # v1 v1' and v2 v2' are (1 + R) / 2 and (1 - R) / 2, with the reflection R at the direction v1.
    even = gamma * (stretch + 1 / stretch) / 2
    odd = gamma * (stretch - 1 / stretch) / 2 / np.where(half > 0, half, 1)
    return even + odd * cosine, odd * sine, even - odd * cosine


def _mirrored(values: NDArray[np.float32], border: int) -> NDArray[np.float32]:
    return np.pad(values, ((border, border), (border, border), (0, 0)), mode="symmetric")


def _window_sum(values: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    size = (2 * radius + 1, 2 * radius + 1)
    summed = cv2.boxFilter(values, -1, size, normalize=False, borderType=cv2.BORDER_REFLECT)
    return np.asarray(summed, np.float32)
