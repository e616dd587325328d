"""TensorRT engines that `uva-edge build-engine` made on this device: found again beside the bundle they are of.

Each is a bundle of its own in the user's cache, written and read as every bundle. Nothing builds one by itself: it
takes minutes and the exporters.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, get_args

from uva_edge.bundle import Bundle
from uva_edge.environment import ENGINES
from uva_edge.errors import BackendUnavailableError, BundleError, OutputError
from uva_edge.manifest import Artifact, Manifest

from .engine_header import Flavour
from .machine import THIS_MACHINE, Machine
from .user_cache import cache_root

WORDS: Final[Mapping[str, str]] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""What the exporter calls the flavours."""


def host_platform() -> str:
    """What an engine is bound to beside the GPU, such as linux-x86_64."""
    return f"{platform.system()}-{platform.machine()}".lower()


def build_command(bundle: Bundle, format_: str, precision: str) -> str:
    """The command that builds the engine of a bundle for this machine; empty for a format that has none."""
    if format_ not in WORDS:
        return ""
    suffix = "" if precision == "fp32" else f"-{precision}"
    data = " --data DATA" if precision == "int8" else ""
    return f"uva-edge build-engine {bundle.location} --to {WORDS[format_]}{suffix}{data}"


def capability_here(machine: Machine = THIS_MACHINE) -> str:
    """The compute capability of the first GPU.

    Raises:
        BackendUnavailableError: there is none; the message says why.
    """
    facts = machine.gpus()
    if not facts.usable:
        raise BackendUnavailableError(
            f"an engine is built for the GPU of this machine, and {facts.problem}. To mend it: {facts.fix}; or name "
            "other GPUs to `uva-edge export --to tensorrt-rtx --capability`"
        )
    return facts.gpus[0].compute_capability


def place_of(bundle: Bundle, word: str, capability: str) -> Path:
    """Where the engine of a bundle is kept that `uva-edge build-engine --to WORD` makes.

    Raises:
        OutputError: the user has no home.
    """
    try:
        root = _place(bundle)
    except RuntimeError as error:
        raise OutputError(f"there is nowhere to keep engines: {error}; set XDG_CACHE_HOME") from None
    return root / f"{word}-{host_platform()}-sm{capability.replace('.', '')}"


def with_built(bundle: Bundle, machine: Machine = THIS_MACHINE) -> Bundle:
    """The bundle, with the engines that were built of it for this GPU and the packages that are installed.

    Of two artifacts of one name, the one that was built here counts. Whatever in the cache is damaged is passed over.
    """
    try:
        places = sorted(_place(bundle).iterdir())
    except (OSError, RuntimeError):
        return bundle
    capability = machine.gpus().gpus[0].compute_capability if machine.gpus().usable else None
    for place in places:
        with suppress(BundleError):
            built = Bundle.open(place)
            if capability is not None and built.manifest.contract == bundle.manifest.contract:
                bundle = bundle.joined(built, tuple(_fitting(built.manifest, capability, machine)))
    return bundle


def _fitting(manifest: Manifest, capability: str, machine: Machine) -> Iterator[Artifact]:
    for artifact in manifest.artifacts:
        if artifact.format not in get_args(Flavour):
            continue
        version = machine.installed(ENGINES[artifact.format]).version or ""
        if (
            version.startswith(artifact.requires.get(artifact.format, "none"))
            and artifact.requires.get("platform") == host_platform()
            and capability in artifact.requires.get("compute_capability", "").split()
        ):
            yield artifact


def _place(bundle: Bundle) -> Path:
    return cache_root() / "engines" / bundle.sha256
