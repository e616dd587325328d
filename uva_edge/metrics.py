"""Scores of saliency maps against human fixations, as Bylinskii et al., TPAMI 2019 define them.

Conventions, the same in every function:

- A *map* or *density* is a real array [height, width] of any scale. Resize a map to the ground truth first
  (`resize_map`), then score: the shapes must be equal.
- *Fixations* are an integer array [N, 2] of (row, column), as `fixation_pixels` makes. One that occurs twice
  counts twice.
- A *size* is (width, height) in pixels, as in OpenCV.
- Every argument that can't be scored raises OptionError: NaN or infinity, no fixations, fixations outside the
  map, unequal shapes, negative values where a distribution is needed. No score is ever NaN.
- A constant map tells nothing and scores as chance: AUC 0.5, NSS 0, CC 0; SIM and KLD take it as uniform,
  also if it is all zero.
"""

from __future__ import annotations

from operator import index
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import OptionError

RealMap: TypeAlias = NDArray[Any]
Fixations: TypeAlias = NDArray[np.integer[Any]]

_KLD_EPSILON: Final = float(np.finfo(np.float64).eps)
_MAX_PIXELS: Final = 1 << 28
_POINTS_AT_ONCE: Final = 4096


# --- scores against fixations ---------------------------------------------------------------------------


def auc_judd(saliency_map: RealMap, fixations: Fixations) -> float:
    """Area under the ROC curve, 0 to 1: fixated pixels against all other pixels.

    The probability that the map is higher at a fixation than at a pixel without any, ties counted half
    (Mann-Whitney), which is the trapezoid area under the ROC of all thresholds. Judd's own code takes
    thresholds at fixations only and breaks ties at random; with few fixations it gives a little more.
    0.5 if every pixel is fixated.
    """
    values = _checked_map("saliency_map", saliency_map)
    rows, columns = _checked_fixations("fixations", fixations, values.shape)
    others = np.ones(values.shape, bool)
    others[rows, columns] = False
    return _mann_whitney(values[rows, columns], values[others])


def auc_shuffled(saliency_map: RealMap, fixations: Fixations, other_fixations: Fixations) -> float:
    """Shuffled AUC, 0 to 1: fixated pixels against pixels fixated in other images, ties counted half.

    A map of nothing but the centre bias scores about 0.5. All of `other_fixations` (of other images or
    videos, in pixels of this one, repeats and all) are negatives: the score is deterministic, and what the
    usual code estimates from random samples of them.
    """
    values = _checked_map("saliency_map", saliency_map)
    positives = values[_checked_fixations("fixations", fixations, values.shape)]
    negatives = values[_checked_fixations("other_fixations", other_fixations, values.shape)]
    return _mann_whitney(positives, negatives)


def nss(saliency_map: RealMap, fixations: Fixations) -> float:
    """Normalised scanpath saliency: mean at the fixations of the map scaled to mean 0 and deviation 1.

    Chance is 0. The deviation is that of all pixels (divided by their number). 0 for a constant map.
    """
    values = _checked_map("saliency_map", saliency_map)
    at_fixations = _checked_fixations("fixations", fixations, values.shape)
    centred = _centred(values)
    deviation = np.sqrt(np.mean(centred**2))
    return float(centred[at_fixations].mean() / deviation) if deviation else 0.0


# --- scores against a density ---------------------------------------------------------------------------


def cc(saliency_map: RealMap, density: RealMap) -> float:
    """Pearson's correlation of the two maps over the pixels, -1 to 1; 0 if either is constant."""
    values, truth = _checked_pair(saliency_map, density)
    a, b = _centred(values), _centred(truth)
    norm = np.sqrt(np.sum(a**2)) * np.sqrt(np.sum(b**2))
    return float(np.clip(np.sum(a * b) / norm, -1, 1)) if norm else 0.0


def sim(saliency_map: RealMap, density: RealMap) -> float:
    """Similarity, 0 (disjoint) to 1 (equal): the sum of minima of the two, each scaled to the sum 1."""
    predicted, truth = _checked_distributions(saliency_map, density)
    return float(np.minimum(predicted, truth).sum())


def kld(saliency_map: RealMap, density: RealMap) -> float:
    """Kullback-Leibler divergence of the map P from the density Q in nats, 0 (equal) upwards.

    ``sum(Q log(eps + Q / (P + eps)))`` with both scaled to the sum 1 and eps = 2**-52.
    """
    predicted, truth = _checked_distributions(saliency_map, density)
    terms = truth * np.log(_KLD_EPSILON + truth / (predicted + _KLD_EPSILON))
    return max(0.0, float(terms.sum()))


# --- ground truth from fixations ------------------------------------------------------------------------


def fixation_pixels(points: NDArray[Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """The pixels that fixations fall on: int64 [N, 2] of (row, column), for `fixations` arguments.

    Args:
        points: real [N, 2] of (x, y), in parts of the width and of the height, 0 to 1; what lies outside the
            picture is moved to its border.
        size: (width, height) of the picture in pixels.
    """
    width, height = _checked_size(size)
    pixels = (_checked_points(points) * (width, height)).astype(np.int64)
    return np.minimum(pixels, (width - 1, height - 1))[:, ::-1]


def fixation_density(
    points: NDArray[Any], size: tuple[int, int], sigma: float = 0.035
) -> NDArray[np.float32]:
    """The density that fixations are samples of: float32 [height, width], sum 1.

    Each fixation adds a round Gaussian of the same mass, computed at its exact place, not at its pixel's, and
    without truncation; what would fall outside the picture is shared out over its inside.

    Args:
        points: real [N, 2] of (x, y), in parts of the width and of the height, 0 to 1, N at least 1; what
            lies outside the picture is moved to its border.
        size: (width, height) of the density in pixels.
        sigma: standard deviation in parts of the width, above 0; 0.035 is about one degree of visual angle in
            common data sets.
    """
    width, height = _checked_size(size)
    centres = _checked_points(points)
    if not len(centres):
        raise OptionError("points must hold at least one fixation, got none")
    if not 0 < sigma < np.inf:
        raise OptionError(f"sigma must be above 0 (in parts of the width), got {sigma!r}")
    total: NDArray[np.float64] = np.zeros((height, width))
    for start in range(0, len(centres), _POINTS_AT_ONCE):
        x, y = centres[start : start + _POINTS_AT_ONCE].T
        total += _bells(y, height, sigma * width / height).T @ _bells(x, width, sigma)
    total /= total.sum()
    return total.astype(np.float32)


def resize_map(saliency_map: RealMap, size: tuple[int, int]) -> NDArray[np.float32]:
    """A map at another size (width, height): float32 [height, width], a new array.

    Bilinear with aligned pixel centres. Values stay between the map's, so a constant map stays constant.
    """
    import cv2

    width, height = _checked_size(size)
    with np.errstate(over="ignore"):
        values = _checked_map("saliency_map", saliency_map).astype(np.float32)
    if not np.isfinite(values).all():
        raise OptionError("saliency_map must have values that fit in float32, got larger ones; scale it down")
    out = np.empty((height, width), np.float32)
    cv2.resize(values, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
    return np.clip(out, values.min(), values.max(), out=out)


# --- arithmetic -----------------------------------------------------------------------------------------


def _mann_whitney(positives: RealMap, negatives: RealMap) -> float:
    if not negatives.size:
        return 0.5
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(ordered, positives, side="right").sum(dtype=np.int64)
    return float((below + not_above) / (2 * positives.size * negatives.size))


def _centred(values: RealMap) -> NDArray[np.float64]:
    """Shifted to the mean 0 and scaled to the range 1 (no overflow, whatever the scale); constant: zeros."""
    if values.min() == values.max():
        return np.zeros(values.shape)
    scaled = values.astype(np.float64)
    scaled /= np.abs(scaled).max()
    scaled -= scaled.min()
    scaled /= scaled.max()
    scaled -= scaled.mean()
    return scaled


def _distribution(values: RealMap) -> NDArray[np.float64]:
    """Scaled to the sum 1; all zero: uniform."""
    if not values.any():
        return np.full(values.shape, 1 / values.size)
    scaled = values.astype(np.float64)
    scaled /= scaled.max()  # first, so that the sum can't overflow
    scaled /= scaled.sum()
    return scaled


def _bells(centres: NDArray[np.float64], pixels: int, sigma: float) -> NDArray[np.float64]:
    """Gaussians at pixel centres, [N, pixels], each of sum 1; centres and sigma in parts of the length."""
    places = (np.arange(pixels) + 0.5) / pixels
    # A bell much narrower than a pixel neither overflows nor vanishes: it is its nearest pixel.
    exponents = -0.5 * ((places - centres[:, None]) / max(sigma, 1e-3 / pixels)) ** 2
    exponents -= exponents.max(axis=1, keepdims=True)
    bells: NDArray[np.float64] = np.exp(exponents)
    bells /= bells.sum(axis=1, keepdims=True)
    return bells


# --- checking what came ---------------------------------------------------------------------------------


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def _checked_map(name: str, value: object) -> RealMap:
    if (
        not isinstance(value, np.ndarray)
        or value.ndim != 2
        or not value.size
        or value.dtype.kind not in "fiub"
    ):
        raise OptionError(f"{name} must be a real numpy array [height, width], got {_describe(value)}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise OptionError(f"{name} must be finite, got NaN or infinity in {_describe(value)}")
    return value


def _checked_pair(saliency_map: object, density: object) -> tuple[RealMap, RealMap]:
    values, truth = _checked_map("saliency_map", saliency_map), _checked_map("density", density)
    if values.shape != truth.shape:
        raise OptionError(
            "saliency_map and density must have the same shape (see resize_map), "
            f"got {values.shape} and {truth.shape}"
        )
    return values, truth


def _checked_distributions(
    saliency_map: object, density: object
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, truth = _checked_pair(saliency_map, density)
    for name, array in (("saliency_map", values), ("density", truth)):
        if array.min() < 0:
            raise OptionError(
                f"{name} must not be negative where a distribution is needed, got {array.min():g}"
            )
    if not truth.max() > 0:
        raise OptionError("density must have some mass, got all zeros")
    return _distribution(values), _distribution(truth)


def _checked_fixations(name: str, value: object, shape: tuple[int, ...]) -> tuple[Fixations, Fixations]:
    expected = f"{name} must be an integer numpy array [N, 2] of (row, column)"
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.shape[1] != 2:
        raise OptionError(f"{expected}, got {_describe(value)}")
    if value.dtype.kind not in "iu":
        raise OptionError(f"{expected}, got {_describe(value)}; see fixation_pixels")
    if not len(value):
        raise OptionError(f"{expected} with at least one row, got none")
    outside = np.flatnonzero(((value < 0) | (value >= shape)).any(axis=1))
    if len(outside):
        row, column = value[outside[0]].tolist()
        raise OptionError(f"{expected} inside the map {shape}, got ({row}, {column}) at index {outside[0]}")
    return value[:, 0], value[:, 1]


def _checked_points(value: object) -> NDArray[np.float64]:
    expected = "points must be a real numpy array [N, 2] of (x, y) in 0 to 1"
    if (
        not isinstance(value, np.ndarray)
        or value.ndim != 2
        or value.shape[1] != 2
        or value.dtype.kind not in "fiu"
    ):
        raise OptionError(f"{expected}, got {_describe(value)}")
    if not np.isfinite(value).all():
        raise OptionError(f"{expected}, got NaN or infinity")
    return value.astype(np.float64).clip(0, 1)


def _checked_size(value: object) -> tuple[int, int]:
    expected = f"size must be (width, height) in whole pixels, at least 1 each and {_MAX_PIXELS} in all"
    try:
        width, height = (index(side) for side in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise OptionError(f"{expected}, got {value!r}") from None
    if width < 1 or height < 1 or width * height > _MAX_PIXELS:
        raise OptionError(f"{expected}, got {value!r}")
    return width, height
