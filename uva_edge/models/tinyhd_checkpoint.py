"""The weights of TinyHD: the public checkpoints (PyTorch), and safetensors with the same names in a bundle."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from uva_edge.errors import DataError
from uva_edge.models.tinyhd import ADAPTERS, LAYERS, WINDOW, TinyHD, Variant, Widths
from uva_edge.whole_files import read_bytes

MAX_BYTES: Final = 64 << 20
MAX_VALUES: Final = MAX_BYTES // 4

_KEY: Final = "student_model"
_PROBE: Final = (1, 3, WINDOW, 32, 32)


def read_tinyhd(path: Path) -> bytes:
    """The bytes of a checkpoint, for `load_tinyhd`; DataError if it can't be read or exceeds `MAX_BYTES`."""
    return read_bytes(path, MAX_BYTES, "a checkpoint of TinyHD (.pth)")


def load_tinyhd(source: Path | bytes, *, name: str = "checkpoint") -> TinyHD:
    """The network in eval mode, from ``{"student_model": state_dict}``, a file or its bytes.

    The variant and the channels are read off the weights. Nothing is unpickled but tensors.

    Raises:
        DataError: unreadable, damaged, or not the weights of a TinyHD; the message names the file.
    """
    if isinstance(source, Path):
        source, name = read_tinyhd(source), str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on old formats; what can't be read raises
            content = torch.load(io.BytesIO(source), map_location="cpu", weights_only=True)
        return _network(content[_KEY])
    except Exception as error:  # a damaged file makes torch's reader raise of many kinds
        raise _refused(name, error) from None


def tinyhd_bytes(network: TinyHD) -> bytes:
    """The weights as the bytes of a .safetensors file."""
    return save_tensors({key: value.contiguous() for key, value in network.state_dict().items()})


def load_tinyhd_bytes(data: bytes) -> TinyHD:
    """What `tinyhd_bytes` wrote, in eval mode; DataError if it is anything else."""
    try:
        return _network(load_tensors(data))
    except Exception as error:  # as above
        raise _refused("weights", error) from None


def _refused(name: str, error: Exception) -> DataError:
    # torch lists every tensor that is missing: its first lines are enough.
    reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
    return DataError(f"{name}: expected the weights of TinyHD-S or TinyHD-M; {reason[:400]}")


def _network(weights: Mapping[str, Any]) -> TinyHD:
    for key, value in weights.items():
        if not isinstance(value, Tensor) or value.dtype not in (torch.float32, torch.int64):
            raise ValueError(f"{key} is {getattr(value, 'dtype', type(value).__name__)}, expected float32")
    if sum(value.numel() for value in weights.values()) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    # On the meta device nothing is drawn or allocated; the weights are then put in place as they are.
    with torch.device("meta"):
        network = TinyHD(_variant(weights), _widths(weights)).eval()
    for key, expected in network.state_dict().items():
        if key in weights and weights[key].dtype != expected.dtype:
            raise ValueError(f"{key} is {weights[key].dtype}, expected {expected.dtype}")
    for key, value in weights.items():
        if not value.isfinite().all():
            raise ValueError(f"{key} holds NaN or infinity")
    network.load_state_dict(weights, assign=True)
    with torch.inference_mode():
        network(torch.zeros(_PROBE))  # raises where the widths of two layers don't fit each other
    return network


def _variant(weights: Mapping[str, Tensor]) -> Variant:
    # M convolves in three dimensions to the end.
    return "m" if weights["decoder.decoder.0.weight"].ndim == 5 else "s"


def _widths(weights: Mapping[str, Tensor]) -> Widths:
    layers = ["0.0", "1.conv.1", *(f"{index}.conv.2" for index in range(2, LAYERS - 1)), f"{LAYERS - 1}.0"]
    adapters = [f"aggregator.aggregate_adapter.{index}.conv" for index in range(ADAPTERS)]
    return Widths(
        encoder=tuple(weights[f"encoder.encoder.{layer}.weight"].shape[0] for layer in layers),
        adapters=tuple(
            (weights[f"{adapter}.0.0.weight"].shape[1], weights[f"{adapter}.2.weight"].shape[0])
            for adapter in adapters
        ),
    )
