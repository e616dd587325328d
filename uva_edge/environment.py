"""What this machine offers: processor features, cores the process may use, GPUs, engines.

Absent and broken are told apart: a package that is not installed is `missing`, one that is installed and
can't be imported is `broken`, with its own words. Nothing here installs, downloads or writes anything.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, TypeAlias

from uva_edge.errors import OptionError

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
    """An optional Python package: what is imported, and the pip line that brings it.

    Attributes:
        module: the name in an import statement.
        distributions: the names that pip may know it by; the first one found gives the version.
        extra: the extra of uva-edge that brings it; None for what every installation has.
        needs: other modules that the same extra brings, and that the backend can't do without.
    """

    module: str
    distributions: tuple[str, ...]
    extra: str | None
    needs: tuple[str, ...] = ()

    @property
    def fix(self) -> str:
        requirement = f"uva-edge[{self.extra}]" if self.extra else "uva-edge"
        return f"pip install '{requirement}'"


ENGINES: Final[dict[str, Package]] = {
    "onnxruntime": Package("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), None),
    "openvino": Package("openvino", ("openvino",), "openvino"),
    "torch": Package("torch", ("torch",), "torch", needs=("safetensors",)),
    "tensorrt": Package("tensorrt", ("tensorrt",), "tensorrt"),
    "tensorrt_rtx": Package("tensorrt_rtx_bindings", ("tensorrt-rtx-cu13-bindings",), "tensorrt-rtx"),
}


_CLASSES: Final = (
    ("avx512_vnni", "avx512_vnni"),
    ("avx512", "avx512f"),
    ("avx2", "avx2"),
    ("neon", "asimd"),
    ("neon", "neon"),
)


@dataclass(frozen=True)
class Cpu:
    """The processor, and how much of it this process may use."""

    model: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    """Cores that this process may use: affinity and the container's quota, at least 1."""

    @property
    def processor_class(self) -> str:
        """The class by which backends are ranked: avx512_vnni, avx512, avx2, neon or generic."""
        return next((name for name, feature in _CLASSES if feature in self.features), "generic")


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
    """Look at the machine; imports the engines that are installed, which takes a second or more.

    Args:
        engines: names out of `ENGINES`, which says which packages they are.

    Raises:
        OptionError: an unknown engine.
    """
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
    """The processor, from /proc/cpuinfo where there is one; looked at once."""
    fields: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name.strip().lower(), value.strip())
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    return Cpu(
        # ARM kernels give no model name; the device tree has the board's.
        model=fields.get("model name") or _board() or platform.machine(),
        architecture=platform.machine(),
        features=tuple(name for name in CPU_FEATURES if name in flags),
        cores=usable_cores(),
    )


def usable_cores() -> int:
    """Cores that this process may use: what its affinity allows, bounded by the CPU quota of its control group
    (a container's, or a service's), at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, cores if quota is None else min(cores, int(quota)))


def installed(name: str) -> Availability:
    """Whether an engine's package is there, without importing it: `ok` with its version, `missing`, or `broken`
    when pip has it on its list and its files are gone."""
    package = _package(name)
    version = _version(package)
    if not _importable(package.module):
        # Two distributions of one package share its files: to uninstall one takes them from the other.
        if version is not None:
            return _broken(package, version, f"{package.module} {version} is installed, its files are gone")
        return Availability("missing", reason=f"{package.module} is not installed", fix=package.fix)
    for module in package.needs:
        if not _importable(module):
            reason = f"{module} is not installed, which {package.module} needs here"
            return Availability("missing", reason=reason, fix=package.fix)
    return Availability("ok", version=version)


def probe_engine(name: str) -> Availability:
    """Whether an engine can be imported; as `installed`, and `broken` with the words of a failing import."""
    package = _package(name)
    availability = installed(name)
    if not availability.ok:
        return availability
    for module in (package.module, *package.needs):
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever it is: that is the package's way of being broken
            reason = f"{module} is installed but can't be imported: {type(error).__name__}: {error}"
            return _broken(package, availability.version, reason)
    return availability


def _package(name: str) -> Package:
    if name not in ENGINES:
        raise OptionError(f"engine must be one of {', '.join(ENGINES)}; got {name!r}")
    return ENGINES[name]


def _broken(package: Package, version: str | None, reason: str) -> Availability:
    fix = f"pip uninstall {' '.join(package.distributions)}; {package.fix}"
    return Availability("broken", version=version, reason=reason, fix=fix)


def _importable(module: str) -> bool:
    """Whether there is a package of that name. A folder without code has no origin: any directory that happens
    to be called openvino would count."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def _version(package: Package) -> str | None:
    for distribution in package.distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    module = sys.modules.get(package.module)
    return getattr(module, "__version__", None)


def _cgroup_quota() -> float | None:
    """CPUs that the control groups of this process grant, the least of them; None for no limit."""
    granted = [
        int(quota) / int(period)
        for quota, period in _cgroup_limits()
        if quota.isdecimal() and period.isdecimal() and int(period) > 0
    ]
    return min(granted, default=None)


def _cgroup_limits() -> Iterator[tuple[str, str]]:
    """Quota and period, as the kernel writes them, of this process's control group and all above it.

    A container sees its own group as the root, a service (CPUQuota= in its unit) is in a group further down.
    """
    groups = {"v2": "/", "v1": "/"}
    for line in _read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            groups["v2"] = path
        elif "cpu" in controllers.split(","):
            groups["v1"] = path
    for group in _with_parents(groups["v2"]):
        quota, _, period = _read(f"/sys/fs/cgroup{group}/cpu.max").strip().partition(" ")
        yield quota, period
    for group in _with_parents(groups["v1"]):
        files = (f"/sys/fs/cgroup/cpu{group}/cpu.cfs_{name}_us" for name in ("quota", "period"))
        quota, period = (_read(file).strip() for file in files)
        yield quota, period


def _with_parents(group: str) -> list[str]:
    path = PurePosixPath("/", group)
    return [str(directory).rstrip("/") for directory in (path, *path.parents)]


def _gpus() -> tuple[str, ...]:
    names = []
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in _read(str(information)).splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    if not names and _board().startswith("NVIDIA"):
        names.append(_board())
    return tuple(names)


def _board() -> str:
    """The model of a board that has a device tree, such as a Raspberry Pi or a Jetson."""
    return _read("/proc/device-tree/model").rstrip("\0 \n")


def _gpu_driver() -> str | None:
    first = _read("/proc/driver/nvidia/version").partition("\n")[0]
    return first.removeprefix("NVRM version:").strip() or None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
