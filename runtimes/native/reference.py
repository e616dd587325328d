"""The int8 network in numpy: what the generated C equals bit for bit, on every target.

All arithmetic is of integers, and none of it can overflow:

- activations are uint8 with a zero point, weights int8 of seven bits, so a processor that adds pairs of products in
  16 bits (x86 before VNNI) never saturates; sums are int32;
- a sum becomes uint8 by a rounding shift of its layer, saturation to int16, and a Q15 multiplier of its channel,
  ``(a m + 2^14) >> 15``: one instruction of SSSE3, NEON and the Cortex-M DSP extension;
- what a block adds up and what the state keeps is int16, so that the difference of two frames' features keeps its
  small values;
- the sigmoid of the attention and the exponential of the map are tables.

The names of the constants are those of `integers.Integers`.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .integers import Integers
from .topology import BlockShape, Topology

Ints: TypeAlias = NDArray[Any]

INPUT_ZERO: Final = 128
ATTENTION_BITS: Final = 13
"""Fraction bits of the factors by which a block's two summands are multiplied."""
SIGMOID_BITS: Final = 10
SIGMOID: Final[NDArray[np.int32]] = np.round(
    32767 / (1 + np.exp(-((np.arange(1 << SIGMOID_BITS) + 0.5) / (1 << (SIGMOID_BITS - 4)) - 8)))
).astype(np.int32)
"""sigmoid(x) in Q15 for x from -8 to 8, at the middle of each of 1024 steps."""
EXP2: Final[NDArray[np.int32]] = np.round(65536 * 2.0 ** (-np.arange(256) / 256)).astype(np.int32)
"""2^(-i / 256) in Q16."""


def step(network: Integers, frame: NDArray[np.uint8], state: Ints | None) -> tuple[NDArray[np.float32], Ints]:
    """One frame: uint8 [R, R, 3] and int16 [R/4, R/4, 64], or None for a first one, to a map and the next state."""
    topology = network.topology
    current = features(network, frame)
    return head(network, topology, current, current if state is None else state), current


def features(network: Integers, frame: NDArray[np.uint8]) -> Ints:
    """f_s of a frame, int16 [R/4, R/4, 64]."""
    values = convolve(network, "first", frame, INPUT_ZERO)
    wide: Ints = np.empty(0)
    for shape in network.topology.low_level:
        wide = block(network, shape, values, None)
        values = narrow(network, shape.name, wide)
    return wide


def head(network: Integers, topology: Topology, current: Ints, previous: Ints) -> NDArray[np.float32]:
    """The map of a frame, float32 [R, R] of multiples of 2^-16, from its f_s and that of the frame before."""
    last = topology.low_level[-1].name
    seen = narrow(network, last, current)
    paths = []
    if topology.spatial:
        paths.append(_branch(network, topology.spatial, seen, current))
    if topology.temporal:
        difference = np.clip(current.astype(np.int32) - previous, -32768, 32767)
        both = np.concatenate((seen, narrow(network, "difference", difference)), axis=2)
        paths.append(_branch(network, topology.temporal, both, None))
    values = convolve(network, "fuse7", np.concatenate(paths, axis=2), 0)
    wide = values.astype(np.int32) << 7
    for shape in topology.decoder:
        wide = block(network, shape, values, wide)
        values = narrow(network, shape.name, wide)
    up = deconvolve(network, "up11", values, network.zero(topology.decoder[-1].name))
    up = requantise(network, "up11", up)
    return _peak(network, deconvolve(network, "up12", up, 0)[:, :, 0])


def block(network: Integers, shape: BlockShape, values: Ints, residual: Ints | None) -> Ints:
    """A CA-Res block: uint8 [H, W, C] and, where it adds its input, that as int16, to int16."""
    name = shape.name
    hidden = convolve(network, f"{name}.expand", values, 0)
    hidden = depthwise(network, f"{name}.depthwise", hidden, shape.stride)
    sums = _products(hidden, network[f"{name}.project.weight"][0, 0]) + network[f"{name}.project.bias"]
    projected = np.clip(sums >> network.scalar(f"{name}.project.shift"), -32768, 32767)
    factors = network[f"{name}.gain"].astype(np.int32)
    if shape.attention:
        factors = (attention(network, shape, projected) * factors + (1 << 14)) >> 15
    total = projected * factors + (1 << (ATTENTION_BITS - 1))
    if shape.residual:
        assert residual is not None
        total = total + residual * np.int32(network.scalar(f"{name}.residual"))
    summed: Ints = np.clip(total >> ATTENTION_BITS, -32768, 32767).astype(np.int16)
    return summed


def attention(network: Integers, shape: BlockShape, projected: Ints) -> Ints:
    """f_ca in Q15, [C], of int32 [H, W, C]."""
    name = shape.name
    sums = projected.sum(axis=(0, 1), dtype=np.int64)
    pools = [(sums * network.scalar(f"{name}.mean") + (1 << 30)) >> 31]
    if shape.max_pool:
        pools.append(projected.max(axis=(0, 1)).astype(np.int64))
    squeeze = network[f"{name}.squeeze"].astype(np.int64)
    hidden = sum(np.maximum(pool @ squeeze, 0) >> network.scalar(f"{name}.squeeze.shift") for pool in pools)
    hidden = np.minimum(hidden, 32767)
    scores = hidden @ network[f"{name}.excite"].astype(np.int64)
    index = (scores * network.scalar(f"{name}.score") + (1 << 22)) >> 23
    factors: Ints = SIGMOID[np.clip(index + (1 << (SIGMOID_BITS - 1)), 0, (1 << SIGMOID_BITS) - 1)]
    return factors


def narrow(network: Integers, name: str, wide: Ints) -> Ints:
    """int16 to the uint8 of the next convolution."""
    scaled = (wide.astype(np.int32) * network.scalar(f"{name}.narrow") + (1 << 14)) >> 15
    return np.clip(scaled + network.zero(name), 0, 255)


def convolve(network: Integers, name: str, values: Ints, padding: int) -> Ints:
    """A convolution of stride 1 with ReLU6: uint8 [H, W, C] to uint8 [H, W, N]."""
    weight = network[f"{name}.weight"]
    side = weight.shape[0]
    height, width = values.shape[:2]
    margin = side // 2
    padded = np.pad(values, ((margin, margin), (margin, margin), (0, 0)), constant_values=padding)
    sums = network[f"{name}.bias"].astype(np.int32)
    for row in range(side):
        for column in range(side):
            part = padded[row : row + height, column : column + width]
            sums = sums + _products(part, weight[row, column])
    return requantise(network, name, sums)


def depthwise(network: Integers, name: str, values: Ints, stride: int) -> Ints:
    """A 3x3 depthwise convolution with ReLU6."""
    height, width = values.shape[0] // stride, values.shape[1] // stride
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0))).astype(np.int32)
    sums = network[f"{name}.bias"].astype(np.int32)
    for row in range(3):
        for column in range(3):
            part = padded[row::stride, column::stride][:height, :width]
            sums = sums + part * network[f"{name}.weight"][row, column]
    return requantise(network, name, sums)


def deconvolve(network: Integers, name: str, values: Ints, padding: int) -> Ints:
    """A transposed convolution, 4x4 of stride 2: uint8 [H, W, C] to int32 [2 H, 2 W, N]."""
    weight = network[f"{name}.weight"]
    height, width = values.shape[:2]
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), constant_values=padding)
    sums = np.empty((2 * height, 2 * width, weight.shape[3]), np.int32)
    for row_phase in range(2):
        for column_phase in range(2):
            total = network[f"{name}.bias"][row_phase, column_phase]
            for row, kernel_row in ((0, 3 - row_phase), (1, 1 - row_phase)):
                for column, kernel_column in ((0, 3 - column_phase), (1, 1 - column_phase)):
                    y, x = row + row_phase, column + column_phase
                    part = padded[y : y + height, x : x + width]
                    total = total + _products(part, weight[kernel_row, kernel_column])
            sums[row_phase::2, column_phase::2] = total
    return sums


def requantise(network: Integers, name: str, sums: Ints) -> Ints:
    """int32 sums, whose biases hold the rounding of the shift, to uint8."""
    shifted = np.clip(sums >> network.scalar(f"{name}.shift"), -32768, 32767)
    scaled = (shifted * network[f"{name}.multiplier"].astype(np.int32) + (1 << 14)) >> 15
    return np.clip(scaled, 0, 255)


def _branch(network: Integers, shapes: tuple[BlockShape, ...], values: Ints, wide: Ints | None) -> Ints:
    for shape in shapes:
        wide = block(network, shape, values, wide)
        values = narrow(network, shape.name, wide)
    return values


def _peak(network: Integers, logits: Ints) -> NDArray[np.float32]:
    below = np.minimum(logits.max() - logits, network.scalar("peak.cap"))
    steps = (below * network.scalar("peak.multiplier")) >> network.scalar("peak.shift")
    saliency: NDArray[np.float32] = (EXP2[steps & 255] >> (steps >> 8)).astype(np.float32) * np.float32(
        2**-16
    )
    return saliency


def _products(values: Ints, weight: Ints) -> Ints:
    # Exact in float64, and many times faster than numpy's integers.
    products: Ints = (values.astype(np.float64) @ weight.astype(np.float64)).astype(np.int32)
    return products
