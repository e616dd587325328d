"""Device profiles: what a product asks of its device, so that a benchmark is an acceptance test.

name = "Drone, 1080p at 30"
bundle = "uva-32"
backend = "auto"
precision = "int8"
color = "nv12"
size = [1920, 1080]

[floors]
min_fps = 60
max_p99_ms = 20
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from uva_edge.errors import DataError, ManifestError
from uva_edge.preprocess import COLORS
from uva_edge.strict_json import OPTIONAL, Rule, Size, decode
from uva_edge.toml_files import read_toml

from .report import Bound

_FIGURES: Final[dict[str, tuple[str, Bound]]] = {
    "min_fps": ("fps", ">="),
    "max_p50_ms": ("total_p50_ms", "<="),
    "max_p99_ms": ("total_p99_ms", "<="),
    "max_first_frame_ms": ("first_frame_ms", "<="),
    "max_load_ms": ("load_ms", "<="),
    "max_rss_mb": ("rss_mb", "<="),
    "max_joules_per_frame": ("joules_per_frame", "<="),
}

Color = Annotated[str, Rule(f"one of {', '.join(COLORS)}", lambda text: text in COLORS)]


def _positive(value: Any) -> bool:
    return value is None or value > 0


Limit = Annotated[float | int | None, Rule("a number above 0", _positive)]


@dataclass(frozen=True)
class Floors:
    """What is asked; None for nothing. Times are of a frame, from the camera to its peaks, in milliseconds.

    Attributes:
        min_nss: of the labelled footage.
    """

    min_fps: Limit = field(default=None, metadata=OPTIONAL)
    max_p50_ms: Limit = field(default=None, metadata=OPTIONAL)
    max_p99_ms: Limit = field(default=None, metadata=OPTIONAL)
    max_first_frame_ms: Limit = field(default=None, metadata=OPTIONAL)
    max_load_ms: Limit = field(default=None, metadata=OPTIONAL)
    max_rss_mb: Limit = field(default=None, metadata=OPTIONAL)
    max_joules_per_frame: Limit = field(default=None, metadata=OPTIONAL)
    min_nss: Limit = field(default=None, metadata=OPTIONAL)

    def bounds(self) -> dict[str, tuple[Bound, float]]:
        """Those of speed, by figure."""
        asked = {name: getattr(self, name) for name in _FIGURES}
        return {
            _FIGURES[name][0]: (_FIGURES[name][1], float(value))
            for name, value in asked.items()
            if value is not None
        }


@dataclass(frozen=True)
class Profile:
    """A device and what is asked of it; see the module."""

    name: str
    description: str = field(default="", metadata=OPTIONAL)
    bundle: str = field(default="uva-64", metadata=OPTIONAL)
    backend: str = field(default="auto", metadata=OPTIONAL)
    precision: str = field(default="auto", metadata=OPTIONAL)
    threads: Size = field(default=1, metadata=OPTIONAL)
    color: Color = field(default="bgr", metadata=OPTIONAL)
    size: tuple[Size, Size] = field(default=(1920, 1080), metadata=OPTIONAL)
    floors: Floors = field(default=Floors(), metadata=OPTIONAL)


def read_profile(path: Path) -> Profile:
    """The profile in a TOML file.

    Raises:
        DataError: it can't be read, is no TOML, or not a profile; the message names the field.
    """
    values = read_toml(path, "a device profile")
    try:
        profile: Profile = decode(Profile, values)
    except ManifestError as error:
        raise DataError(f"{path}: {error}") from None
    return profile
