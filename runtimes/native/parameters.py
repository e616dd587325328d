"""The float parameters of a network, batch norms folded, in the layout that the C is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import SessionError

from .topology import BlockShape, Topology

Array: TypeAlias = NDArray[np.float32]
Parameters: TypeAlias = dict[str, Array]
"""Name -> array: weights [kernel rows, kernel columns, inputs, outputs] (depthwise [3, 3, channels], attention
[channels, hidden] and [hidden, channels]), biases [outputs]."""

_EPSILON: Final = 1e-5  # of torch's batch norm


def read_parameters(checkpoint: bytes, topology: Topology) -> Parameters:
    """From the file of a bundle's torch artifact.

    Raises:
        SessionError: it is no safetensors file, or its tensors are not those of the topology.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(checkpoint)
        return _folded(tensors, topology)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        words = f"{type(error).__name__}: {str(error)[:300]}"
        raise SessionError(f"its weights can't be read: {words}; export the bundle again") from None


def _folded(tensors: Mapping[str, NDArray[Any]], topology: Topology) -> Parameters:
    def convolution(name: str, prefix: str, norm: str) -> Parameters:
        scale = tensors[f"{norm}.weight"] / np.sqrt(
            tensors[f"{norm}.running_var"].astype(np.float64) + _EPSILON
        )
        weight = tensors[f"{prefix}.weight"].astype(np.float64) * scale[:, None, None, None]
        bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
        return {f"{name}.weight": _f32(weight.transpose(2, 3, 1, 0)), f"{name}.bias": _f32(bias)}

    def block(shape: BlockShape) -> Parameters:
        inverted = f"{shape.prefix}.inverted"
        found = {
            **convolution(f"{shape.name}.expand", f"{inverted}.0.0", f"{inverted}.0.1"),
            **convolution(f"{shape.name}.depthwise", f"{inverted}.1.0", f"{inverted}.1.1"),
            **convolution(f"{shape.name}.project", f"{inverted}.2", f"{inverted}.3"),
        }
        found[f"{shape.name}.depthwise.weight"] = found[f"{shape.name}.depthwise.weight"][:, :, 0]
        if shape.attention:
            for part in ("squeeze", "excite"):
                weight = tensors[f"{shape.prefix}.attention.{part}.weight"]
                found[f"{shape.name}.{part}"] = _f32(weight[:, :, 0, 0].T)
        return found

    found = convolution("first", "low_level.0.0", "low_level.0.1")
    for shape in topology.blocks:
        found |= block(shape)
    found |= convolution("fuse7", "decoder.0.0", "decoder.0.1")
    for name, prefix in (("up11", "decoder.4"), ("up12", "decoder.6")):
        found[f"{name}.weight"] = _f32(tensors[f"{prefix}.weight"].transpose(2, 3, 0, 1))
        found[f"{name}.bias"] = _f32(tensors[f"{prefix}.bias"])
    _expect_shapes(found, topology)
    return found


def _f32(values: NDArray[Any]) -> Array:
    array = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(array).all():
        raise ValueError("a weight is NaN or infinite")
    return array


def _expect_shapes(found: Parameters, topology: Topology) -> None:
    expected = dict(shapes(topology))
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise ValueError(f"{name}: expected {shape}, got {found[name].shape}")


def shapes(topology: Topology) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of every parameter."""
    found: list[tuple[str, tuple[int, ...]]] = [
        ("first.weight", (3, 3, 3, topology.narrow)),
        ("first.bias", (topology.narrow,)),
    ]
    for block in topology.blocks:
        found += [
            (f"{block.name}.expand.weight", (1, 1, block.inputs, block.hidden)),
            (f"{block.name}.expand.bias", (block.hidden,)),
            (f"{block.name}.depthwise.weight", (3, 3, block.hidden)),
            (f"{block.name}.depthwise.bias", (block.hidden,)),
            (f"{block.name}.project.weight", (1, 1, block.hidden, block.outputs)),
            (f"{block.name}.project.bias", (block.outputs,)),
        ]
        if block.attention:
            found += [
                (f"{block.name}.squeeze", (block.outputs, block.attention)),
                (f"{block.name}.excite", (block.attention, block.outputs)),
            ]
    return [
        *found,
        ("fuse7.weight", (1, 1, topology.paths, topology.fused)),
        ("fuse7.bias", (topology.fused,)),
        ("up11.weight", (4, 4, topology.narrow, topology.up)),
        ("up11.bias", (topology.up,)),
        ("up12.weight", (4, 4, topology.up, 1)),
        ("up12.bias", (1,)),
    ]
