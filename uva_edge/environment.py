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
from pathlib import PurePosixPath
from typing import Any, Final, Literal, TypeAlias

from uva_edge import kernel_files
from uva_edge.errors import OptionError
from uva_edge.gpu import GpuFacts, probe_gpus

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
    """Whether an engine can be used here; `reason` and `fix` are sentences. Where it can, they are empty or tell of
    something that is odd about it."""

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
        afterwards: what has to be run after that line.
    """

    module: str
    distributions: tuple[str, ...]
    extra: str | None
    needs: tuple[str, ...] = ()
    afterwards: str = ""

    @property
    def fix(self) -> str:
        requirement = f"uva-edge[{self.extra}]" if self.extra else "uva-edge"
        return f"pip install '{requirement}'{self.afterwards and '; ' + self.afterwards}"


CUDA_BINDINGS: Final = "cuda.bindings"
# The base installation brings onnxruntime, the extra onnxruntime-gpu: one package's files, twice.
ONE_ONNXRUNTIME: Final = (
    "pip uninstall -y onnxruntime; pip install --force-reinstall --no-deps onnxruntime-gpu"
)

ENGINES: Final[dict[str, Package]] = {
    "onnxruntime": Package("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), None),
    "openvino": Package("openvino", ("openvino",), "openvino"),
    "torch": Package("torch", ("torch",), "torch", needs=("safetensors",)),
    "tensorrt": Package("tensorrt", ("tensorrt",), "tensorrt", needs=(CUDA_BINDINGS,)),
    "tensorrt_rtx": Package(
        "tensorrt_rtx_bindings", ("tensorrt-rtx-cu13-bindings",), "tensorrt-rtx", needs=(CUDA_BINDINGS,)
    ),
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
    gpu: GpuFacts
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
        gpu=probe_gpus(),
        engines={name: probe_engine(name) for name in engines},
    )


@lru_cache(maxsize=1)
def probe_cpu() -> Cpu:
    """The processor, from /proc/cpuinfo where there is one; looked at once."""
    fields: dict[str, str] = {}
    for line in kernel_files.read("/proc/cpuinfo").splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name.strip().lower(), value.strip())
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    return Cpu(
        # ARM kernels give no model name; the device tree has the board's.
        model=fields.get("model name") or kernel_files.board() or platform.machine(),
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


def installed(engine: str | Package) -> Availability:
    """Whether an engine's package is there, without importing it: `ok` with its version, `missing`, or `broken`
    when pip has it on its list and its files are gone."""
    package = _package(engine)
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
    reason, fix = _overlap(package)
    return Availability("ok", version, reason, fix)


def probe_engine(engine: str | Package) -> Availability:
    """Whether an engine can be imported; as `installed`, and `broken` with the words of a failing import."""
    package = _package(engine)
    availability = installed(package)
    if not availability.ok:
        return availability
    for module in (package.module, *package.needs):
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever it is: that is the package's way of being broken
            reason = f"{module} is installed but can't be imported: {type(error).__name__}: {error}"
            return _broken(package, availability.version, reason)
    return availability


def _package(engine: str | Package) -> Package:
    if isinstance(engine, Package):
        return engine
    if engine not in ENGINES:
        raise OptionError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}")
    return ENGINES[engine]


def _broken(package: Package, version: str | None, reason: str) -> Availability:
    fix = f"pip uninstall {' '.join(package.distributions)}; {package.fix}"
    return Availability("broken", version=version, reason=reason, fix=fix)


def _overlap(package: Package) -> tuple[str, str]:
    """What is to say of an engine of which two distributions are installed, one over the other."""
    present = sorted(name for name in package.distributions if _distribution_version(name) is not None)
    if len(present) < 2:
        return "", ""
    reason = (
        f"{' and '.join(present)} are installed over each other: they share their files, and those of the last "
        "one are what runs"
    )
    for_cpu = f"pip uninstall -y {' '.join(present)}; pip install {present[0]}"
    return reason, f"for a GPU: {ONE_ONNXRUNTIME}; for the CPU: {for_cpu}"


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
        version = _distribution_version(distribution)
        if version is not None:
            return version
    module = sys.modules.get(package.module)
    return getattr(module, "__version__", None)


def _distribution_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


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
    for line in kernel_files.read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            groups["v2"] = path
        elif "cpu" in controllers.split(","):
            groups["v1"] = path
    for group in _with_parents(groups["v2"]):
        quota, _, period = kernel_files.read(f"/sys/fs/cgroup{group}/cpu.max").strip().partition(" ")
        yield quota, period
    for group in _with_parents(groups["v1"]):
        files = (f"/sys/fs/cgroup/cpu{group}/cpu.cfs_{name}_us" for name in ("quota", "period"))
        quota, period = (kernel_files.read(file).strip() for file in files)
        yield quota, period


def _with_parents(group: str) -> list[str]:
    path = PurePosixPath("/", group)
    return [str(directory).rstrip("/") for directory in (path, *path.parents)]
