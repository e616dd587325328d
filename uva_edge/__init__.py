"""Video saliency on the edge: where people would look, per frame, on the best backend of the device.

>>> from uva_edge import SaliencyPredictor
>>> predictor = SaliencyPredictor()
>>> stream = predictor.stream()
>>> saliency = stream.push(frame)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uva_edge import errors
    from uva_edge.bundle import Bundle
    from uva_edge.environment import Environment, probe
    from uva_edge.errors import UvaEdgeError
    from uva_edge.preprocess import network_input
    from uva_edge.runtimes import SaliencyPredictor, Stream, StreamBatch
    from uva_edge.saliency import Peak, Region, Saliency

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Environment",
    "Peak",
    "Region",
    "Saliency",
    "SaliencyPredictor",
    "Stream",
    "StreamBatch",
    "UvaEdgeError",
    "__version__",
    "errors",
    "network_input",
    "probe",
]

_ROOMS = {
    "Bundle": "uva_edge.bundle",
    "Environment": "uva_edge.environment",
    "Peak": "uva_edge.saliency",
    "Region": "uva_edge.saliency",
    "Saliency": "uva_edge.saliency",
    "SaliencyPredictor": "uva_edge.runtimes",
    "Stream": "uva_edge.runtimes",
    "StreamBatch": "uva_edge.runtimes",
    "UvaEdgeError": "uva_edge.errors",
    "network_input": "uva_edge.preprocess",
    "probe": "uva_edge.environment",
}


def __getattr__(name: str) -> Any:
    # Public names are loaded when they are first used, so that the import itself costs next to nothing.
    if name == "errors":
        return import_module("uva_edge.errors")
    if name not in _ROOMS:
        raise AttributeError(f"module 'uva_edge' has no attribute {name!r}")
    value = getattr(import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
