"""The backends there are, and the order in which `auto` takes them: both are data."""

from __future__ import annotations

from typing import Final

from uva_edge.errors import OptionError

from .backend import Backend
from .cuda import CudaBackend
from .native.backend import NativeBackend
from .onnxruntime import OnnxRuntimeBackend
from .openvino import OpenVinoBackend
from .tensorrt import TensorRtBackend
from .torch import TorchBackend

BACKENDS: Final[dict[str, Backend]] = {
    backend.name: backend
    for backend in (
        TensorRtBackend("tensorrt"),
        TensorRtBackend("tensorrt_rtx"),
        CudaBackend(),
        NativeBackend(),
        OpenVinoBackend(),
        OnnxRuntimeBackend(),
        TorchBackend(),
    )
}

GPU: Final = ("tensorrt", "tensorrt_rtx", "cuda")
"""Before any processor; where there is no GPU, a look at a few files rejects them."""

PRIORITY: Final[dict[str, tuple[str, ...]]] = {
    # By processor class, best first, as measured at one thread and T = 1 (docs/performance.md). torch is the
    # reference: it comes last everywhere.
    "avx512_vnni": (*GPU, "native", "openvino", "onnxruntime", "torch"),
    "avx512": (*GPU, "native", "openvino", "onnxruntime", "torch"),
    "avx2": (*GPU, "native", "onnxruntime", "openvino", "torch"),
    "neon": (*GPU, "onnxruntime", "openvino", "native", "torch"),
    "generic": (*GPU, "onnxruntime", "openvino", "native", "torch"),
}

INT8_FASTER: Final[dict[str, tuple[str, ...]]] = {
    # By processor class, the backends whose INT8 measured faster than any float32. On AVX2 it is ONNX Runtime's, by
    # 15 to 22 % one frame at a time (docs/performance.md); with 8-bit dot products OpenVINO's, 0.33 against 0.36 ms
    # at 32x32 and 0.68 against 0.97 at 64x64, where ONNX Runtime's loses.
    "avx2": ("native", "onnxruntime"),
    "avx512_vnni": ("native", "openvino"),
}


FAMILIES: Final[dict[str, tuple[str, ...]]] = {"native": ("uva-net",)}
"""The networks that a backend knows, where it does not take whatever a graph says."""


def runs_family(name: str, family: str) -> bool:
    """Whether a backend runs networks of a family."""
    return family in FAMILIES.get(name, (family,))


def backend(name: str) -> Backend:
    """The backend of that name; raises OptionError with the names there are."""
    found = BACKENDS.get(name) if isinstance(name, str) else None
    if found is None:
        raise OptionError(f"backend must be one of auto, fastest, {', '.join(BACKENDS)}; got {name!r}")
    return found
