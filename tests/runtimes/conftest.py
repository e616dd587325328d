"""A predictor for each engine that is here; and backends that need none, with bundles of a few bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uva_edge import environment
from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, write_bundle
from uva_edge.environment import Availability
from uva_edge.errors import SessionError
from uva_edge.golden import Golden
from uva_edge.manifest import Artifact, Contract, Lineage, Network, TensorSpec
from uva_edge.runtimes import SaliencyPredictor, fastest
from uva_edge.runtimes.backend import SessionInfo, SessionOptions, closed
from uva_edge.runtimes.registry import BACKENDS, PRIORITY

SIDE = 8
STATE = (1, 64, 2, 2)


@pytest.fixture(scope="session")
def able() -> Callable[[str], str]:
    """The name of a backend that can run here; the test is skipped for any other."""

    def _able(name: str) -> str:
        availability = BACKENDS[name].probe()
        if not availability.ok:
            pytest.skip(f"{availability.reason}; {availability.fix}")
        return name

    return _able


@pytest.fixture(scope="module", params=list(BACKENDS))
def predictor(
    request: pytest.FixtureRequest, bundle: Bundle, able: Callable[[str], str]
) -> Iterator[SaliencyPredictor]:
    """One for each backend that is installed."""
    with SaliencyPredictor(bundle.location, backend=able(request.param)) as opened:
        yield opened


@pytest.fixture(scope="module")
def onnx(bundle: Bundle) -> Iterator[SaliencyPredictor]:
    """One that every installation has, where the backend plays no part."""
    with SaliencyPredictor(bundle.location, backend="onnxruntime") as opened:
        yield opened


class Clock:
    """Stands in for the module `time`: it goes on only while a fake session runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


@dataclass
class FakeBackend:
    """A backend whose every answer a test decides; it keeps count of what was asked of it."""

    name: str
    formats: tuple[str, ...] = ("onnx",)
    availability: Availability = field(default_factory=lambda: Availability("ok", version="1.0"))
    seconds: float = 0.001
    refuses: str = ""
    """The words with which the engine refuses to load."""
    fails: str = ""
    """The words with which it fails to run."""
    probes: int = 0
    sessions: list[FakeSession] = field(default_factory=list)

    def installed(self) -> Availability:
        # A broken package shows when it is imported, not before.
        broken = self.availability.status == "broken"
        return Availability("ok", self.availability.version) if broken else self.availability

    def probe(self) -> Availability:
        self.probes += 1
        return self.availability

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> FakeSession:
        if self.refuses:
            raise SessionError(self.refuses)
        session = FakeSession(self, artifact, options)
        self.sessions.append(session)
        return session


@dataclass
class FakeSession:
    """Maps are the frame's brightness and that of the same stream's frame before, half and half."""

    backend: FakeBackend
    artifact: Artifact
    options: SessionOptions
    closes: int = 0
    calls: list[tuple[int, int]] = field(default_factory=list)
    """Of each run, how many frames and states it was given."""

    @property
    def info(self) -> SessionInfo:
        facts = (self.artifact.name, "CPU", self.artifact.precision, self.options.threads)
        return SessionInfo(self.backend.name, f"{self.backend.name} 1.0", *facts)

    def run(self, frames: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.closes:
            raise closed(self.info)
        if self.backend.fails:
            raise SessionError(self.backend.fails)
        assert self.artifact.frames in (None, len(frames)), (
            f"{self.artifact.name} is not for T = {len(frames)}"
        )
        self.calls.append((len(frames), len(state)))
        CLOCK.now += self.backend.seconds
        bright = frames.mean(axis=(1, 2, 3), dtype=np.float32) / 255
        maps = 0.5 * frames.mean(axis=3, dtype=np.float32) / 255
        streams = len(state)
        maps += 0.5 * np.append(state[:, 0, 0, 0], bright[:-streams])[:, None, None]
        return maps, np.tile(bright[-streams:, None, None, None], STATE)

    def close(self) -> None:
        self.closes += 1


@pytest.fixture
def fake() -> type[FakeBackend]:
    return FakeBackend


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make these the backends there are, in this order, on a processor of any class."""
    monkeypatch.setattr(fastest, "time", CLOCK)

    def _install(*backends: FakeBackend) -> None:
        for name in list(BACKENDS):
            monkeypatch.delitem(BACKENDS, name)
        for backend in backends:
            monkeypatch.setitem(BACKENDS, backend.name, backend)
        for processor in PRIORITY:
            monkeypatch.setitem(PRIORITY, processor, tuple(backend.name for backend in backends))

    return _install


@pytest.fixture
def missing() -> Callable[[str], Availability]:
    """What a backend says whose package is not installed."""

    def _missing(name: str) -> Availability:
        return Availability(
            "missing", reason=f"{name} is not installed", fix=f"pip install 'uva-edge[{name}]'"
        )

    return _missing


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change what the processor says of itself."""

    def _processor(**changes: Any) -> None:
        cpu = replace(environment.probe_cpu(), **changes)
        for module in ("selection", "fastest"):
            monkeypatch.setattr(f"uva_edge.runtimes.{module}.probe_cpu", lambda: cpu)

    return _processor


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Bundle]:
    """Write a bundle at R = 8 of artifacts that no engine could read, given as (name, format, precision, T),
    and perhaps what was measured at export."""

    def _tiny(*artifacts: Any, name: str = "tiny", seed: int = 1, streams: int | None = 1) -> Bundle:
        random = np.random.default_rng(seed)
        sources = [
            ArtifactSource(
                title,
                kind,
                precision,
                frames,
                {f"{title}.bin": b"artifact"},
                {},
                dict(*parity),
                streams=1 if frames else streams,
            )
            for title, kind, precision, frames, *parity in artifacts
        ]
        return write_bundle(
            tmp_path / "bundles" / name,
            name=name,
            network=Network("uva-net", {}, 1, 1),
            contract=Contract(
                resolution=SIDE,
                pairing="causal",
                output="peak",
                frames=TensorSpec("frames", "uint8", ("T", SIDE, SIDE, 3)),
                state_in=TensorSpec("state_in", "float32", STATE),
                maps=TensorSpec("maps", "float32", ("T", SIDE, SIDE)),
                state_out=TensorSpec("state_out", "float32", STATE),
            ),
            artifacts=sources,
            golden=Golden(
                frames=random.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8),
                maps=random.random((4, SIDE, SIDE), dtype=np.float32),
                state=random.standard_normal(STATE, dtype=np.float32),
            ),
            accuracy={},
            lineage=Lineage({}, {}, (), "", None, "0" * 64, "Apache-2.0"),
        )

    return _tiny


@pytest.fixture
def fp32(tiny: Callable[..., Bundle]) -> Bundle:
    """A bundle as the exporter makes them: ONNX for any T and for T = 1."""
    return tiny(("onnx-fp32", "onnx", "fp32", None), ("onnx-fp32-t1", "onnx", "fp32", 1))
