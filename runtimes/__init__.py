"""Backends, their selection, and the classes that users write: `SaliencyPredictor`, `Stream` and `StreamBatch`."""

from .predictor import SaliencyPredictor, Stream
from .stream_batch import StreamBatch

__all__ = ["SaliencyPredictor", "Stream", "StreamBatch"]
