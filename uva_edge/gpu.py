"""The NVIDIA GPUs that this process may use, as their driver tells.

The driver is asked through cuda-python, in this process: it sees what the engines will see (CUDA_VISIBLE_DEVICES, a
container's share, a Jetson, which has no nvidia-smi of use), in their order, and says which CUDA it supports. That
package comes with every extra that can use a GPU; without it the kernel's own files still give names. A machine
without a driver is known by the absence of a few files, before anything is imported.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from uva_edge import kernel_files

_TRACES: Final = (
    "/proc/driver/nvidia/version",
    "/dev/nvidiactl",
    "/dev/nvhost-ctrl-gpu",  # Jetson
    "/dev/dxg",  # Windows' driver, in WSL
)
_VERSION: Final = "/proc/driver/nvidia/version"
_INSTALL: Final = "install the GPU's driver; in a container, start it with --gpus all"
_BINDING: Final = "pip install 'cuda-bindings>=12.6'"
_NO_DEVICE: Final = "CUDA_ERROR_NO_DEVICE"
_ERRORS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        _NO_DEVICE: (
            "the NVIDIA driver shows no GPU to this process",
            "check CUDA_VISIBLE_DEVICES; in a container, start it with --gpus all",
        ),
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": (
            "the NVIDIA driver's kernel module and its library are of different versions",
            "restart the machine, or reload the kernel module",
        ),
    }
)


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        compute_capability: such as "8.6"; "" where only the kernel's files tell of it.
        memory: in bytes; 0 likewise.
    """

    name: str
    compute_capability: str = ""
    memory: int = 0

    def __str__(self) -> str:
        if not self.compute_capability:
            return self.name
        return f"{self.name} (compute capability {self.compute_capability}, {self.memory / 2**30:.0f} GiB)"


@dataclass(frozen=True)
class GpuFacts:
    """What there is of GPUs and of their driver; as text one line.

    Attributes:
        driver: its version, such as "550.54.15"; None where it doesn't tell.
        cuda: the newest CUDA that the driver supports, such as "12.4"; None where it could not be asked.
        gpus: in the order in which engines number them.
        problem: why no GPU can be used; empty when one can.
        fix: how to mend that.
        broken: whether there is a driver that fails, and not just none for this process.
    """

    driver: str | None = None
    cuda: str | None = None
    gpus: tuple[Gpu, ...] = ()
    problem: str = ""
    fix: str = ""
    broken: bool = False

    @property
    def usable(self) -> bool:
        return not self.problem

    def supports(self, major: int) -> bool:
        """Whether what was made for that CUDA major version can run: a driver takes its own and earlier ones."""
        return self.cuda is not None and int(self.cuda.partition(".")[0]) >= major

    def __str__(self) -> str:
        names = ", ".join(map(str, self.gpus)) or "none"
        cuda = f" (CUDA {self.cuda})" if self.cuda else ""
        return f"{names}, driver: {self.driver or 'none'}{cuda}"


NO_DRIVER: Final = GpuFacts(problem="there is no NVIDIA driver here", fix=_INSTALL)


def has_driver() -> bool:
    """Whether there is a trace of an NVIDIA driver; opens and imports nothing."""
    return any(map(os.path.exists, _TRACES))


@lru_cache(maxsize=1)
def probe_gpus() -> GpuFacts:
    """The GPUs of this process; asked once, for a process can't gain or lose any. Never raises."""
    if not has_driver():
        return NO_DRIVER
    version = _driver_version()
    try:
        from cuda.bindings import driver
    except ImportError as error:
        reason = f"cuda-bindings is not there, through which the GPU is used ({error})"
        return GpuFacts(version, None, _listed(), reason, _BINDING)
    return ask(driver, version)


def ask(driver: Any, version: str | None) -> GpuFacts:
    """What a driver tells through `cuda.bindings.driver`, or what has its functions."""
    supported = None
    try:
        error, *answer = _call(driver.cuDriverGetVersion)
        if not error:
            supported = f"{answer[0] // 1000}.{answer[0] % 1000 // 10}"
        error, *_ = _call(driver.cuInit, 0)
        if error == _NO_DEVICE:
            return GpuFacts(version, supported, (), *_ERRORS[error])
        if error:
            problem, fix = _ERRORS.get(error, (f"the NVIDIA driver does not start: {error}", _INSTALL))
            return GpuFacts(version, supported, (), problem, fix, broken=True)
        gpus = tuple(_gpu(driver, index) for index in range(_value(driver.cuDeviceGetCount)))
    except Exception as error:  # no library to load, or a function that it lacks: the binding's own kinds
        reason = f"the NVIDIA driver can't be asked: {error}"
        return GpuFacts(version, supported, _listed(), reason, _INSTALL, broken=supported is not None)
    return (
        GpuFacts(version, supported, gpus) if gpus else GpuFacts(version, supported, (), *_ERRORS[_NO_DEVICE])
    )


def _gpu(driver: Any, index: int) -> Gpu:
    attributes = driver.CUdevice_attribute
    device = _value(driver.cuDeviceGet, index)
    name = _value(driver.cuDeviceGetName, 96, device)
    capability = [
        _value(driver.cuDeviceGetAttribute, attribute, device)
        for attribute in (
            attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    ]
    return Gpu(
        bytes(name).split(b"\0")[0].decode(errors="replace"),
        ".".join(map(str, capability)),
        _value(driver.cuDeviceTotalMem, device),
    )


def _call(function: Any, *arguments: Any) -> tuple[Any, ...]:
    """The name of an error, empty for none, and what the function gives."""
    result, *values = function(*arguments)
    return ("" if int(result) == 0 else result.name, *values)


def _value(function: Any, *arguments: Any) -> Any:
    error, *values = _call(function, *arguments)
    if error:
        raise RuntimeError(error)
    return values[0]


def _driver_version() -> str | None:
    first = kernel_files.read(_VERSION).partition("\n")[0]
    number = re.search(r"\b\d+\.\d+(\.\d+)?\b", first)
    return number.group() if number else None


def _listed() -> tuple[Gpu, ...]:
    """The GPUs that the kernel module lists, or the board that is one."""
    names = []
    for information in sorted(glob.glob("/proc/driver/nvidia/gpus/*/information")):
        for line in kernel_files.read(information).splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    if not names and kernel_files.board().startswith("NVIDIA"):
        names.append(kernel_files.board())
    return tuple(map(Gpu, names))
