"""TensorRT engines, by one exporter for both packages: full TensorRT, and TensorRT-RTX, which needs no GPU to build.

Both have one API. Networks are strongly typed: the graph says what is float16 and what is integer (by Q/DQ).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import onnx

from uva_edge.environment import ENGINES
from uva_edge.errors import ExportError, MissingPackageError, OptionError
from uva_edge.gpu import probe_gpus
from uva_edge.manifest import Contract
from uva_edge.runtimes.engine_header import EngineHeader, Flavour
from uva_edge.runtimes.engines import host_platform
from uva_edge.whole_files import replace_file

from .onnx import streams_of

Precision: TypeAlias = Literal["fp32", "fp16", "int8"]

FLAVOURS: Final[Mapping[str, Flavour]] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
LONGEST: Final = 64
_OPTIMAL: Final = 16
_WORKSPACE: Final = 1 << 28


@dataclass(frozen=True)
class EngineOptions:
    """How engines are built.

    Attributes:
        capabilities: compute capabilities to build for, such as ("7.5", "8.6"); for TensorRT-RTX alone, by default
            all that it knows. Full TensorRT builds for the GPU of the machine.
        hardware_compatible: for every GPU from Ampere on, slower (full TensorRT alone).
        version_compatible: to run under later versions of the same major one too.
        timing_cache: a file of measured tactics, read and written; a second build is then faster and chooses alike
            (full TensorRT alone: the other measures nothing while it builds).
    """

    capabilities: tuple[str, ...] = ()
    hardware_compatible: bool = False
    version_compatible: bool = False
    timing_cache: Path | None = None


PLAIN: Final = EngineOptions()


def build_engine(
    flavour: Flavour,
    graph: bytes,
    contract: Contract,
    precision: Precision,
    *,
    frames: int | None,
    options: EngineOptions,
) -> tuple[bytes, EngineHeader]:
    """An engine of a typed ONNX clip step and its header.

    Args:
        frames: T of one stream, where it is static; None for a profile of 1 to `LONGEST` frames in all, of as many
            streams as the graph takes.

    Raises:
        MissingPackageError: the package of the flavour is not installed.
        OptionError: a compute capability that the package does not know, or an option that it lacks.
        ExportError: it can't build the engine; the message has its words.
    """
    package = _package(flavour)
    builder, log = _builder(package)
    network = builder.create_network(1 << int(package.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = package.OnnxParser(network, log)
    if not parser.parse(graph):
        words = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ExportError(f"{flavour} does not take the graph: {words}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(package.MemoryPoolType.WORKSPACE, _WORKSPACE)
    _add_profile(builder, config, contract, frames)
    capabilities = _target(package, flavour, config, options)
    cache = _load_cache(config, options.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"{flavour} built no engine ({precision}, T = {frames or 'any'}): {log.words()}")
    if options.timing_cache is not None and cache is not None:
        replace_file(options.timing_cache, bytes(cache.serialize()))
    engine = bytes(plan)
    header = EngineHeader(
        schema_version="1",
        flavour=flavour,
        version=package.__version__,
        platform=host_platform(),
        compute_capabilities=capabilities,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
        precision=precision,
        shortest=frames or 1,
        longest=frames or LONGEST,
        onnx_sha256=hashlib.sha256(graph).hexdigest(),
        engine_sha256=hashlib.sha256(engine).hexdigest(),
    )
    return engine, header


def half(graph: bytes) -> bytes:
    """A float clip step in float16; frames, state and maps stay what the contract says."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True)
    OnnxModel(model).topological_sort()  # the converter leaves its casts at the end
    return bytes(model.SerializeToString(deterministic=True))


def _package(flavour: Flavour) -> Any:
    engine = ENGINES[flavour]
    try:
        return importlib.import_module(engine.module)
    except ImportError:
        raise MissingPackageError(
            f"this needs the package {engine.module}, which is not installed; {engine.fix}"
        ) from None


def _builder(package: Any) -> tuple[Any, Any]:
    log = _log(package)
    try:
        return package.Builder(log), log
    except Exception as error:  # the bindings raise TypeError where the C++ side gives nothing
        raise ExportError(f"{package.__name__} has no builder here: {log.words() or error}") from error


def _log(package: Any) -> Any:
    class Log(package.ILogger):  # type: ignore[misc]
        """Keeps the errors, which the API tells nobody else."""

        def __init__(self) -> None:
            super().__init__()
            self._errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (package.ILogger.INTERNAL_ERROR, package.ILogger.ERROR):
                self._errors.append(message)

        def words(self) -> str:
            return "; ".join(self._errors)

    return Log()


def _add_profile(builder: Any, config: Any, contract: Contract, frames: int | None) -> None:
    """The least, usual and most of frames, and of streams; the usual is a clip of one."""
    profile = builder.create_optimization_profile()
    lengths = (frames, frames, frames) if frames else (1, _OPTIMAL, LONGEST)
    profile.set_shape(contract.frames.name, *((length, *contract.grid, 3) for length in lengths))
    if not contract.history:
        streams = (1, 1, streams_of(contract, frames) or LONGEST)
        profile.set_shape(contract.state_in.name, *((count, *contract.state_shape[1:]) for count in streams))
    config.add_optimization_profile(profile)


def _target(package: Any, flavour: Flavour, config: Any, options: EngineOptions) -> tuple[str, ...]:
    """Sets what the engine is to run on, and gives its compute capabilities."""
    if options.version_compatible:
        config.set_flag(package.BuilderFlag.VERSION_COMPATIBLE)
    if flavour == "tensorrt":
        if options.capabilities:
            raise OptionError(
                "full TensorRT builds for the GPU of this machine; name no compute capabilities"
            )
        if options.hardware_compatible:
            config.hardware_compatibility_level = package.HardwareCompatibilityLevel.AMPERE_PLUS
        return (_capability_here(),)
    if options.hardware_compatible:
        raise OptionError(
            "tensorrt-rtx builds for the compute capabilities that are named, not for all from Ampere on"
        )
    if options.timing_cache is not None:
        raise OptionError("tensorrt-rtx has no timing cache: it measures nothing while it builds")
    known = {
        f"{name[2:-1]}.{name[-1]}": value
        for name, value in package.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    wanted = options.capabilities or tuple(known)
    if unknown := [name for name in wanted if name not in known]:
        raise OptionError(
            f"tensorrt-rtx {package.__version__} builds for {', '.join(known)}; got {', '.join(unknown)}"
        )
    config.num_compute_capabilities = len(wanted)
    for index, name in enumerate(wanted):
        config.set_compute_capability(known[name], index)
    return wanted


def _capability_here() -> str:
    """Compute capability of the first GPU."""
    facts = probe_gpus()
    if not facts.usable:
        raise ExportError(
            f"full TensorRT builds for the GPU of this machine: {facts.problem}. To mend it: {facts.fix}"
        )
    return facts.gpus[0].compute_capability


def _load_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise OptionError(
            f"{path}: expected a timing cache of this TensorRT; remove it, and the next build makes one"
        )
    return cache
