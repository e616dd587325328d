"""What a TensorRT engine was built for: a JSON header beside it, checked before any of the engine is read.

An engine is code for one version of one flavour of TensorRT and for some architectures of GPU. TensorRT's own word
for a mismatch is an error number; this says what the engine needs, what is here, and how to build it anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from uva_edge import strict_json
from uva_edge.errors import ManifestError, SessionError, WrongDeviceError
from uva_edge.strict_json import Size, matches

Flavour: TypeAlias = Literal["tensorrt", "tensorrt_rtx"]
Capability: TypeAlias = Annotated[str, matches("a compute capability such as 8.6", r"\d{1,2}\.\d")]
Version: TypeAlias = Annotated[str, matches("a version such as 10.13.3", r"\d+(\.\d+){1,3}")]
Sha256: TypeAlias = Annotated[str, matches("64 hexadecimal digits", r"[0-9a-f]{64}")]

MAX_HEADER_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class EngineHeader:
    """One engine.

    Attributes:
        flavour: `tensorrt`, the full one, or `tensorrt_rtx`.
        version: of the TensorRT that built it.
        compute_capabilities: of the GPUs that it was built for.
        hardware_compatible: runs on every GPU from Ampere on (full TensorRT only).
        version_compatible: runs under later versions of the same major one.
        shortest, longest: the numbers of frames T that one call may have.
        onnx_sha256: of the graph that it was built from.
        engine_sha256: of the engine's own bytes.
    """

    schema_version: Literal["1"]
    flavour: Flavour
    version: Version
    platform: str
    compute_capabilities: tuple[Capability, ...]
    hardware_compatible: bool
    version_compatible: bool
    precision: Literal["fp32", "fp16", "int8"]
    shortest: Size
    longest: Size
    onnx_sha256: Sha256
    engine_sha256: Sha256

    @classmethod
    def from_bytes(cls, raw: bytes) -> EngineHeader:
        """Raises ManifestError where this is not the header of an engine."""
        if len(raw) > MAX_HEADER_BYTES:
            raise ManifestError(
                f"engine header: expected at most {MAX_HEADER_BYTES} bytes of JSON, got {len(raw)}"
            )
        header: EngineHeader = strict_json.decode(cls, strict_json.parse(raw))
        return header

    def to_bytes(self) -> bytes:
        return (json.dumps(strict_json.encode(self), indent=2, sort_keys=True) + "\n").encode()


@dataclass(frozen=True)
class Host:
    """What a machine has: a TensorRT, and a GPU."""

    flavour: Flavour
    version: str
    platform: str
    compute_capability: str


def expect_runnable(header: EngineHeader, engine: bytes, host: Host, *, rebuild: str) -> None:
    """Refuse an engine that this machine can't run, before TensorRT sees any of it.

    Args:
        rebuild: the command that builds it for this machine.

    Raises:
        WrongDeviceError: it was built for something else.
        SessionError: its bytes are not those that the header describes.
    """
    if hashlib.sha256(engine).hexdigest() != header.engine_sha256:
        raise SessionError(f"the engine is not the one that its header describes; {rebuild}")
    problems = [
        f"{what}: built for {built}, here is {here}"
        for what, built, here, fits in (
            ("flavour", header.flavour, host.flavour, header.flavour == host.flavour),
            ("version", _wanted(header), host.version, _version_fits(header, host)),
            ("platform", header.platform, host.platform, header.platform == host.platform),
            (
                "GPU",
                _architectures(header),
                f"compute capability {host.compute_capability}",
                _gpu_fits(header, host),
            ),
        )
        if not fits
    ]
    if problems:
        raise WrongDeviceError(f"this engine can't run here: {'; '.join(problems)}. To mend it: {rebuild}")


def _wanted(header: EngineHeader) -> str:
    return (
        f"{header.version} or a later {_major(header.version)}"
        if header.version_compatible
        else header.version
    )


def _version_fits(header: EngineHeader, host: Host) -> bool:
    if not header.version_compatible:
        return _numbers(header.version) == _numbers(host.version)
    return _major(header.version) == _major(host.version) and _numbers(host.version) >= _numbers(
        header.version
    )


def _architectures(header: EngineHeader) -> str:
    listed = f"compute capability {', '.join(header.compute_capabilities)}"
    return f"{listed} and any from 8.0 on" if header.hardware_compatible else listed


def _gpu_fits(header: EngineHeader, host: Host) -> bool:
    if host.compute_capability in header.compute_capabilities:
        return True
    return header.hardware_compatible and _numbers(host.compute_capability) >= (8, 0)


def _major(version: str) -> int:
    return _numbers(version)[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
