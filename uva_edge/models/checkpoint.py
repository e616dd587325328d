"""A trained network in one file: safetensors, with the configuration and lineage as JSON in its header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from uva_edge.errors import DataError, OutputError
from uva_edge.models.uva_net import UvaNet, UvaNetConfig

MAX_BYTES = 256 * 2**20
_KEY = "uva_edge"


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
    """Write a checkpoint to a temporary name and move it in place.

    Raises:
        OutputError: the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(checkpoint_bytes(network, lineage))
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: the checkpoint can't be written: {error.strerror}") from error


def load_checkpoint(source: Path | bytes) -> tuple[UvaNet, dict[str, Any]]:
    """The network in eval mode and its lineage, from a file or its bytes.

    Raises:
        DataError: unreadable, not a checkpoint of uva_edge, or weights that don't fit its configuration.
    """
    name = "checkpoint" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(source)
    try:
        header = _header(data)
        config = UvaNetConfig(resolution=header["resolution"], **header["options"])
        network = UvaNet(config)
        network.load_state_dict(load_tensors(data))
        lineage: dict[str, Any] = header["lineage"]
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name}: not a checkpoint that uva_edge wrote: {error}") from None
    return network.eval(), lineage


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes; a checkpoint has at most {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a checkpoint (.safetensors) was expected") from None


def _header(data: bytes) -> dict[str, Any]:
    # safetensors: 8 bytes length of a JSON header, then the header, whose __metadata__ maps strings to strings.
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= min(len(data) - 8, 2**20):
        raise ValueError("no safetensors header")
    header = json.loads(data[8 : 8 + length])
    metadata = json.loads(header["__metadata__"][_KEY])
    if metadata["family"] != "uva-net":
        raise ValueError(f"network family {metadata['family']!r}, expected 'uva-net'")
    if not isinstance(metadata["lineage"], dict):
        raise ValueError("its lineage is not an object")
    return dict(metadata)


def average_into(target: torch.nn.Module, source: torch.nn.Module, decay: float) -> None:
    """Exponential moving average of weights and batch statistics: target = decay target + (1 - decay) source."""
    with torch.no_grad():
        for ours, theirs in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - decay)
            else:
                ours.copy_(theirs)
