"""The C of a network: one header and one source, from its constants and the fragments in ``templates``.

What differs between bundles is data: the prologue's sizes, the tables of constants and of blocks. The rest are the
fragments as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .c_text import array, comment, literal, string
from .constants import Constants
from .integers import Integers
from .parameters import Parameters
from .reference import EXP2, SIGMOID
from .topology import LANES, BlockShape, Topology

Precision: TypeAlias = Literal["fp32", "int8"]

ABI_VERSION: Final = 1
OUTPUTS: Final = ("peak", "sigmoid", "clamp")
_HEADERS: Final = ("status.h", "api.h", "frame.h", "peak.h")
_COMMON: Final = ("api.c", "status.c", "frame.c", "peak.c")
_PUBLIC: Final = ("ROWS", "COLUMNS", "STATE_BYTES", "ARENA_BYTES")
"""Sizes of the prologue that the header has."""


@dataclass(frozen=True)
class Origin:
    """What a source says of where it comes from.

    Attributes:
        bundle: name of the bundle.
        sha256: of the weights in it.
        provenance: lines of the comment on top, any text.
    """

    bundle: str
    sha256: str
    provenance: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What a model takes: bytes of constants and of memory, and arithmetic.

    Attributes:
        constant_bytes: of all tables; code comes on top.
        state_bytes, arena_bytes: of memory; the state's pointer is counted as eight bytes.
        macs: multiply-accumulates of a frame.
    """

    precision: Precision
    constant_bytes: int
    state_bytes: int
    arena_bytes: int
    macs: int

    @classmethod
    def of(cls, constants: Constants) -> Facts:
        integer = isinstance(constants, Integers)
        topology = constants.topology if isinstance(constants, Integers) else constants[0]
        sizes = _sizes(topology, "int8" if integer else "fp32")
        tables = _integer_tables(constants) if isinstance(constants, Integers) else _float_tables(*constants)
        widths = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "float": 4}
        arrays = set(re.findall(r"^static const (\w+) (\w+)\[(\d+)\]", "\n".join(tables), re.MULTILINE))
        return cls(
            precision="int8" if integer else "fp32",
            constant_bytes=sum(widths.get(kind, 0) * int(count) for kind, _, count in arrays),
            state_bytes=sizes["UVA_STATE_BYTES"],
            arena_bytes=sizes["UVA_ARENA_BYTES"],
            macs=sizes["UVA_MACS"],
        )


@dataclass(frozen=True)
class Source:
    """One model in C; `stem` is the name of both files and the prefix of all its functions."""

    stem: str
    header: str
    code: str

    def write(self, directory: Path) -> None:
        """Both files into a directory that exists."""
        (directory / f"{self.stem}.h").write_text(self.header, encoding="utf-8")
        (directory / f"{self.stem}.c").write_text(self.code, encoding="utf-8")


def generate(constants: Constants, origin: Origin) -> Source:
    """The header and the source of a network, in int8 or float32."""
    if isinstance(constants, Integers):
        topology, precision = constants.topology, "int8"
        tables = "\n".join(_integer_tables(constants))
        body = ("int8_arena.c", "int8_kernels.c", tables, "int8_network.c")
    else:
        topology, parameters = constants
        precision = "fp32"
        tables = "\n".join(_float_tables(topology, parameters))
        body = ("float_arena.c", "float_kernels.c", tables, "float_network.c")
    stem = re.sub(r"[^a-z0-9]+", "_", f"{origin.bundle}_{precision}".lower())
    stem = stem if stem.startswith("uva_") else f"uva_{stem}"
    top = comment(origin.provenance)
    sizes = _sizes(topology, precision)
    return Source(
        stem, top + _header(stem, sizes), top + _code(stem, topology, precision, origin, constants, body)
    )


def fragment(name: str) -> str:
    """A file of ``templates``."""
    return files(__package__).joinpath("templates").joinpath(name).read_text(encoding="utf-8")


# --- header and prologue ------------------------------------------------------------------------------------


def _header(stem: str, sizes: Mapping[str, Any]) -> str:
    declarations = "\n".join(fragment(name) for name in _HEADERS)
    names = re.findall(r"^(?:[a-z_0-9]+ \**|const [a-z_]+ \*+)(uva_\w+)\(", declarations, re.MULTILINE)
    guard = f"{stem.upper()}_H"
    renamed = "\n".join(f"#undef {name}\n#define {name} {stem}_{name.removeprefix('uva_')}" for name in names)
    memory = "\n".join(
        f"#define {stem.upper()}_{short} {sizes[f'UVA_{short}']}\n#undef UVA_{short}\n"
        f"#define UVA_{short} {stem.upper()}_{short}"
        for short in _PUBLIC
    )
    return f"""#ifndef {guard}
#define {guard}

#include <stddef.h>
#include <stdint.h>

#define UVA_ABI_VERSION {ABI_VERSION}

/* In the program that it is linked into, every function has the prefix {stem}_, so that several models fit
   into one. The short names are those of the header that a file includes last. */
{renamed}

/* The size of the input and of the map, and what uva_state_size and uva_arena_size give at most: for memory that is
   set aside when the program is built. */
{memory}

#ifdef __cplusplus
extern "C" {{
#endif

{declarations}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _code(
    stem: str,
    topology: Topology,
    precision: str,
    origin: Origin,
    constants: Constants,
    body: Sequence[str],
) -> str:
    sizes = _sizes(topology, precision)
    for short in _PUBLIC:
        del sizes[f"UVA_{short}"]
    if isinstance(constants, Integers):
        sizes |= _integer_sizes(constants)
    sizes |= {"UVA_BUNDLE": string(origin.bundle), "UVA_SHA256": string(origin.sha256)}
    prologue = "\n".join(f"#define {name} {value}" for name, value in sizes.items())
    parts = [part if "\n" in part else fragment(part) for part in (*body, *_COMMON)]
    return f"""#include "{stem}.h"

#include <string.h>

{fragment("prologue.h")}
{prologue}

{chr(10).join(parts)}"""


def _sizes(topology: Topology, precision: str) -> dict[str, Any]:
    """The constants of the prologue; arena sizes are in elements, each a multiple of 16."""
    quarter, side = topology.quarter, topology.resolution
    blocks = tuple(topology.blocks)
    integer = precision == "int8"
    hidden = max(_hidden_elements(block, integer) for block in blocks)
    doubled = (2 * quarter + 2) ** 2 * topology.up
    values = max(
        [block.output_size**2 * block.outputs for block in blocks]
        + [doubled, (quarter + 2) ** 2 * topology.narrow, quarter**2 * topology.fused]
    )
    if not integer:
        values = max(values, side**2 * topology.narrow, quarter**2 * 2 * topology.features)
    found = {
        "UVA_ROWS": side,
        "UVA_COLUMNS": side,
        "UVA_QUARTER": quarter,
        "UVA_NARROW": topology.narrow,
        "UVA_FEATURES": topology.features,
        "UVA_PATHS": topology.paths,
        "UVA_FUSED": topology.fused,
        "UVA_UP": topology.up,
        "UVA_WIDEST": max(block.outputs for block in blocks),
        "UVA_SPATIAL": int(bool(topology.spatial)),
        "UVA_LOOKAHEAD": int(topology.pairing == "lookahead"),
        "UVA_TEMPORAL": int(bool(topology.temporal)),
        **{f"UVA_OUTPUT_{name.upper()}": index for index, name in enumerate(OUTPUTS)},
        "UVA_OUTPUT": OUTPUTS.index(topology.output),
        "UVA_ARENA_HIDDEN": _padded(hidden),
        "UVA_ARENA_VALUES": _padded(values),
        "UVA_ARENA_BOTH": _padded(
            max(quarter**2 * 2 * topology.features, (quarter + 2) ** 2 * topology.narrow)
        ),
        "UVA_ARENA_DEPTHWISE": _padded(max(block.output_size**2 * block.hidden for block in blocks)),
        "UVA_ARENA_WIDE": _padded(max(block.output_size**2 * block.outputs for block in blocks)),
        "UVA_PRECISION": f'"{precision}"',
        "UVA_MACS": _macs(topology),
    }
    return found | _memory(topology, found, integer)


def _memory(topology: Topology, sizes: Mapping[str, Any], integer: bool) -> dict[str, int]:
    """Bytes of the structs of ``api.c`` and ``*_arena.c``."""
    pixels, margin = topology.quarter**2, (topology.resolution + 2) ** 2 * 3
    features, paths = pixels * topology.features, pixels * topology.paths
    hidden, values, both, depthwise, wide = (
        sizes[f"UVA_ARENA_{name}"] for name in ("HIDDEN", "VALUES", "BOTH", "DEPTHWISE", "WIDE")
    )
    if integer:
        early = (margin + 31) // 16 * 16 + topology.resolution**2 * topology.narrow
        middle = max(both, 2 * pixels * topology.fused)
        arena = max(early, paths) + hidden + values + middle + depthwise + 2 * wide + 2 * features
        return {"UVA_STATE_BYTES": 16 + 2 * features, "UVA_ARENA_BYTES": arena}
    arena = 4 * (margin + 2 * values + hidden + depthwise + wide + paths + features)
    return {"UVA_STATE_BYTES": 16 + 4 * features, "UVA_ARENA_BYTES": _padded(arena)}


def _hidden_elements(block: BlockShape, integer: bool) -> int:
    columns = block.size + 8 if integer else block.size + 2
    return (block.size + 2) * columns * block.hidden


def _macs(topology: Topology) -> int:
    """Multiply-accumulates of the convolutions of a step."""
    quarter, up = topology.quarter, topology.up
    ends = topology.resolution**2 * 27 * topology.narrow + quarter**2 * topology.paths * topology.fused
    ups = quarter**2 * 16 * topology.narrow * up + (2 * quarter) ** 2 * 16 * up
    return ends + ups + sum(block.macs for block in topology.blocks)


def _integer_sizes(network: Integers) -> dict[str, Any]:
    sizes = {
        "UVA_STATE_SCALE": literal(network.arrays["state.scale"][0]),
        "UVA_PEAK_CAP": network.scalar("peak.cap"),
        "UVA_PEAK_MULTIPLIER": network.scalar("peak.multiplier"),
        "UVA_PEAK_SHIFT": network.scalar("peak.shift"),
    }
    if network.topology.temporal:
        sizes["UVA_DIFFERENCE_NARROW"] = network.scalar("difference.narrow")
        sizes["UVA_DIFFERENCE_ZERO"] = network.zero("difference")
    return sizes


# --- int8 tables --------------------------------------------------------------------------------------------


def _integer_tables(network: Integers) -> Iterable[str]:
    def product(name: str) -> str:
        return _product(network, name, network[f"{name}.weight"], network[f"{name}.bias"], emit)

    found: list[str] = [
        array("int32_t", "uva_exp2", EXP2),
        array("int16_t", "uva_sigmoid", SIGMOID),
    ]
    emit = found.append
    found.append(f"static const uva_product uva_first = {product('first')};\n")
    topology = network.topology
    for table, blocks in _tables_of(topology):
        rows = [_integer_block(network, block, product, emit) for block in blocks]
        if rows:
            found.append(f"static const uva_block {table}[] = {{\n" + ",\n".join(rows) + "};\n")
    found.append(f"static const uva_product uva_mix = {product('fuse7')};\n")
    for name in ("up11", "up12"):
        phases = []
        for phase in range(2):
            weight = _phase(network[f"{name}.weight"], phase)
            bias = network[f"{name}.bias"][phase].reshape(-1)
            phases.append(_product(network, name, weight, bias, emit, f"{name}_{phase}"))
        found.append(f"static const uva_product uva_{name}[2] = {{{', '.join(phases)}}};\n")
    return found


def _product(
    network: Integers,
    name: str,
    weight: NDArray[Any],
    bias: NDArray[Any],
    emit: Callable[[str], None],
    label: str | None = None,
) -> str:
    symbol = f"uva_{label or name}".replace(".", "_")
    emit(array("int8_t", f"{symbol}_weight", _quads(weight)))
    emit(_biases(f"{symbol}_bias", bias, weight.sum(axis=(0, 1, 2), dtype=np.int32)))
    multiplier = network.arrays.get(f"{name}.multiplier")
    pointer = "NULL"
    if multiplier is not None:
        repeated = np.tile(multiplier, len(bias) // len(multiplier))
        emit(array("int16_t", f"{symbol}_multiplier", _as_wide(repeated)))
        pointer = f"{symbol}_multiplier"
    shift = network.scalar(f"{name}.shift") if f"{name}.shift" in network.arrays else 0
    return f"{{{symbol}_weight, {symbol}_bias, {pointer}, {shift}, {-(-len(bias) // LANES)}}}"


def _integer_block(
    network: Integers, block: BlockShape, product: Callable[[str], str], emit: Callable[[str], None]
) -> str:
    name, symbol = block.name, f"uva_{block.name}"
    expand, project = product(f"{name}.expand"), product(f"{name}.project")
    depthwise = f"{name}.depthwise"
    emit(array("int8_t", f"{symbol}_taps", _taps(network[f"{depthwise}.weight"])))
    sums = network[f"{depthwise}.weight"].sum(axis=(0, 1), dtype=np.int32)
    emit(_biases(f"{symbol}_taps_bias", network[f"{depthwise}.bias"], sums))
    emit(array("int16_t", f"{symbol}_taps_multiplier", _as_wide(network[f"{depthwise}.multiplier"])))
    emit(array("int16_t", f"{symbol}_gain", _as_wide(network[f"{name}.gain"])))
    taps = f"{{{symbol}_taps, {symbol}_taps_bias, {symbol}_taps_multiplier, {network.scalar(f'{depthwise}.shift')}}}"
    attention = "NULL, NULL, 0, 0, 0, 0, 0"
    if block.attention:
        emit(array("int16_t", f"{symbol}_squeeze", network[f"{name}.squeeze"].T))
        emit(array("int16_t", f"{symbol}_excite", network[f"{name}.excite"]))
        numbers = [block.attention, int(block.max_pool)]
        numbers += [network.scalar(f"{name}.{part}") for part in ("mean", "squeeze.shift", "score")]
        attention = f"{symbol}_squeeze, {symbol}_excite, {', '.join(map(str, numbers))}"
    residual = network.scalar(f"{name}.residual") if block.residual else 0
    numbers = [residual, network.scalar(f"{name}.narrow"), network.zero(name)]
    numbers += [block.inputs, block.hidden, block.outputs, block.size, block.stride]
    rest = ", ".join(map(str, numbers))
    return f"    {{{expand}, {taps},\n     {project}, {symbol}_gain,\n     {attention}, {rest}}}"


def _biases(name: str, bias: NDArray[Any], sums: NDArray[Any]) -> str:
    """As activations are taken: as they are, or less 128."""
    plain, signed = (
        array("int32_t", name, _panels(bias)),
        array("int32_t", name, _panels(bias + 128 * sums)),
    )
    return f"#if UVA_SIGNED\n{signed}#else\n{plain}#endif\n"


def _quads(weight: NDArray[Any]) -> NDArray[Any]:
    """[rows, columns, inputs, outputs] to [panels, quads, 16, 4]; each row is padded to quads of its own."""
    rows, outputs = weight.shape[0], weight.shape[3]
    flat = weight.reshape(rows, -1, outputs)
    depth, panels = -(-flat.shape[1] // 4), -(-outputs // LANES)
    padded = np.zeros((rows, depth * 4, panels * LANES), weight.dtype)
    padded[:, : flat.shape[1], :outputs] = flat
    return padded.reshape(rows * depth, 4, panels, LANES).transpose(2, 0, 3, 1)


def _taps(weight: NDArray[Any]) -> NDArray[Any]:
    """[3, 3, channels] to [panels, 3, 16, 4]."""
    channels = weight.shape[2]
    padded = np.zeros((channels // LANES, 3, LANES, 4), weight.dtype)
    padded[..., :3] = weight.reshape(3, 3, -1, LANES).transpose(2, 0, 3, 1)
    return padded


def _as_wide(values: NDArray[Any]) -> NDArray[Any]:
    """[channels] to [panels, 4 quads, 2, 4], every quad twice."""
    return np.repeat(_panels(values).reshape(-1, 4, 1, 4), 2, axis=2)


# --- float tables -------------------------------------------------------------------------------------------


def _float_tables(topology: Topology, parameters: Parameters) -> Iterable[str]:
    found: list[str] = []

    def product(name: str, weight: NDArray[Any] | None = None, bias: NDArray[Any] | None = None) -> str:
        symbol = f"uva_{name}".replace(".", "_")
        weight = parameters[f"{name}.weight"] if weight is None else weight
        bias = parameters[f"{name}.bias"] if bias is None else bias
        found.append(array("float", f"{symbol}_weight", _lanes(weight)))
        found.append(array("float", f"{symbol}_bias", _panels(bias)))
        return f"{{{symbol}_weight, {symbol}_bias, {-(-len(bias) // LANES)}}}"

    found.append(f"static const uva_product uva_first = {product('first')};\n")
    for table, blocks in _tables_of(topology):
        rows = [_float_block(parameters, block, product, found.append) for block in blocks]
        if rows:
            found.append(f"static const uva_block {table}[] = {{\n" + ",\n".join(rows) + "};\n")
    found.append(f"static const uva_product uva_mix = {product('fuse7')};\n")
    for name in ("up11", "up12"):
        bias = np.tile(parameters[f"{name}.bias"], 2)
        phases = [
            product(f"{name}_{phase}", _phase(parameters[f"{name}.weight"], phase), bias)
            for phase in range(2)
        ]
        found.append(f"static const uva_product uva_{name}[2] = {{{', '.join(phases)}}};\n")
    return found


def _float_block(
    parameters: Parameters, block: BlockShape, product: Callable[[str], str], emit: Callable[[str], None]
) -> str:
    name, symbol = block.name, f"uva_{block.name}"
    expand, project = product(f"{name}.expand"), product(f"{name}.project")
    emit(array("float", f"{symbol}_taps", parameters[f"{name}.depthwise.weight"]))
    emit(array("float", f"{symbol}_taps_bias", parameters[f"{name}.depthwise.bias"]))
    attention = "NULL, NULL, 0, 0"
    if block.attention:
        emit(array("float", f"{symbol}_squeeze", parameters[f"{name}.squeeze"].T))
        emit(array("float", f"{symbol}_excite", parameters[f"{name}.excite"]))
        attention = f"{symbol}_squeeze, {symbol}_excite, {block.attention}, {int(block.max_pool)}"
    numbers = [block.inputs, block.hidden, block.outputs, block.size, block.stride, int(block.residual)]
    taps, rest = f"{symbol}_taps, {symbol}_taps_bias", ", ".join(map(str, numbers))
    return f"    {{{expand}, {taps},\n     {project},\n     {attention}, {rest}}}"


def _lanes(weight: NDArray[Any]) -> NDArray[Any]:
    """[rows, columns, inputs, outputs] to [panels, depth, 16]."""
    outputs = weight.shape[3]
    panels = -(-outputs // LANES)
    flat = weight.reshape(-1, outputs)
    padded = np.zeros((len(flat), panels * LANES), weight.dtype)
    padded[:, :outputs] = flat
    return padded.reshape(len(flat), panels, LANES).transpose(1, 0, 2)


# --- both -----------------------------------------------------------------------------------------------------


def _tables_of(topology: Topology) -> Iterable[tuple[str, tuple[BlockShape, ...]]]:
    return (
        ("uva_low", topology.low_level),
        ("uva_spatial", topology.spatial),
        ("uva_temporal", topology.temporal),
        ("uva_fuse", topology.decoder),
    )


def _phase(weight: NDArray[Any], phase: int) -> NDArray[Any]:
    """The product of one row phase of a 4x4 deconvolution of stride 2: [2 rows, 3 columns, inputs, 2 columns of the
    output x outputs], of the pixels above and below and from left to right of an output's place."""
    inputs, outputs = weight.shape[2:]
    found = np.zeros((2, 3, inputs, 2, outputs), weight.dtype)
    for row in range(2):
        for column_phase in range(2):
            for column in range(2):
                taps = weight[3 - phase - 2 * row, 3 - column_phase - 2 * column]
                found[row, column + column_phase, :, column_phase] = taps
    return found.reshape(2, 3, inputs, 2 * outputs)


def _panels(values: NDArray[Any]) -> NDArray[Any]:
    """[channels], padded with zeros to whole panels."""
    return np.pad(values, (0, -len(values) % LANES))


def _padded(elements: int) -> int:
    return -(-elements // 16) * 16
