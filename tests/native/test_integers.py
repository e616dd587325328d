"""The constants of an int8 network as a file: the same back, and nothing from a file that could harm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import Drawn, draw
from safetensors.numpy import save

from uva_edge.errors import SessionError
from uva_edge.runtimes.native.integers import Integers
from uva_edge.runtimes.native.topology import Topology


@pytest.fixture(scope="module")
def network() -> Drawn:
    return draw(resolution=32)


def test_they_come_back_as_they_were(network: Drawn) -> None:
    data = network.integers.to_bytes()
    found = Integers.from_bytes(data, network.topology)
    assert found.to_bytes() == data
    for name, array in network.integers.arrays.items():
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, bytes(range(256)) * 9], ids=["empty", "zeros", "garbage"])
def test_what_is_no_such_file(network: Drawn, data: bytes) -> None:
    with pytest.raises(SessionError, match="export the bundle again"):
        Integers.from_bytes(data, network.topology)


def test_constants_of_another_network(network: Drawn) -> None:
    other = Topology.of_options(
        32,
        {
            "width": 1,
            "block": "mb",
            "branches": "both",
            "expansion": 2,
            "pairing": "causal",
            "output": "peak",
        },
    )
    with pytest.raises(SessionError, match="which differ in"):
        Integers.from_bytes(network.integers.to_bytes(), other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("low2.expand.weight", 64),
        ("low2.expand.weight", -128),
        ("first.bias", 2**31 - 1),
        ("first.multiplier", -1),
        ("first.shift", 32),
        ("first.shift", -1),
        ("peak.shift", 40),
        ("peak.multiplier", 0),
        ("peak.cap", 2**31 - 1),
        ("low4.zero", 256),
        ("low4.narrow", 40000),
        ("low4.gain", 32767),
        ("low4.squeeze", 32767),
        ("low4.squeeze.shift", 60),
        ("low4.excite", -32768),
        ("low4.mean", -1),
        ("state.scale", np.nan),
        ("state.scale", -1.0),
    ],
)
def test_numbers_that_could_overflow_are_refused(network: Drawn, name: str, value: Any) -> None:
    arrays = {key: array.copy() for key, array in network.integers.arrays.items()}
    arrays[name][...] = value
    with pytest.raises(SessionError, match="integer constants"):
        Integers.from_bytes(save(arrays), network.topology)


@pytest.mark.parametrize("change", ["dtype", "shape"])
def test_other_dtypes_and_shapes_are_refused(network: Drawn, change: str) -> None:
    arrays = dict(network.integers.arrays)
    weight = arrays["first.weight"]
    arrays["first.weight"] = weight.astype(np.int16) if change == "dtype" else weight.reshape(-1)
    with pytest.raises(SessionError, match=r"integer constant first\.weight: expected int8"):
        Integers.from_bytes(save(arrays), network.topology)
