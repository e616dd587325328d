"""How many bytes a set of packages installs, their dependencies included, beyond what uva_edge itself brings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BASE: Final = ("numpy", "opencv-python-headless", "onnxruntime", "click", "rich", "safetensors")
"""uva_edge's own requirements, which every device with it has."""


class NotInstalledError(Exception):
    """A package is missing; the message has the command that installs it."""


def bytes_beyond_base(found: Mapping[str, metadata.Distribution], python: Path) -> int:
    """The files of these distributions, by their RECORDs, but not of those that uva_edge's base requires."""
    there = _distributions(python)
    base = installed([name for name in BASE if name in there], python, "")
    return sum(
        file.size or 0 for name, item in found.items() if name not in base for file in item.files or ()
    )


def installed(packages: Sequence[str], python: Path, fix: str) -> dict[str, metadata.Distribution]:
    """These packages and all that they require, by name, as an environment has them; raises NotInstalledError."""
    there = _distributions(python)
    waiting = [Requirement(name) for name in packages]
    for wanted in waiting:
        if canonicalize_name(wanted.name) not in there:
            raise NotInstalledError(f"{wanted.name} is not installed: {fix}")
    found: dict[str, metadata.Distribution] = {}
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or name not in there:
            continue
        found[name] = there[name]
        for line in there[name].requires or ():
            needed = Requirement(line)
            extras = {"", *wanted.extras}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return found


def _distributions(python: Path) -> dict[str, metadata.Distribution]:
    """By name, what a Python would import; nothing where there is no such Python."""
    try:
        command = [str(python), "-c", "import json, sys; print(json.dumps(sys.path))"]
        path = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    except OSError:
        return {}
    there: dict[str, metadata.Distribution] = {}
    for found in metadata.distributions(path=path):
        there.setdefault(canonicalize_name(found.metadata["Name"]), found)
    return there
