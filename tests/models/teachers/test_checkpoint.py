"""Teachers on disk: exact round trips, and nothing but DataError for whatever else is in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from uva_edge.errors import DataError
from uva_edge.models.teachers import checkpoint
from uva_edge.models.teachers.checkpoint import load_teacher, save_teacher
from uva_edge.models.teachers.registry import TEACHERS, build_teacher

OPTIONS: dict[str, Any] = {"width": 1 / 32, "resolution": (32, 48), "output": "sigmoid"}
BIAS = "head.6.bias"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "t.safetensors"
    save_teacher(path, build_teacher("tsnet", **OPTIONS, streams="flow"), {"steps": 3})
    return path


@pytest.mark.parametrize("name", TEACHERS)
def test_round_trip_is_exact(tmp_path: Path, name: str) -> None:
    teacher = build_teacher(name, **OPTIONS)
    teacher.pretrained = True
    save_teacher(tmp_path / "deep" / "t.safetensors", teacher, {"data": ["a"]})
    loaded, lineage = load_teacher(tmp_path / "deep" / "t.safetensors")
    assert lineage == {"data": ["a"]}
    assert type(loaded) is type(teacher)
    assert loaded.options() == teacher.options()
    assert loaded.pretrained
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    for key, value in teacher.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded.predict(frames), teacher.predict(frames))


def test_the_option_of_one_class(stored: Path) -> None:
    loaded, _ = load_teacher(stored)
    assert loaded.options()["streams"] == "flow"


def _with(data: bytes, tensors: dict[str, torch.Tensor], **changes: object) -> bytes:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    record = {**json.loads(header["__metadata__"]["uva_edge"]), **changes}
    return save({**load(data), **tensors}, metadata={"uva_edge": json.dumps(record)})


FORGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "of another tool": (lambda data: save(load(data)), "no metadata"),
    "of another family": (lambda data: _with(data, {}, family="uva-net"), "'uva-net', expected 'teacher'"),
    "of an unknown name": (lambda data: _with(data, {}, name="sam"), "'sam'"),
    "of no name": (lambda data: _with(data, {}, name=["dva"]), "expected a str"),
    "with unknown options": (lambda data: _with(data, {}, options={"depth": 9}), "depth"),
    "with other options": (lambda data: _with(data, {}, options={"width": 1.0}), "size mismatch"),
    "with no lineage": (lambda data: _with(data, {}, lineage=None), "lineage"),
    "of other shapes": (lambda data: _with(data, {BIAS: torch.zeros(2)}), "size mismatch"),
    "with a tensor too many": (lambda data: _with(data, {"extra": torch.zeros(1)}), "extra"),
    "of another precision": (lambda data: _with(data, {BIAS: torch.zeros(1).half()}), "float16"),
    "with NaN": (lambda data: _with(data, {BIAS: torch.full((1,), torch.nan)}), "NaN"),
    "cut short": (lambda data: data[:-9], "expected a teacher"),
    "empty": (lambda data: b"", "expected a teacher"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged(stored: Path, tmp_path: Path, case: str) -> None:
    forge, said = FORGED[case]
    path = tmp_path / "forged.safetensors"
    path.write_bytes(forge(stored.read_bytes()))
    with pytest.raises(DataError, match=rf"(?s)forged\.safetensors: .*{said}"):
        load_teacher(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_a_data_error_or_harmless(
    stored: Path, tmp_path: Path, where: float, value: int, cut: bool
) -> None:
    data = bytearray(stored.read_bytes())
    place = int(where * 3000)  # in the header, which a reader may stumble over; the rest is numbers
    data = data[:place] if cut else data[:place] + bytes([value]) + data[place + 1 :]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    with suppress(DataError):
        load_teacher(path)


def test_missing_and_too_large_files(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"none\.safetensors: No such file"):
        load_teacher(tmp_path / "none.safetensors")
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="at most 10"):
        load_teacher(stored)
