"""Checkpoints: exact round trips, and nothing but DataError for whatever else is in the file."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from uva_edge.errors import DataError, OutputError
from uva_edge.models import checkpoint
from uva_edge.models.checkpoint import average_into, load_checkpoint, save_checkpoint
from uva_edge.models.uva_net import UvaNet, UvaNetConfig


def test_round_trip_is_exact(tmp_path: Path) -> None:
    network = UvaNet(UvaNetConfig(resolution=96, pairing="lookahead", output="clamp", block="mb_se"))
    lineage = {"recipe": {"steps": 3}, "data": ["a"], "validation": {"nss": 1.5}}
    save_checkpoint(tmp_path / "deep" / "c.safetensors", network, lineage)
    loaded, told = load_checkpoint(tmp_path / "deep" / "c.safetensors")
    assert told == lineage
    assert loaded.config == network.config
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_a_data_error_or_harmless(untrained: Path, where: float, value: int, cut: bool) -> None:
    data = bytearray(untrained.read_bytes())
    # Damage in the header is what a reader may stumble over; the rest is numbers.
    place = int(where * 4000)
    data = data[:place] if cut else data[:place] + bytes([value]) + data[place + 1 :]
    with suppress(DataError):
        load_checkpoint(bytes(data))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\xff" * 64, (1 << 60).to_bytes(8, "little") + b"{}"]
)
def test_other_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other\.safetensors"):
        load_checkpoint(path)
    with pytest.raises(DataError, match=r"absent\.safetensors"):
        load_checkpoint(tmp_path / "absent.safetensors")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, UvaNet(UvaNetConfig(resolution=32)), {})
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(path, UvaNet(UvaNetConfig(resolution=64)), {})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]


def test_average_moves_weights_and_batch_statistics() -> None:
    a, b = UvaNet(UvaNetConfig(resolution=32)), UvaNet(UvaNetConfig(resolution=32))
    expected = {
        name: value * 0.75 + b.state_dict()[name] * 0.25
        for name, value in a.state_dict().items()
        if value.is_floating_point()
    }
    average_into(a, b, 0.75)
    for name, value in expected.items():
        torch.testing.assert_close(a.state_dict()[name], value, msg=name)


def _with(data: bytes, tensors: dict[str, torch.Tensor], **changes: object) -> bytes:
    """The checkpoint with other tensors, and other fields in its header."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    record = {**json.loads(header["__metadata__"]["uva_edge"]), **changes}
    return save({**load(data), **tensors}, metadata={"uva_edge": json.dumps(record)})


BIAS = "decoder.6.bias"
FORGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "of another tool": (lambda data: save(load(data)), "no metadata"),
    "of another family": (lambda data: _with(data, {}, family="unet"), "'unet', expected 'uva-net'"),
    "of an unknown resolution": (lambda data: _with(data, {}, resolution=48), "48"),
    "of a fractional resolution": (lambda data: _with(data, {}, resolution=32.0), r"32\.0"),
    "with unknown options": (lambda data: _with(data, {}, options={"depth": 9}), "depth"),
    "with no lineage": (lambda data: _with(data, {}, lineage=None), "lineage is not an object"),
    "of other shapes": (lambda data: _with(data, {BIAS: torch.zeros(2)}), "size mismatch"),
    "with a tensor too many": (lambda data: _with(data, {"extra": torch.zeros(1)}), "extra"),
    "of another precision": (lambda data: _with(data, {BIAS: torch.zeros(1).half()}), "float16"),
    "of complex numbers": (lambda data: _with(data, {BIAS: torch.zeros(1).to(torch.complex64)}), "complex64"),
    "with NaN": (lambda data: _with(data, {BIAS: torch.full((1,), torch.nan)}), "NaN"),
    "with a header too deep": (
        lambda data: (40_000).to_bytes(8, "little") + b"[" * 40_000,
        "uva_edge wrote",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_checkpoint_is_refused(untrained: Path, tmp_path: Path, case: str) -> None:
    forge, words = FORGED[case]
    path = tmp_path / "forged.safetensors"
    path.write_bytes(forge(untrained.read_bytes()))
    with pytest.raises(DataError, match=rf"forged\.safetensors(.|\n)*{words}"):
        load_checkpoint(path)


def test_bytes_are_named_in_messages_and_sizes_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"^front door: "):
        load_checkpoint(b"no", name="front door")
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 10)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(DataError, match="more than 10 bytes"):
        load_checkpoint(tmp_path / "large")


def test_a_place_that_can_hold_no_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    network = UvaNet(UvaNetConfig(resolution=32))
    with pytest.raises(OutputError, match="can't be written"):
        save_checkpoint(tmp_path / "file" / "c.safetensors", network, {})
    (tmp_path / "c.safetensors").mkdir()
    with pytest.raises(OutputError, match="can't be written"):
        save_checkpoint(tmp_path / "c.safetensors", network, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.safetensors", "file"]
