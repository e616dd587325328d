"""What this machine offers: processor features, cores the process may use, GPUs, engines.

Absent and broken are told apart: a package that is not installed is `missing`, one that is installed and can't
be imported is `broken`, with its own words. Nothing here installs, downloads or writes anything.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

Status: TypeAlias = Literal["ok", "missing", "broken"]

CPU_FEATURES: Final = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimddp",
    "sve",
)
"""Features that matter to the engines, by the names that Linux gives them."""


@dataclass(frozen=True)
class Availability:
    """Whether an engine can be used here; `reason` and `fix` are sentences, empty when it can."""

    status: Status
    version: str | None = None
    reason: str = ""
    fix: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True)
class Package:
    """An optional Python package: what is imported, and the pip line that brings it."""

    module: str
    distributions: tuple[str, ...]
    extra: str | None

    @property
    def fix(self) -> str:
        requirement = f"uva-edge[{self.extra}]" if self.extra else "uva-edge"
        return f"pip install '{requirement}'"


ENGINES: Final[dict[str, Package]] = {
    "onnxruntime": Package("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), None),
    "openvino": Package("openvino", ("openvino",), "openvino"),
    "torch": Package("torch", ("torch",), "torch"),
    "tensorrt": Package("tensorrt", ("tensorrt",), "tensorrt"),
    "tensorrt_rtx": Package("tensorrt_rtx_bindings", ("tensorrt-rtx-cu13-bindings",), "tensorrt-rtx"),
}


@dataclass(frozen=True)
class Cpu:
    model: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    """Cores that this process may use: affinity and the container's quota, at least 1."""

    @property
    def processor_class(self) -> str:
        """The class by which backends are ranked: avx512, avx2, neon or generic."""
        for name, feature in (("avx512", "avx512f"), ("avx2", "avx2"), ("neon", "asimd"), ("neon", "neon")):
            if feature in self.features:
                return name
        return "generic"


@dataclass(frozen=True)
class Environment:
    """One picture of the machine, as `uva-edge doctor` prints it."""

    python: str
    platform: str
    cpu: Cpu
    gpus: tuple[str, ...]
    gpu_driver: str | None
    engines: dict[str, Availability]

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def probe(engines: Sequence[str] = tuple(ENGINES)) -> Environment:
    """Look at the machine; imports the engines that are installed, which takes a second or more."""
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=probe_cpu(),
        gpus=_gpus(),
        gpu_driver=_gpu_driver(),
        engines={name: probe_engine(name) for name in engines},
    )


@lru_cache(maxsize=1)
def probe_cpu() -> Cpu:
    """The processor, from /proc/cpuinfo where there is one."""
    text = _read("/proc/cpuinfo")
    fields = {}
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name.strip().lower(), value.strip())
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    return Cpu(
        model=fields.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        features=tuple(name for name in CPU_FEATURES if name in flags),
        cores=usable_cores(),
    )


def usable_cores() -> int:
    """Cores that this process may use: what its affinity allows, bounded by the container's CPU quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, cores if quota is None else min(cores, int(quota)))


def installed(name: str) -> Availability:
    """Whether an engine's package is there, without importing it: `missing`, or `ok` with its version."""
    package = ENGINES[name]
    try:
        found = importlib.util.find_spec(package.module) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        return Availability("missing", reason=f"{package.module} is not installed", fix=package.fix)
    return Availability("ok", version=_version(package))


def probe_engine(name: str) -> Availability:
    """Whether an engine can be imported."""
    package = ENGINES[name]
    availability = installed(name)
    if not availability.ok:
        return availability
    try:
        importlib.import_module(package.module)
    except Exception as error:  # whatever an installed package raises on import is its way of being broken
        reason = f"{package.module} is installed but can't be imported: {type(error).__name__}: {error}"
        distributions = " ".join(package.distributions)
        fix = f"pip uninstall {distributions}; {package.fix}"
        return Availability("broken", version=availability.version, reason=reason, fix=fix)
    return availability


def _version(package: Package) -> str | None:
    for distribution in package.distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    module = sys.modules.get(package.module)
    return getattr(module, "__version__", None)


def _cgroup_quota() -> float | None:
    """CPUs that the control group grants, or None for no limit."""
    v2 = _read("/sys/fs/cgroup/cpu.max").split()
    if len(v2) == 2 and v2[0].isdigit() and v2[1].isdigit():
        return int(v2[0]) / int(v2[1])
    quota, period = (_read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return int(quota) / int(period)
    return None


def _gpus() -> tuple[str, ...]:
    names = []
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in _read(str(information)).splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    if not names and (model := _read("/proc/device-tree/model")).startswith("NVIDIA"):
        names.append(model.rstrip("\0 \n"))
    return tuple(names)


def _gpu_driver() -> str | None:
    first = _read("/proc/driver/nvidia/version").partition("\n")[0]
    return first.removeprefix("NVRM version:").strip() or None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
