"""A machine with a fake GPU: what the GPU backends ask of one, and bundles of engines for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fake_cuda import FakeDriver
from fake_onnxruntime import FakeOnnxRuntime
from fake_tensorrt import FakeTensorRt, engine_of

from uva_edge import gpu
from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, write_bundle
from uva_edge.environment import Availability, Package
from uva_edge.gpu import GpuFacts
from uva_edge.runtimes.engine_header import EngineHeader
from uva_edge.runtimes.engines import host_platform
from uva_edge.runtimes.machine import Machine

LONGEST = 8


class FakeMachine(Machine):
    """Everything is there until a test takes it away."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = FakeDriver()
        self.modules: dict[str, Any] = {
            "tensorrt": FakeTensorRt(self.driver),
            "tensorrt_rtx_bindings": FakeTensorRt(self.driver),
            "onnxruntime": FakeOnnxRuntime(self.driver),
        }
        self.with_driver = True
        self.packages: dict[str, Availability] = {}
        self.names: tuple[str, ...] = ()

    def has_driver(self) -> bool:
        return self.with_driver

    def gpus(self) -> GpuFacts:
        return gpu.ask(self.driver, "580.65.06") if self.with_driver else gpu.NO_DRIVER

    def installed(self, package: Package) -> Availability:
        return self.packages.get(package.module, Availability("ok", "1.0"))

    def importable(self, package: Package) -> Availability:
        return self.installed(package)

    def module(self, package: Package) -> Any:
        return self.modules[package.module]

    def distributions(self) -> Iterable[str]:
        return self.names

    def _driver(self) -> Any:
        return self.driver


def engine_bundle(source: Bundle, place: Path, flavour: str, /, **changes: Any) -> Bundle:
    """A bundle with an engine of any length and one of T = 1, as the exporter makes them; `changes` of the header."""
    graph = source.read(source.artifact("onnx-fp32").files[0])
    sources = []
    for frames, stem, suffix in ((None, "clip", ""), (1, "step", "-t1")):
        lengths = (frames, frames) if frames else (1, LONGEST)
        engine = engine_of(graph, *lengths)
        facts: dict[str, Any] = {
            "flavour": flavour,
            "version": "10.13.3",
            "platform": host_platform(),
            "compute_capabilities": ("8.6",),
            "hardware_compatible": False,
            "version_compatible": False,
            "precision": "fp32",
            "shortest": lengths[0],
            "longest": lengths[1],
            "onnx_sha256": hashlib.sha256(graph).hexdigest(),
            "engine_sha256": hashlib.sha256(engine).hexdigest(),
        }
        header = EngineHeader(schema_version="1", **{**facts, **changes})
        name = f"{stem}.engine"
        requires = {
            flavour: header.version,
            "platform": header.platform,
            "compute_capability": " ".join(header.compute_capabilities),
        }
        sources.append(
            ArtifactSource(
                f"{flavour.replace('_', '-')}-fp32{suffix}",
                flavour,
                "fp32",
                frames,
                {name: engine, f"{name}.json": header.to_bytes()},
                requires,
                {},
            )
        )
    manifest = source.manifest
    return write_bundle(
        place,
        name="engines",
        network=manifest.network,
        contract=manifest.contract,
        artifacts=sources,
        golden=source.golden(),
        accuracy={},
        lineage=manifest.lineage,
    )
