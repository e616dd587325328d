"""bundle.json: what a bundle holds and promises, as frozen dataclasses.

The annotations are the schema; `uva_edge.strict_json` reads by them. What joins several fields (names that
differ, the shapes of a contract) is checked in ``__post_init__``, so it holds for objects made in Python too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NoReturn, TypeAlias

from uva_edge import strict_json
from uva_edge.errors import ManifestError, SchemaVersionError, UnsafePathError
from uva_edge.strict_json import OPTIONAL, Count, Scalar, Size, between, matches, show

__all__ = [
    "MANIFEST_NAME",
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "MAX_MANIFEST_BYTES",
    "SCHEMA_VERSION",
    "Artifact",
    "Contract",
    "File",
    "Lineage",
    "Manifest",
    "Network",
    "TensorSpec",
]

SCHEMA_VERSION = 1
MANIFEST_NAME = "bundle.json"
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 512 << 20
MAX_FILES = 1000
MAX_PATH_LENGTH = 200
MAX_RESOLUTION = 4096
MAX_STATE_ELEMENTS = 1 << 26  # 256 MiB of float32
MAX_STATE_RANK = 8
PIXELS_PER_CALL = 1 << 21  # 32 frames of 256 x 256

# The aliases stand in annotations that are read at run time, so they are values, not type-checker comments.
Dim: TypeAlias = Size | Literal["T"]
Name: TypeAlias = Annotated[
    str, matches('1 to 64 of a-z, 0-9, ".", "_", "-", such as "uva-64"', r"[a-z0-9][a-z0-9._-]{0,63}")
]
TensorName: TypeAlias = Annotated[
    str, matches('a tensor name such as "state_in"', r"[A-Za-z_][A-Za-z0-9_.]{0,63}")
]
Sha256: TypeAlias = Annotated[str, matches("64 lower-case hex digits", r"[0-9a-f]{64}")]

# One component of a path. A short list of what is allowed keeps out separators, drives, control characters,
# hidden files, "." and "..", and every name that one file system spells differently from another.
_PATH_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", re.ASCII)


@dataclass(frozen=True)
class File:
    """One file of the bundle; `path` is relative to bundle.json and uses "/" on every system.

    Raises:
        UnsafePathError: the path could leave the bundle, or is not portable.
        ManifestError: the file is larger than `MAX_FILE_BYTES`.
    """

    path: str
    bytes: Count
    sha256: Sha256

    def __post_init__(self) -> None:
        if self.bytes > MAX_FILE_BYTES:
            raise ManifestError(
                f"bytes: expected at most {MAX_FILE_BYTES} per file, got {self.bytes} for {show(self.path)}"
            )
        safe = len(self.path) <= MAX_PATH_LENGTH and all(map(_PATH_COMPONENT.fullmatch, self.path.split("/")))
        if not safe or self.path.casefold().split("/")[0] == MANIFEST_NAME:
            raise UnsafePathError(
                'path: expected a relative path inside the bundle, such as "onnx-fp32.onnx" (letters, digits '
                f'and "._+-" between single "/", at most {MAX_PATH_LENGTH} characters, not '
                f'"{MANIFEST_NAME}"), got {show(self.path)}'
            )


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the clip step; "T" in `shape` is the number of frames of the call."""

    name: TensorName
    dtype: Literal["uint8", "float32"]
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class Contract:
    """The clip step that every artifact of the bundle computes.

    frames uint8 [T, R, C, 3] RGB and state_in give maps float32 [T, R, C] in [0, 1] and state_out. The state
    is of any fixed shape, the same on both sides; for UVA-Net, where C = R, it is float32 [1, 64, R/4, R/4].
    That is one stream. An artifact may take several in one call (`Artifact.streams`): the first axes of frames and
    maps are then T * S long, time-major (frame t of stream s is at t * S + s), and that of the states, 1, becomes S.

    Attributes:
        resolution: R, the rows in pixels (as in "1080p"); the columns C are those of `frames`.
        pairing: what frame t is seen with: the frame t-1 ("causal"), t+1 ("lookahead", as in [UVA]), or the K
            frames before it ("window", as in [TinyHD]), which are the state: uint8 [K, R, C, 3].
        output: how the head's numbers become [0, 1], inside the graph.

    Raises:
        ManifestError: the tensors do not fit each other or the resolution.
    """

    resolution: Annotated[int, between(1, MAX_RESOLUTION)]
    pairing: Literal["causal", "lookahead", "window"]
    output: Literal["peak", "sigmoid", "clamp"]
    frames: TensorSpec
    state_in: TensorSpec
    maps: TensorSpec
    state_out: TensorSpec

    def __post_init__(self) -> None:
        rows, columns = self.grid
        _expect_tensor("frames", self.frames, "uint8", ("T", rows, columns, 3))
        _expect_tensor("maps", self.maps, "float32", ("T", rows, columns))
        shape = self.state_in.shape
        if (
            "T" in shape
            or not 1 <= len(shape) <= MAX_STATE_RANK
            or math.prod(self.state_shape) > MAX_STATE_ELEMENTS
        ):
            raise ManifestError(
                f"state_in.shape: expected 1 to {MAX_STATE_RANK} integers with a product of at most "
                f"{MAX_STATE_ELEMENTS}, got {_shape(shape)}"
            )
        if self.pairing == "window":
            _expect_tensor("state_in", self.state_in, "uint8", (shape[0], rows, columns, 3))
        _expect_tensor("state_out", self.state_out, self.state_in.dtype, shape)
        names = [spec.name for spec in (self.frames, self.state_in, self.maps, self.state_out)]
        _expect_unique("state_out.name", names)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the network's input and of its maps."""
        columns = self.frames.shape[2] if len(self.frames.shape) == 4 else self.resolution
        return self.resolution, columns if isinstance(columns, int) else self.resolution

    @property
    def state_shape(self) -> tuple[int, ...]:
        """The shape of one stream's state, which does not depend on T."""
        return tuple(size for size in self.state_in.shape if size != "T")

    @property
    def history(self) -> int:
        """K, how many frames the state is made of; 0 where it holds features."""
        return self.state_shape[0] if self.pairing == "window" else 0

    @property
    def frames_per_call(self) -> int:
        """A number of frames per step that bounds its memory: together they look at `PIXELS_PER_CALL`, or T = 1."""
        return max(1, PIXELS_PER_CALL // (math.prod(self.grid) * (1 + self.history)))


@dataclass(frozen=True)
class Network:
    """What the torch reference needs to rebuild the network, and what it costs.

    Attributes:
        family: the kind of network, such as "uva-net"; `options` are that family's own arguments.
        macs_per_step: multiply-accumulates of one clip step with T = 1.
    """

    family: Name
    options: dict[str, Scalar]
    parameters: Count
    macs_per_step: Count


@dataclass(frozen=True)
class Artifact:
    """One executable form of the network.

    Attributes:
        format: what reads it, such as "onnx", "openvino", "torch".
        frames: T where it is static; None for any T.
        files: the main one first, then its companions (an OpenVINO .bin beside its .xml).
        requires: what the device must have, such as {"opset": "18"} or {"tensorrt": "10.13", "sm": "87"}.
        parity: distances from the float32 reference, measured at export, such as {"max_abs_map": 3e-6}.
        details: any JSON about how it was made, such as a table of INT8 trials; never needed to run it.
        streams: S, how many streams a call takes, where it is static; None for any S.
    """

    name: Name
    format: Name
    precision: Literal["fp32", "fp16", "bf16", "int8"]
    frames: Size | None
    files: tuple[File, ...]
    requires: dict[str, str]
    parity: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    streams: Size | None = field(default=1, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        if not self.files:
            raise ManifestError("files: expected at least one file, got none")


@dataclass(frozen=True)
class Lineage:
    """Where the weights come from, and under what terms.

    Attributes:
        created_with: tool -> version.
        recipe: the training recipe, whole, as JSON.
        data: one line per data set, with its licence.
        teacher: what was distilled, in a few words; "" for nothing.
        source_commit: of uva_edge, where it is known.
        checkpoint_sha256: of the checkpoint that was exported.
        licence: of the weights, as an SPDX expression or a sentence.
    """

    created_with: dict[str, str]
    recipe: dict[str, Any]
    data: tuple[str, ...]
    teacher: str
    source_commit: str | None
    checkpoint_sha256: Sha256
    licence: str


@dataclass(frozen=True)
class Manifest:
    """The whole of bundle.json.

    Attributes:
        golden: the reference clip (see `uva_edge.golden.Golden`).
        accuracy: data set -> metric -> value, measured at export.
        documents: further files, such as a model card.
    """

    schema_version: int
    name: Name
    network: Network
    contract: Contract
    artifacts: tuple[Artifact, ...]
    golden: File
    accuracy: dict[str, dict[str, float]]
    lineage: Lineage
    documents: tuple[File, ...] = ()

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            _refuse_version(self.schema_version)
        if not self.artifacts:
            raise ManifestError("artifacts: expected at least one artifact, got none")
        _expect_unique("artifacts", [artifact.name for artifact in self.artifacts])
        if self.contract.state_shape[0] != 1 and any(artifact.streams != 1 for artifact in self.artifacts):
            raise ManifestError(
                f"artifacts: expected one stream a call, since the state {_shape(self.contract.state_shape)} has no "
                "first axis of 1 for several; got an artifact that takes another number"
            )
        _expect_one_tree(self.files)

    @property
    def files(self) -> tuple[File, ...]:
        """Every file that the manifest names, each once; bundle.json itself is not among them."""
        return tuple(dict.fromkeys(self._named_files()))

    def _named_files(self) -> Iterator[File]:
        for artifact in self.artifacts:
            yield from artifact.files
        yield self.golden
        yield from self.documents

    @classmethod
    def from_dict(cls, data: Any) -> Manifest:
        """Read a parsed bundle.json.

        Raises:
            ManifestError: a field is absent, unknown, or not what the schema says; the message has its path.
            SchemaVersionError: the bundle is of another version of the format.
            UnsafePathError: a file's path could leave the bundle.
        """
        # First of all, so that another version is not reported as a list of unknown fields.
        if isinstance(data, dict) and type(data.get("schema_version")) is int:
            version = data["schema_version"]
            if version != SCHEMA_VERSION:
                _refuse_version(version)
        manifest: Manifest = strict_json.decode(cls, data)
        return manifest

    @classmethod
    def from_bytes(cls, raw: bytes) -> Manifest:
        """Read the bytes of bundle.json; raises as `from_dict` does."""
        if len(raw) > MAX_MANIFEST_BYTES:
            raise ManifestError(f"expected at most {MAX_MANIFEST_BYTES} bytes of JSON, got {len(raw)}")
        return cls.from_dict(strict_json.parse(raw))

    def to_dict(self) -> dict[str, Any]:
        """The manifest as plain JSON values; `from_dict` gives it back."""
        data: dict[str, Any] = strict_json.encode(self)
        return data

    def to_bytes(self) -> bytes:
        """bundle.json as it is written: UTF-8, sorted keys, indented by 2.

        Raises:
            ManifestError: `from_bytes` would refuse the result.
        """
        data = self.to_dict()
        self.from_dict(data)
        text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        raw = f"{text}\n".encode()
        if len(raw) > MAX_MANIFEST_BYTES:
            raise ManifestError(
                f"expected at most {MAX_MANIFEST_BYTES} bytes of JSON, got {len(raw)}; move long tables to a "
                "document"
            )
        return raw


def _refuse_version(version: int) -> NoReturn:
    if version > SCHEMA_VERSION:
        remedy = "upgrade with `pip install --upgrade uva-edge`"
    else:
        remedy = "export the bundle again from its checkpoint"
    raise SchemaVersionError(
        f"schema_version: the bundle is of version {show(version)}, this uva_edge reads version "
        f"{SCHEMA_VERSION}; {remedy}"
    )


def _expect_tensor(where: str, spec: TensorSpec, dtype: str, shape: tuple[int | str, ...]) -> None:
    if spec.dtype != dtype:
        raise ManifestError(f'{where}.dtype: expected "{dtype}", got "{spec.dtype}"')
    if spec.shape != shape:
        raise ManifestError(f"{where}.shape: expected {_shape(shape)}, got {_shape(spec.shape)}")


def _shape(shape: Sequence[int | str]) -> str:
    text = json.dumps(shape)
    return text if len(text) <= 120 else f"{text[:116]}...]"


def _expect_unique(where: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ManifestError(f'{where}: expected names that differ, got "{name}" twice')
        seen.add(name)


def _expect_one_tree(files: Sequence[File]) -> None:
    """Refuse what no directory can hold: one path with two contents, or a file that is also a folder.

    Case does not tell two paths apart, since some file systems ignore it.
    """
    if len(files) > MAX_FILES:
        raise ManifestError(f"artifacts: expected at most {MAX_FILES} files in a bundle, got {len(files)}")
    by_path: dict[str, File] = {}
    for file in files:
        other = by_path.setdefault(file.path.casefold(), file)
        if other is not file:
            raise ManifestError(
                f'artifacts: expected one content per path, got two for "{other.path}" and "{file.path}"'
            )
    for path, file in by_path.items():
        for parent in map(str, PurePosixPath(path).parents):
            if parent in by_path:
                raise ManifestError(
                    f'artifacts: expected a folder, got the file "{by_path[parent].path}" on the way to '
                    f'"{file.path}"'
                )
