"""OpenVINO on the CPU."""

from __future__ import annotations

import queue
import threading
from functools import lru_cache
from typing import Any, Final

import numpy as np

from uva_edge import environment
from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.errors import ClosedError, SessionError
from uva_edge.manifest import Artifact, Contract

from .backend import Frames, Maps, SessionInfo, SessionOptions, State, closed

# Without the hint OpenVINO computes in bf16 where the processor has it, and its error grows through the state.
_HINTS: Final = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
_PRECISIONS: Final = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


@lru_cache(maxsize=1)
def openvino_core() -> Any:
    """The one core of this process, never freed.

    Its CPU plugin gives the thread that loads it a signal stack, and unmaps that when the last of its objects
    goes. Where this happens in another thread, the first one keeps a stack that is no more, and the next
    Ctrl-C is a segmentation fault.
    """
    import openvino

    return openvino.Core()


class OpenVinoBackend:
    """Loads OpenVINO IR, or ONNX where the bundle has no IR."""

    name = "openvino"
    formats = ("openvino", "onnx")

    def installed(self) -> Availability:
        return environment.installed(self.name)

    def probe(self) -> Availability:
        return environment.probe_engine(self.name)

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> OpenVinoSession:
        return OpenVinoSession(bundle, artifact, options)


class OpenVinoSession:
    """A model, compiled for any number of frames; an IR for one frame as well, which is a quarter faster."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> None:
        data = [bundle.read(file) for file in artifact.files]
        self._config: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": options.threads,
            "INFERENCE_PRECISION_HINT": _HINTS[artifact.precision],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        self._contract = bundle.manifest.contract
        self._has_single = artifact.format == "openvino" and artifact.frames is None
        self._lock = threading.Lock()
        self._steps: dict[int | None, _Step] = {}
        self._model: Any = None
        try:
            self._model = openvino_core().read_model(data[0], data[1] if len(data) > 1 else b"")
            compiled = self._step(1).compiled
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds for every refusal
            raise SessionError(f"openvino can't load {artifact.name} of {bundle.name}: {error}") from error
        floats = _property(compiled, "INFERENCE_PRECISION_HINT")
        self.info = SessionInfo(
            backend=OpenVinoBackend.name,
            engine=f"openvino {environment.installed('openvino').version}",
            artifact=artifact.name,
            device=_property(compiled, "EXECUTION_DEVICES"),
            precision="int8" if artifact.precision == "int8" else _PRECISIONS.get(floats, floats),
            threads=int(_property(compiled, "INFERENCE_NUM_THREADS")),
            details={"float_precision": floats, "streams": _property(compiled, "NUM_STREAMS")},
        )

    def _step(self, frames: int) -> _Step:
        """What computes that many frames, of as many streams as they may be; compiled when it is first asked for."""
        length = 1 if frames == 1 and self._has_single else None
        with self._lock:
            step, model = self._steps.get(length), self._model
            if step is not None:
                return step
            if model is None:
                raise closed(self.info)
            if length:
                model = model.clone()
                contract = self._contract
                model.reshape(
                    {
                        contract.frames.name: [length, *contract.grid, 3],
                        contract.state_in.name: contract.state_shape,
                    }
                )
            step = _Step(openvino_core().compile_model(model, "CPU", self._config), self._contract)
            self._steps[length] = step
            return step

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        try:
            return self._step(len(frames)).run(frames, state)
        except ClosedError:
            raise
        except Exception as error:  # as above
            raise SessionError(f"openvino failed on {self.info.artifact}: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._model = None
            self._steps.clear()


class _Step:
    """A compiled model, with one request for each thread that runs at the same time."""

    def __init__(self, compiled: Any, contract: Contract) -> None:
        self.compiled = compiled
        self._inputs = (contract.frames.name, contract.state_in.name)
        self._outputs = (contract.maps.name, contract.state_out.name)
        self._requests: queue.LifoQueue[Any] = queue.LifoQueue()  # a request holds the buffers of one run

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self.compiled.create_infer_request()
        request.infer(dict(zip(self._inputs, (frames, state), strict=True)), share_inputs=True)
        maps, state_out = (np.array(request.get_tensor(name).data) for name in self._outputs)
        self._requests.put(request)
        return maps, state_out


def _property(compiled: Any, name: str) -> str:
    value = compiled.get_property(name)
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value.get_type_name() if hasattr(value, "get_type_name") else value)
