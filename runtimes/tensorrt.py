"""TensorRT and TensorRT-RTX on a GPU: one implementation, for the two packages have one API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uva_edge.bundle import Bundle
from uva_edge.environment import ENGINES, Availability
from uva_edge.errors import ManifestError, SessionError
from uva_edge.manifest import Artifact, Contract

from .backend import SessionInfo, SessionOptions
from .cuda_memory import Graph, Stream
from .engine_header import EngineHeader, Flavour, Host, expect_runnable
from .engines import WORDS, build_command, host_platform
from .gpu_session import Addresses, Extent, LaneSession, Shape
from .machine import THIS_MACHINE, Machine


class TensorRtBackend:
    """Loads the engines of one of the two packages."""

    def __init__(self, flavour: Flavour, machine: Machine = THIS_MACHINE) -> None:
        self.name: Flavour = flavour
        self.formats = (flavour,)
        self._package = ENGINES[flavour]
        self._machine = machine

    def installed(self) -> Availability:
        return self._machine.quick_look(self._package)

    def probe(self) -> Availability:
        found = self._machine.usable(self._package)
        if not found.ok:
            return found
        major = self._machine.cuda_major(WORDS[self.name])
        return self._machine.cuda_fits(self._package.module, found.version, major)

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> LaneSession:
        who = f"{self.name} can't load {artifact.name} of {bundle.name}"
        if len(artifact.files) < 2:
            raise SessionError(f"{who}: expected an engine and its header, got one file; export it again")
        engine, raw = (bundle.read(file) for file in artifact.files[:2])
        try:
            header = EngineHeader.from_bytes(raw)
        except ManifestError as error:
            raise SessionError(f"{who}: {error}") from error
        package, gpus = self._machine.module(self._package), self._machine.gpus().gpus
        if not gpus:
            raise SessionError(f"{who}: {self._machine.gpus().problem}; {self._machine.gpus().fix}")
        host = Host(self.name, package.__version__, host_platform(), gpus[0].compute_capability)
        expect_runnable(header, engine, host, rebuild=build_command(bundle, self.name, artifact.precision))
        runtime = _Runtime(package, who)
        info = SessionInfo(
            backend=self.name,
            engine=f"{package.__name__} {package.__version__}",
            artifact=artifact.name,
            device=str(gpus[0]),
            precision=header.precision,
            threads=1,
            details={"frames_per_call": f"{header.shortest} to {header.longest}"},
        )
        device = self._machine.device()
        device.activate()
        contract = bundle.manifest.contract
        try:
            loaded = _Engine(runtime, engine, contract)
            return LaneSession(
                info, device, lambda stream: _Program(loaded, stream), contract, loaded.frames, loaded.state
            )
        except SessionError:
            raise
        except Exception as error:  # whatever the bindings raise for an engine of odd types or shapes
            raise runtime.error(f"{type(error).__name__}: {error}") from error


class _Runtime:
    """TensorRT's runtime with a log that keeps its errors, which the API tells nobody else."""

    def __init__(self, package: Any, who: str) -> None:
        class Log(package.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in (package.ILogger.INTERNAL_ERROR, package.ILogger.ERROR):
                    self.errors.append(message)

        self.package, self._who, self._log = package, who, Log()
        try:
            self.runtime = package.Runtime(self._log)
        except Exception as error:  # the bindings raise TypeError where the C++ side gives nothing
            raise self.error(f"it has no runtime here: {error}") from error

    def error(self, what: str) -> SessionError:
        """What went wrong, and what TensorRT has said since the last time."""
        words, self._log.errors = self._log.errors[-4:], []
        return SessionError(f"{self._who}: {'; '.join((what, *words))}")


class _Engine:
    """A deserialised engine, and what it takes."""

    def __init__(self, runtime: _Runtime, engine: bytes, contract: Contract) -> None:
        self.runtime, self.contract = runtime, contract
        self.engine = runtime.runtime.deserialize_cuda_engine(engine)
        if self.engine is None:
            raise runtime.error("TensorRT does not take the engine")
        self._expect_contract()
        self.frames, self.state = (self._extent(spec.name) for spec in (contract.frames, contract.state_in))

    def _expect_contract(self) -> None:
        package, contract = self.runtime.package, self.contract
        modes = package.TensorIOMode
        expected = {
            spec.name: (mode, np.dtype(spec.dtype))
            for mode, specs in (
                (modes.INPUT, (contract.frames, contract.state_in)),
                (modes.OUTPUT, (contract.maps, contract.state_out)),
            )
            for spec in specs
        }
        found = {
            name: (
                self.engine.get_tensor_mode(name),
                np.dtype(package.nptype(self.engine.get_tensor_dtype(name))),
            )
            for name in map(self.engine.get_tensor_name, range(self.engine.num_io_tensors))
        }
        if found != expected:
            raise self.runtime.error(f"expected tensors {_listed(expected)}, the engine has {_listed(found)}")

    def _extent(self, name: str) -> Extent:
        shape = tuple(self.engine.get_tensor_shape(name))
        if -1 not in shape:
            return Extent(shape, shape)
        least, _, most = self.engine.get_tensor_profile_shape(name, 0)
        return Extent(tuple(least), tuple(most))


def _listed(tensors: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({mode.name}, {dtype})" for name, (mode, dtype) in sorted(tensors.items()))


class _Program:
    """An execution context. Steps of a fixed shape are captured as a CUDA graph after the first of them."""

    bound = False

    def __init__(self, engine: _Engine, stream: Stream) -> None:
        self._engine, self._stream = engine, stream
        self._graph: Graph | None = None
        self._bound_to: tuple[Shape, Shape, Addresses] | None = None
        self._without_graph = "" if engine.frames.fixed and engine.state.fixed else "none, T is open"
        self._context = engine.engine.create_execution_context()
        if self._context is None:
            raise engine.runtime.error("TensorRT makes no execution context")

    @property
    def details(self) -> Mapping[str, str]:
        return {"cuda_graph": self._without_graph or "replayed"}

    def enqueue(self, frames: Shape, state: Shape, addresses: Addresses) -> None:
        if self._bound_to != (frames, state, addresses):
            self._bind(frames, state, addresses)
        if self._graph is not None:
            self._graph.launch(self._stream)
            return
        self._execute()
        if not self._without_graph:
            self._stream.synchronise()  # the first run did what can't be captured
            self._capture()

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()
        self._graph = self._context = None

    def _bind(self, frames: Shape, state: Shape, addresses: Addresses) -> None:
        context, contract = self._context, self._engine.contract
        if self._graph is not None:  # what it captured are addresses
            self._graph.close()
            self._graph = None
        self._bound_to = None
        shapes = {contract.frames.name: frames, contract.state_in.name: state}
        places = {
            contract.frames.name: addresses.frames,
            contract.state_in.name: addresses.state_in,
            contract.maps.name: addresses.maps,
            contract.state_out.name: addresses.state_out,
        }
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self._engine.runtime.error(f"TensorRT takes no {name} of {list(shape)}")
        for name, address in places.items():
            if not context.set_tensor_address(name, address):
                raise self._engine.runtime.error(f"TensorRT takes no address for {name}")
        # A result of another size would be written past its buffer.
        for name, shape in ((contract.maps.name, frames[:-1]), (contract.state_out.name, state)):
            got = tuple(context.get_tensor_shape(name))
            if got != shape:
                raise self._engine.runtime.error(
                    f"expected {name} of {list(shape)}, the engine gives {list(got)}"
                )
        self._bound_to = frames, state, addresses

    def _execute(self) -> None:
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise self._engine.runtime.error("TensorRT failed to run the engine")

    def _capture(self) -> None:
        """Keeps a step as a graph, or says why it can't be: it runs all the same, more slowly."""
        self._stream.begin_capture()
        try:
            self._execute()
        except SessionError as error:
            self._without_graph = f"none, {error}"
        try:
            graph = self._stream.end_capture()
        except SessionError as error:
            self._without_graph = self._without_graph or f"none, {error}"
            return
        if self._without_graph:
            graph.close()
        else:
            self._graph = graph
