"""ONNX Runtime on a GPU, by its CUDA provider.

ONNX Runtime takes the CPU without an error where its CUDA provider can't be loaded. So the probe runs a model of one
operator and reads back where it is, and so does every session.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, Final

import numpy as np

from uva_edge.bundle import Bundle
from uva_edge.environment import CUDA_BINDINGS, ONE_ONNXRUNTIME, Availability, Package
from uva_edge.errors import SessionError
from uva_edge.manifest import Artifact

from .backend import SessionInfo, SessionOptions
from .cuda_memory import Stream
from .gpu_session import Addresses, Extent, LaneSession, Shape
from .machine import THIS_MACHINE, Machine

_PROVIDER: Final = "CUDAExecutionProvider"
ONE_OP: Final = base64.b64decode(
    "CAg6NQoOCgF4CgF4EgF5IgNBZGQSAWdaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAS"
)
"""An ONNX model that adds a float to itself."""

PACKAGE: Final = Package(
    "onnxruntime",
    ("onnxruntime-gpu", "onnxruntime"),
    "cuda",
    needs=(CUDA_BINDINGS,),
    afterwards=ONE_ONNXRUNTIME,
)
_LIBRARIES: Final = "pip install 'onnxruntime-gpu[cuda,cudnn]', which brings CUDA's libraries and cuDNN"


class CudaBackend:
    """Loads ONNX artifacts with the CUDA execution provider."""

    name = "cuda"
    formats = ("onnx",)

    def __init__(self, machine: Machine = THIS_MACHINE) -> None:
        self._machine = machine

    def installed(self) -> Availability:
        return self._machine.quick_look(PACKAGE)

    def probe(self) -> Availability:
        found = self._machine.usable(PACKAGE)
        if not found.ok:
            return found
        onnxruntime = self._machine.module(PACKAGE)
        name = f"onnxruntime {onnxruntime.__version__}"
        if _PROVIDER not in onnxruntime.get_available_providers():
            if found.reason:  # of two that are installed over each other, the one for the CPU came last
                return Availability(
                    "broken", found.version, f"{name} has no CUDA provider: {found.reason}", ONE_ONNXRUNTIME
                )
            return Availability("missing", found.version, f"{name} was built for the CPU alone", PACKAGE.fix)
        fits = self._machine.cuda_fits(name, found.version, _made_for(onnxruntime))
        if not fits.ok:
            return fits
        absent = _load_libraries(onnxruntime)
        try:
            session = onnxruntime.InferenceSession(ONE_OP, _options(onnxruntime), providers=[_PROVIDER])
            providers = session.get_providers()
        except Exception as error:  # ONNX Runtime raises plain exceptions of its own for every refusal
            return Availability(
                "broken", found.version, f"onnxruntime does not start on CUDA: {error}", _LIBRARIES
            )
        if providers[0] != _PROVIDER:
            why = (
                f"these libraries can't be loaded: {', '.join(absent)}"
                if absent
                else "its words are on stderr"
            )
            return Availability(
                "broken", found.version, f"onnxruntime takes the CPU instead of CUDA: {why}", _LIBRARIES
            )
        return found

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> LaneSession:
        onnxruntime = self._machine.module(PACKAGE)
        _load_libraries(onnxruntime)
        device = self._machine.device()
        device.activate()
        model = _Model(onnxruntime, bundle, artifact)
        info = SessionInfo(
            backend=self.name,
            engine=f"onnxruntime {onnxruntime.__version__}",
            artifact=artifact.name,
            device=", ".join(map(str, self._machine.gpus().gpus[:1])) or "CUDA",
            precision=artifact.precision,
            threads=1,
            # TensorFloat-32 keeps ten bits of mantissa: float32 would miss its tolerance.
            details={"tf32": "off"},
        )
        contract = bundle.manifest.contract
        state, open_ended = contract.state_shape, artifact.frames is None
        return LaneSession(
            info,
            device,
            lambda stream: _Program(model, stream),
            contract,
            Extent((artifact.frames or 1, *contract.grid, 3), (artifact.frames, *contract.grid, 3)),
            # Of how many streams is the graph's to say: ONNX Runtime refuses what it does not take.
            Extent(state, (None if open_ended else state[0], *state[1:])),
        )


def _made_for(onnxruntime: Any) -> int | None:
    """The CUDA major version that this build is for, where it tells."""
    version = getattr(onnxruntime, "cuda_version", None)
    return int(str(version).split(".")[0]) if version and str(version)[0].isdigit() else None


def _load_libraries(onnxruntime: Any) -> list[str]:
    """Loads CUDA's libraries from where pip puts them; gives the names of those that could not be.

    ONNX Runtime prints what it misses, and tells it nobody else.
    """
    if not hasattr(onnxruntime, "preload_dlls"):
        return []
    printed = io.StringIO()
    with redirect_stdout(printed):
        onnxruntime.preload_dlls()
    return re.findall(r"^Failed to load (\S+?):", printed.getvalue(), re.MULTILINE)


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    # Both pools are set: an unset one takes every core.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class _Model:
    """An artifact, of which each lane makes a session: a session has one stream."""

    def __init__(self, onnxruntime: Any, bundle: Bundle, artifact: Artifact) -> None:
        self.onnxruntime, self.contract = onnxruntime, bundle.manifest.contract
        self.fixed = artifact.frames is not None
        self._data = bundle.read(artifact.files[0])
        self._who = f"{artifact.name} of {bundle.name}"

    def start(self, stream: Stream, *, graphed: bool) -> Any:
        """A session that runs on CUDA."""
        provider = {
            "device_id": str(stream.device.number),
            "user_compute_stream": str(int(stream.handle)),
            "use_tf32": "0",
            "enable_cuda_graph": str(int(graphed)),
        }
        try:
            session = self.onnxruntime.InferenceSession(
                self._data, _options(self.onnxruntime), providers=[(_PROVIDER, provider)]
            )
        except Exception as error:  # as above
            raise SessionError(f"onnxruntime can't load {self._who} on CUDA: {error}") from error
        providers = session.get_providers()
        if providers[0] != _PROVIDER:
            raise SessionError(
                f"onnxruntime put {self._who} on {providers[0]} instead of CUDA; `uva-edge doctor` says why"
            )
        return session


class _Program:
    """An inference session on one stream. ONNX Runtime captures steps of a fixed shape as a CUDA graph by itself, in a
    session that no other thread may run."""

    def __init__(self, model: _Model, stream: Stream) -> None:
        self._model, self._stream = model, stream
        self._session: Any = None
        self._binding: Any = None
        self._bound_to: tuple[Shape, Shape, Addresses] | None = None
        self._tried = self.bound = False
        self._without_graph = "none, T is open"
        if model.fixed:
            try:
                self._session, self.bound, self._without_graph = model.start(stream, graphed=True), True, ""
            except SessionError as error:
                self._start_plain(error)
        else:
            self._session = model.start(stream, graphed=False)

    @property
    def details(self) -> Mapping[str, str]:
        return {"cuda_graph": self._without_graph or "replayed"}

    def enqueue(self, frames: Shape, state: Shape, addresses: Addresses) -> None:
        if self._bound_to != (frames, state, addresses):
            self._bind(frames, state, addresses)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above
            if self._tried or not self.bound:
                raise SessionError(f"onnxruntime failed on CUDA: {error}") from error
            self._start_plain(error)
            self.enqueue(frames, state, addresses)
        self._tried = True

    def _start_plain(self, error: Exception) -> None:
        """Go on without a graph, which not every model can be captured as. What has another cause fails again."""
        self._binding = self._session = self._bound_to = None
        self._session = self._model.start(self._stream, graphed=False)
        self.bound, self._without_graph = False, f"none, {error}"

    def close(self) -> None:
        self._binding = self._session = None

    def _bind(self, frames: Shape, state: Shape, addresses: Addresses) -> None:
        contract, number = self._model.contract, self._stream.device.number
        dtype = np.dtype(contract.state_in.dtype).type
        binding = self._session.io_binding()
        for name, kind, shape, address in (
            (contract.frames.name, np.uint8, frames, addresses.frames),
            (contract.state_in.name, dtype, state, addresses.state_in),
        ):
            binding.bind_input(name, "cuda", number, kind, shape, address)
        for name, kind, shape, address in (
            (contract.maps.name, np.float32, frames[:-1], addresses.maps),
            (contract.state_out.name, dtype, state, addresses.state_out),
        ):
            binding.bind_output(name, "cuda", number, kind, shape, address)
        self._binding, self._bound_to = binding, (frames, state, addresses)
