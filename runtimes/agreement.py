"""How far the maps of a backend are from the float32 reference, and how far they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.golden import Golden

from .backend import Maps

LEAST_CC: Final = 0.99
LARGEST_NSS_LOSS: Final = 0.01
"""The gate of INT8 ([DESIGN]): correlation with the float maps, and the share of NSS that may be lost."""

Limits: TypeAlias = dict[str, float]
"""A figure of `Errors` to its bound."""


@dataclass(frozen=True)
class Tolerance:
    """How far from the float32 reference a result may be.

    Attributes:
        max_abs: largest absolute error of a map, and of the state in units of the state's own peak (at least 1).
        min_cc: smallest correlation of a map with the reference map.
        nmse: largest squared error of a map over the squares of the reference map.
        peak_loss: by what share of its peak the reference may be lower where the found map has its own. (The way
            between the two is told and not judged: a peak may jump between two places that are equally salient.)
        drift: by how much the error of the last map may exceed that of the first.
        reason: why that much.
    """

    max_abs: float
    min_cc: float
    nmse: float
    peak_loss: float
    drift: float
    reason: str

    def __str__(self) -> str:
        return f"within {self.max_abs:g} and CC {self.min_cc:g}: {self.reason}"


TOLERANCES: Final[dict[str, Tolerance]] = {
    "fp32": Tolerance(1e-4, 0.99999, 1e-7, 1e-3, 1e-4, "the same arithmetic in another order"),
    "fp16": Tolerance(2e-2, 0.999, 1e-3, 0.05, 2e-2, "eleven bits of mantissa"),
    "bf16": Tolerance(
        1e-1, 0.99, 2e-2, 0.2, 1e-1, "eight bits of mantissa, and the error returns through the state"
    ),
    "int8": Tolerance(
        1.0, 0.99, 5e-2, 0.25, 0.2, "the gate of the export: CC with float32, stills and moving clips alike"
    ),
}
YUV_TOLERANCE: Final = Tolerance(
    0.35, 0.97, 8e-2, 0.3, 0.3, "the network sees the two levels that a colour loses in 8 bits of limited YUV"
)


@dataclass(frozen=True)
class Errors:
    """How far a run was from the reference, over the whole clip.

    Attributes:
        max_abs_map: largest absolute error of all maps.
        max_abs_state: of the last state, in units of its own peak (at least 1).
        nmse: largest squared error of a map over the squares of its reference.
        min_cc: smallest correlation of a map with its reference.
        argmax_shift_px: mean way between the peaks of a map and its reference, in pixels of the map.
        peak_loss: the most that a reference is lower at the found peak than at its own, as a share of its own.
        first_frame, last_frame: largest absolute error of the first and of the last map.
        drift: their difference, what grew through the state.
        per_frame: largest absolute error of each map, in order.
    """

    max_abs_map: float
    max_abs_state: float
    nmse: float
    min_cc: float
    argmax_shift_px: float
    peak_loss: float
    first_frame: float
    last_frame: float
    drift: float
    per_frame: tuple[float, ...]

    def as_parity(self) -> dict[str, float]:
        """What a manifest keeps of them."""
        return {
            "max_abs_map": self.max_abs_map,
            "max_abs_state": self.max_abs_state,
            "min_cc": self.min_cc,
        }

    def figures(self) -> dict[str, float]:
        """All but the series."""
        return {name: value for name, value in vars(self).items() if name != "per_frame"}


def limits(tolerance: Tolerance) -> Limits:
    """The bounds of a tolerance by figure; ``min_cc`` is the only one from below."""
    return {
        "max_abs_map": tolerance.max_abs,
        "max_abs_state": tolerance.max_abs,
        "nmse": tolerance.nmse,
        "min_cc": tolerance.min_cc,
        "peak_loss": tolerance.peak_loss,
        "drift": tolerance.drift,
    }


def compare(
    golden: Golden, maps: Maps, state: NDArray[Any], tolerance: Tolerance
) -> tuple[Errors | None, list[str]]:
    """How far the maps of the whole clip and the last state are from the reference, and what of that is too much.

    There are no errors to give where an engine gave something else than numbers of the right shape.
    """
    if len(maps) == len(golden.frames):
        maps = maps[golden.mapped]
    for name, got, expected in (("maps", maps, golden.maps), ("state", state, golden.state)):
        if (got.dtype, got.shape) != (expected.dtype, expected.shape):
            return None, [f"{name}: expected {expected.dtype} {expected.shape}, got {got.dtype} {got.shape}"]
    if not (np.isfinite(maps).all() and np.isfinite(state).all()):
        return None, ["NaN or infinity in the maps or the state"]
    errors = _errors(golden, maps, state)
    figures = errors.figures()
    problems = []
    for name, bound in limits(tolerance).items():
        value = figures[name]
        if name == "min_cc" and value < bound:
            problems.append(f"CC {value:.5f} < {bound:g}")
        elif name != "min_cc" and value > bound:
            problems.append(f"{name} {value:.2e} > {bound:g}")
    return errors, problems


def worst_frame(errors: Errors) -> int:
    """Index of the map with the largest error, among those that have a reference."""
    return int(np.argmax(errors.per_frame))


def _errors(golden: Golden, maps: Maps, state: NDArray[Any]) -> Errors:
    difference = maps.astype(np.float64) - golden.maps
    per_frame = np.abs(difference).max(axis=(1, 2))
    energy = np.maximum((golden.maps.astype(np.float64) ** 2).sum(axis=(1, 2)), np.finfo(np.float32).tiny)
    reference = golden.state.astype(np.float64)
    scale = max(1.0, float(np.abs(reference).max()))
    found, expected = _peaks(maps), _peaks(golden.maps)
    at_found, highest = (golden.maps[(np.arange(len(maps)), *peak)] for peak in (found, expected))
    return Errors(
        max_abs_map=float(per_frame.max()),
        max_abs_state=float(np.abs(state - reference).max()) / scale,
        nmse=float(((difference**2).sum(axis=(1, 2)) / energy).max()),
        min_cc=float(correlations(maps, golden.maps).min()),
        argmax_shift_px=float(np.hypot(*(found - expected)).mean()),
        peak_loss=float(((highest - at_found) / np.maximum(highest, np.finfo(np.float32).tiny)).max()),
        first_frame=float(per_frame[0]),
        last_frame=float(per_frame[-1]),
        drift=float(per_frame[-1] - per_frame[0]),
        per_frame=tuple(map(float, per_frame)),
    )


def _peaks(maps: Maps) -> NDArray[np.intp]:
    """[2, N]: row and column of the largest value of each map."""
    return np.array(np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[1:]))


def correlations(maps: Maps, reference: Maps) -> NDArray[np.float64]:
    """CC of each map with its reference. A constant map correlates with nothing but another constant: whether
    they are the same one is for max_abs to say."""
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (maps, reference))
    a_flat, b_flat = (values.max(axis=1) == values.min(axis=1) for values in (a, b))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    correlations: NDArray[np.float64] = (a_flat & b_flat).astype(np.float64)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    np.divide((a * b).sum(axis=1), norms, out=correlations, where=~(a_flat | b_flat))
    return correlations
