"""What a figure of a report is called, how it is written, and what it means."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .report import Bound

Style: TypeAlias = Literal["error", "score", "time", "rate", "plain"]


@dataclass(frozen=True)
class Figure:
    """A kind of figure: its short `name` for tables, what it means in a sentence."""

    name: str
    meaning: str
    style: Style
    unit: str = ""


_KNOWN: Final = {
    "max_abs_map": Figure("map error", "largest absolute error of a map of the clip", "error"),
    "max_abs_state": Figure(
        "state error",
        "largest absolute error of the last state, in units of the state's own peak",
        "error",
    ),
    "nmse": Figure(
        "NMSE", "squared error of a map over the squares of its reference, where it is largest", "error"
    ),
    "min_cc": Figure(
        "smallest CC",
        "correlation with the reference map, of the frame where it is smallest; 1 is equal in shape",
        "score",
    ),
    "argmax_shift_px": Figure(
        "peak shift", "mean way between the peaks of a map and of its reference, in cells", "plain", "px"
    ),
    "peak_loss": Figure(
        "peak loss",
        "by what share of its peak the reference is lower where the backend's map has its own, at most",
        "error",
    ),
    "first_frame": Figure("first error", "map error of the first frame of the clip", "error"),
    "last_frame": Figure(
        "last error",
        "map error of the last one: larger than the first frame's where errors grow through the state",
        "error",
    ),
    "drift": Figure("drift", "error of the last frame less that of the first", "error"),
    "nss": Figure(
        "NSS",
        "saliency where people looked, in standard deviations of the map; 0 is chance",
        "score",
    ),
    "cc": Figure("CC", "correlation with the map of where people looked; 1 is equal", "score"),
    "auc": Figure(
        "AUC",
        "how surely a place that was looked at is more salient than one that was not; 0.5 is chance, 1 is always",
        "score",
    ),
    "sauc": Figure("sAUC", "AUC against places looked at in other frames", "score"),
    "sim": Figure("SIM", "what the map and that of where people looked have in common; 1 is equal", "score"),
    "kld": Figure("KLD", "divergence from the map of where people looked; 0 is equal", "score"),
    "fps": Figure("FPS", "frames per second, from camera frame to peaks, one after the other", "rate"),
    "load_ms": Figure("load", "time to open the artifact", "time", "ms"),
    "first_frame_ms": Figure("first frame", "time of the first frame after that", "time", "ms"),
    "rss_mb": Figure("memory", "most memory that the process had", "plain", "MB"),
    "joules_per_frame": Figure("energy", "energy of a frame, as the machine counts it", "plain", "J"),
}
_STAGES: Final = {
    "input": "from camera frame to network input",
    "session": "the engine: from network input to map",
    "result": "from map to peaks",
    "total": "all of a frame: camera frame in, peaks out",
}
_UNITS: Final[dict[str, tuple[Style, str]]] = {
    "ms": ("time", "ms"),
    "mb": ("plain", "MB"),
    "px": ("plain", "px"),
}

PERCENTILE: Final = re.compile(r"(?P<stage>.+)_(?P<percentile>p\d+)_ms")
REFERENCE: Final = "_reference"
"""Ends the name of a figure that another is to be seen against: ``nss_reference``."""


def describe(name: str) -> Figure:
    """The kind of the figure of this name; one that is not known keeps its name, and its unit where the name ends
    with one."""
    if name in _KNOWN:
        return _KNOWN[name]
    if name.endswith(REFERENCE):
        return describe(name.removesuffix(REFERENCE))
    found = PERCENTILE.fullmatch(name)
    if found:
        stage = found["stage"]
        return Figure(f"{stage} {found['percentile']}", _STAGES.get(stage, ""), "time", "ms")
    stem, _, end = name.rpartition("_")
    if stem and end in _UNITS:
        return Figure(stem.replace("_", " "), _STAGES.get(stem, ""), *_UNITS[end])
    return Figure(name.replace("_", " "), "", "plain")


def order(name: str) -> tuple[int, int, str]:
    """To sort figures as a reader expects them: what is known in the order of this module, percentiles by their stage,
    and then the rest."""
    known, stages = list(_KNOWN), list(_STAGES)
    stem = name.removesuffix(REFERENCE)
    if stem in _KNOWN:
        return 0, known.index(stem), name
    percentile = PERCENTILE.fullmatch(name)
    if percentile:
        stage = percentile["stage"]
        return 1, stages.index(stage) if stage in _STAGES else len(stages), name
    return 2, 0, name


def show(name: str, value: float) -> str:
    """A figure's value, without its unit."""
    if not math.isfinite(value):
        return str(value)
    style = describe(name).style
    if style == "error":
        return f"{value:.1e}" if 0 < abs(value) < 1e-3 else short(value)
    if style == "score":
        return f"{value:.6f}" if name == "min_cc" else f"{value:.4f}"
    if style == "rate" and abs(value) >= 100:
        return f"{value:,.0f}"
    return short(value)


def short(value: float) -> str:
    """Three digits, and all of them before the point: 0.0123, 4.56, 1234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.2e}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def show_with_unit(name: str, value: float) -> str:
    unit = describe(name).unit
    return f"{show(name, value)} {unit}".rstrip()


def show_limit(limit: tuple[Bound, float]) -> str:
    bound, value = limit
    return f"{'≤' if bound == '<=' else '≥'} {value:g}"


def within(value: float, limit: tuple[Bound, float]) -> bool:
    """False for NaN."""
    bound, edge = limit
    return value <= edge if bound == "<=" else value >= edge


def stage_meaning(stage: str) -> str:
    """What is timed, or nothing where that is not known."""
    return _STAGES.get(stage, "")
