"""What the GPU backends ask of a machine: its driver, its GPUs, their packages, the device. Tests put another there."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import threading
from collections.abc import Iterable
from typing import Any

from uva_edge import environment, gpu
from uva_edge.environment import Availability, Package
from uva_edge.gpu import NO_DRIVER, GpuFacts

from .cuda_memory import Device


class Machine:
    """This one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._device: Device | None = None

    def has_driver(self) -> bool:
        """A quick look that imports nothing."""
        return gpu.has_driver()

    def gpus(self) -> GpuFacts:
        return gpu.probe_gpus()

    def installed(self, package: Package) -> Availability:
        """As `environment.installed`; imports nothing."""
        return environment.installed(package)

    def importable(self, package: Package) -> Availability:
        """As `environment.probe_engine`."""
        return environment.probe_engine(package)

    def module(self, package: Package) -> Any:
        """What the package holds, imported."""
        return importlib.import_module(package.module)

    def distributions(self) -> Iterable[str]:
        """Names of what pip has installed."""
        return (item.metadata["Name"] or "" for item in importlib.metadata.distributions())

    def device(self) -> Device:
        """The first GPU, opened when it is first needed and kept as long as the process.

        Raises SessionError where it can't be.
        """
        with self._lock:
            if self._device is None:
                self._device = Device(self._driver())
            return self._device

    def _driver(self) -> Any:
        return importlib.import_module("cuda.bindings.driver")

    # --- what the backends say of themselves ------------------------------------------------------------

    def quick_look(self, package: Package) -> Availability:
        """Whether a GPU backend may be there: the driver first, since without it no package would help."""
        if not self.has_driver():
            return Availability("missing", reason=NO_DRIVER.problem, fix=NO_DRIVER.fix)
        return self.installed(package)

    def usable(self, package: Package) -> Availability:
        """As `quick_look`, with the package imported and the driver asked."""
        found = self.quick_look(package)
        if not found.ok:
            return found
        facts = self.gpus()
        if not facts.usable:
            return Availability(
                "broken" if facts.broken else "missing", found.version, facts.problem, facts.fix
            )
        return self.importable(package)

    def cuda_fits(self, what: str, version: str | None, major: int | None) -> Availability:
        """Whether the driver is new enough for something that was made for that CUDA."""
        facts = self.gpus()
        if major is None or facts.supports(major):
            return Availability("ok", version)
        return Availability(
            "broken",
            version,
            f"{what} is made for CUDA {major}, the driver{(facts.driver and ' ' + facts.driver) or ''} supports CUDA "
            f"{facts.cuda} and earlier",
            f"update the NVIDIA driver to one for CUDA {major} (https://docs.nvidia.com/deploy/cuda-compatibility)",
        )

    def cuda_major(self, prefix: str) -> int | None:
        """The CUDA that an installed distribution says in its name, such as 13 of tensorrt-rtx-cu13-libs.

        None where no such name is known, as with packages of JetPack.
        """
        pattern = re.compile(rf"{re.escape(prefix)}[-_]cu(\d\d)\b", re.IGNORECASE)
        for name in self.distributions():
            if found := pattern.match(name.replace("_", "-")):
                return int(found.group(1))
        return None


THIS_MACHINE = Machine()
