"""Backends, their selection, and the classes that users write: `SaliencyPredictor` and `Stream`."""

from .predictor import SaliencyPredictor, Stream

__all__ = ["SaliencyPredictor", "Stream"]
