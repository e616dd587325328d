"""OpenVINO on the CPU."""

from __future__ import annotations

import queue
from functools import lru_cache
from typing import Any, Final

import numpy as np

from uva_edge import environment
from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.errors import SessionError
from uva_edge.manifest import Artifact

from .backend import Frames, Maps, SessionInfo, SessionOptions, State, closed

# Without the hint OpenVINO computes in bf16 where the processor has it, and its error grows through the state.
_HINTS: Final = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
_PRECISIONS: Final = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


@lru_cache(maxsize=1)
def _core() -> Any:
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
    """A compiled model, with one request for each thread that runs at the same time."""

    def __init__(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> None:
        data = [bundle.read(file) for file in artifact.files]
        config: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": options.threads,
            "INFERENCE_PRECISION_HINT": _HINTS[artifact.precision],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        core = _core()
        self._compiled: Any = None
        try:
            model = core.read_model(data[0], data[1] if len(data) > 1 else b"")
            self._compiled = core.compile_model(model, "CPU", config)
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds for every refusal
            raise SessionError(f"openvino can't load {artifact.name} of {bundle.name}: {error}") from error
        contract = bundle.manifest.contract
        self._inputs = (contract.frames.name, contract.state_in.name)
        self._outputs = (contract.maps.name, contract.state_out.name)
        self._requests: queue.LifoQueue[Any] = queue.LifoQueue()  # a request holds the buffers of one run
        floats = self._property("INFERENCE_PRECISION_HINT")
        self.info = SessionInfo(
            backend=OpenVinoBackend.name,
            engine=f"openvino {environment.installed('openvino').version}",
            artifact=artifact.name,
            device=self._property("EXECUTION_DEVICES"),
            precision="int8" if artifact.precision == "int8" else _PRECISIONS.get(floats, floats),
            threads=int(self._property("INFERENCE_NUM_THREADS")),
            details={"float_precision": floats, "streams": self._property("NUM_STREAMS")},
        )

    def _property(self, name: str) -> str:
        value = self._compiled.get_property(name)
        if isinstance(value, (list, tuple)):
            return ",".join(map(str, value))
        return str(value.get_type_name() if hasattr(value, "get_type_name") else value)

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        compiled, requests = self._compiled, self._requests
        if compiled is None:
            raise closed(self.info)
        try:
            request = requests.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        try:
            request.infer(dict(zip(self._inputs, (frames, state), strict=True)), share_inputs=True)
            maps, state_out = (np.array(request.get_tensor(name).data) for name in self._outputs)
        except Exception as error:  # as above
            raise SessionError(f"openvino failed on {self.info.artifact}: {error}") from error
        requests.put(request)
        return maps, state_out

    def close(self) -> None:
        self._compiled = None
        self._requests = queue.LifoQueue()
