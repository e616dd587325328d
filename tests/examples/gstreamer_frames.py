"""Frames for the appsrc of a GStreamer pipeline, in memory as cameras and decoders lay them out, and their saliency."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uva_edge import Saliency, SaliencyPredictor, network_input

U8 = NDArray[np.uint8]


def planes_of(rng: np.random.Generator, form: str, height: int, width: int) -> list[U8]:
    """A frame with a bright spot somewhere, in planes."""
    half = ((height + 1) // 2, (width + 1) // 2)
    shapes = {"NV12": [(height, width), (*half, 2)], "I420": [(height, width), half, half]}
    planes = []
    for shape in shapes.get(form, [(height, width, 3)]):
        plane = rng.integers(0, 90, shape, dtype=np.uint8)
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        plane[top : top + shape[0] // 3 + 1, left : left + shape[1] // 3 + 1] += np.uint8(150)
        planes.append(plane)
    return planes


def appsrc_frame(
    rng: np.random.Generator, form: str, planes: Sequence[U8], pts: int | None, *, padded: bool, **more: Any
) -> dict[str, Any]:
    """For gstreamer_run.py: in memory as the caps have it, or each plane with rows of its own length and a gap."""
    data, offsets, strides = b"", [], []
    for plane in planes:
        row = plane.shape[1] * (plane.shape[2] if plane.ndim == 3 else 1)
        stride = row + int(rng.integers(1, 40)) if padded else (row + 3) // 4 * 4
        rows = rng.integers(0, 256, (plane.shape[0], stride), dtype=np.uint8)
        rows[:, :row] = plane.reshape(plane.shape[0], row)
        if not padded and form in ("NV12", "I420") and not data and plane.shape[0] % 2:
            rows = np.vstack((rows, rows[-1:]))  # luma has an even number of rows
        data += rng.bytes(7) if padded else b""
        offsets.append(len(data))
        strides.append(stride)
        data += rows.tobytes()
    height, width = planes[0].shape[:2]
    caps = f"video/x-raw,format={form},width={width},height={height},framerate=25/1"
    layout = {"offsets": offsets, "strides": strides} if padded else {}
    return {"data": base64.b64encode(data).decode(), "caps": caps, "pts": pts, **layout, **more}


def predicted(frames: Sequence[tuple[str, list[U8]]]) -> list[Saliency]:
    """Of one stream over frames of different formats, the network's inputs being the same for all."""
    found = []
    with SaliencyPredictor("uva-32", backend="onnxruntime", precision="fp32") as predictor:
        stream = predictor.stream(color="rgb")
        for form, planes in frames:
            frame = planes if len(planes) > 1 else planes[0]
            pixels = network_input(frame, 32, color=form.lower())  # type: ignore[arg-type]
            height, width = planes[0].shape[:2]
            found.append(Saliency(stream.push(pixels).map, (width, height)))
    return found
