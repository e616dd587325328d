"""A trained network in one file: safetensors, with the configuration and lineage as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from uva_edge.errors import DataError
from uva_edge.models.uva_net import UvaNet, UvaNetConfig
from uva_edge.whole_files import read_bytes, replace_file

MAX_BYTES: Final = 256 * 2**20
MAX_HEADER_BYTES: Final = 2**20
_KEY: Final = "uva_edge"
_DAMAGE: Final = (SafetensorError, KeyError, TypeError, ValueError, RuntimeError)
"""What a file that is no checkpoint makes safetensors, json and torch raise."""


def checkpoint_bytes(network: UvaNet, lineage: Mapping[str, Any]) -> bytes:
    """The network and its lineage (JSON values) as the bytes of a .safetensors file."""
    header = {
        "family": "uva-net",
        "resolution": network.config.resolution,
        "options": network.config.options(),
        "lineage": dict(lineage),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    return save_tensors(tensors, metadata={_KEY: json.dumps(header, sort_keys=True)})


def save_checkpoint(path: Path, network: UvaNet, lineage: Mapping[str, Any]) -> None:
    """Write a checkpoint; one that stood there stays whole until the new one is complete.

    Raises:
        OutputError: the file can't be written.
    """
    replace_file(path, checkpoint_bytes(network, lineage))


def read_checkpoint(path: Path) -> bytes:
    """The bytes of a checkpoint, for `load_checkpoint`.

    Raises:
        DataError: it can't be read, or is larger than `MAX_BYTES`.
    """
    return read_bytes(path, MAX_BYTES, "a checkpoint (.safetensors)")


def load_checkpoint(source: Path | bytes, *, name: str = "checkpoint") -> tuple[UvaNet, dict[str, Any]]:
    """The network in eval mode and its lineage, from a file, or from its bytes and a name for messages.

    Raises:
        DataError: unreadable, not a checkpoint of uva_edge, or weights that don't fit its configuration.
    """
    if isinstance(source, Path):
        source, name = read_checkpoint(source), str(source)
    try:
        header = _header(source)
        network = UvaNet(UvaNetConfig(resolution=header["resolution"], **header["options"]))
        _fill(network, load_tensors(source))
    except _DAMAGE as error:
        # torch lists every tensor that is missing: its first lines are enough.
        reason = str(error)[:400]
        raise DataError(f"{name}: expected a checkpoint that uva_edge wrote; {reason}") from None
    lineage: dict[str, Any] = header["lineage"]
    return network.eval(), lineage


def _header(data: bytes) -> dict[str, Any]:
    # safetensors: 8 bytes length of a JSON header, then the header, whose __metadata__ maps strings to strings.
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= min(len(data) - 8, MAX_HEADER_BYTES):
        raise ValueError("it has no safetensors header")
    try:
        metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
    except KeyError:
        raise ValueError("its safetensors header has no metadata of uva_edge") from None
    if metadata["family"] != "uva-net":
        raise ValueError(f"the network family is {metadata['family']!r}, expected 'uva-net'")
    if not isinstance(metadata["lineage"], dict):
        raise ValueError("its lineage is not an object")
    return dict(metadata)


def _fill(network: UvaNet, tensors: dict[str, torch.Tensor]) -> None:
    expected = network.state_dict()
    for name, value in tensors.items():
        # torch itself would cast without a word.
        if name in expected and value.dtype != expected[name].dtype:
            raise ValueError(f"{name} is {value.dtype}, expected {expected[name].dtype}")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")
    network.load_state_dict(tensors)


def average_into(target: torch.nn.Module, source: torch.nn.Module, decay: float) -> None:
    """Exponential moving average of weights and batch statistics: target = decay target + (1 - decay) source."""
    with torch.no_grad():
        for ours, theirs in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - decay)
            else:
                ours.copy_(theirs)
