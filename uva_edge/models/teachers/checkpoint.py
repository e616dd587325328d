"""A trained teacher in one file: safetensors, with its name, options and lineage as JSON in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from uva_edge.errors import DataError, OptionError
from uva_edge.whole_files import replace_file

from .registry import build_teacher
from .teacher import TeacherNet

MAX_BYTES: Final = 2**30
_KEY: Final = "uva_edge"
_FAMILY: Final = "teacher"
_DAMAGE: Final = (SafetensorError, OptionError, KeyError, TypeError, ValueError, RuntimeError)
"""What a file that is no checkpoint makes safetensors, json, torch and the registry raise."""


def save_teacher(path: Path, teacher: TeacherNet, lineage: Mapping[str, Any]) -> None:
    """Write a teacher and its lineage (JSON values); a file that stood there stays whole until then.

    Raises:
        OutputError: the file can't be written.
    """
    header = {
        "family": _FAMILY,
        "name": teacher.name,
        "options": teacher.options(),
        "pretrained": teacher.pretrained,
        "lineage": dict(lineage),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in teacher.state_dict().items()}
    replace_file(path, save_tensors(tensors, metadata={_KEY: json.dumps(header, sort_keys=True)}))


def load_teacher(path: Path) -> tuple[TeacherNet, dict[str, Any]]:
    """The teacher in eval mode, on the CPU, and its lineage.

    Raises:
        DataError: unreadable, not a teacher that uva_edge wrote, or weights that don't fit its options.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size} bytes; a teacher has at most {MAX_BYTES}")
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            header = _checked_header(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        teacher = _filled(header, tensors)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; expected a teacher (.safetensors)") from None
    except _DAMAGE as error:
        # torch lists every tensor that is missing: its first lines are enough.
        raise DataError(f"{path}: expected a teacher that uva_edge wrote; {str(error)[:400]}") from None
    return teacher, header["lineage"]


def _checked_header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    if not metadata or _KEY not in metadata:
        raise ValueError("its safetensors header has no metadata of uva_edge")
    header = json.loads(metadata[_KEY])
    if header["family"] != _FAMILY:
        raise ValueError(f"the family is {header['family']!r}, expected {_FAMILY!r}")
    for name, kind in (("name", str), ("options", dict), ("pretrained", bool), ("lineage", dict)):
        if type(header[name]) is not kind:
            raise ValueError(f"{name} in its header is {header[name]!r}, expected a {kind.__name__}")
    return dict(header)


def _filled(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> TeacherNet:
    with torch.device("meta"):  # what random weights would cost is saved: all of them are assigned
        teacher = build_teacher(header["name"], **header["options"])
    for name, value in tensors.items():
        if value.dtype != torch.float32:
            raise ValueError(f"{name} is {value.dtype}, expected torch.float32")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")
    teacher.load_state_dict(tensors, assign=True)
    teacher.pretrained = header["pretrained"]
    return teacher.eval()
