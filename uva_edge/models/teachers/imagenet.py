"""Weights of ImageNet classifiers, from a file that the user names, into a teacher's convolutions."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from uva_edge.errors import DataError

MAX_BYTES: Final = 2**30
"""VGG-16 with its classifier has 528 MiB."""
_DAMAGE: Final = (
    SafetensorError,
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
)
"""What a file that holds no weights makes torch and safetensors raise."""


def load_convolutions(path: Path, layers: Mapping[str, nn.Conv2d]) -> None:
    """Fill convolutions with the ``NAME.weight`` and ``NAME.bias`` of a state dict; what else it has is left.

    Args:
        path: .safetensors, or what ``torch.save`` wrote of a state dict, read with ``weights_only``.
        layers: name in the file -> the layer it fills.

    Raises:
        DataError: the file can't be read, or a tensor is missing, of another shape, or not finite numbers;
            no layer is changed then.
    """
    tensors = _read(path)
    found = [
        (parameter, _checked(path, f"{name}.{kind}", tensors, parameter))
        for name, layer in layers.items()
        for kind, parameter in layer.named_parameters()
    ]
    with torch.no_grad():
        for parameter, value in found:
            parameter.copy_(value)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes; weights of a classifier have at most {MAX_BYTES}")
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; name a file with ImageNet weights") from None
    except _DAMAGE as error:
        raise DataError(
            f"{path}: expected a state dict (.pth as torchvision has it, or .safetensors); {str(error)[:300]}"
        ) from None
    if not isinstance(tensors, Mapping):
        raise DataError(f"{path}: expected a state dict, name to tensor; got {type(tensors).__name__}")
    return tensors


def _checked(path: Path, name: str, tensors: Mapping[str, Any], target: Tensor) -> Tensor:
    value = tensors.get(name)
    expected = f"expected {name} as numbers of shape {tuple(target.shape)}"
    if not isinstance(value, Tensor):
        names = ", ".join(str(key) for key in list(tensors)[:4])
        raise DataError(f"{path}: {expected}; got none among {names}, ...")
    if value.shape != target.shape or not value.is_floating_point():
        raise DataError(f"{path}: {expected}; got {value.dtype} {tuple(value.shape)}")
    if not value.isfinite().all():
        raise DataError(f"{path}: {expected}; it holds NaN or infinity")
    return value
