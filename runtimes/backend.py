"""What a backend is: it probes the machine, and loads an artifact into a session that runs clip steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.manifest import Artifact

Frames = NDArray[np.uint8]
Maps = NDArray[np.float32]
State = NDArray[Any]


@dataclass(frozen=True)
class SessionOptions:
    """What is asked of an engine."""

    threads: int = 1


@dataclass(frozen=True)
class SessionInfo:
    """What an engine really does, read back from it; never what it was asked."""

    backend: str
    engine: str
    """Name and version."""
    artifact: str
    device: str
    precision: str
    threads: int
    details: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


class Session(Protocol):
    """One artifact in one engine; stateless, and safe to run from several threads at once."""

    @property
    def info(self) -> SessionInfo: ...

    def run(self, frames: Frames, state: State) -> tuple[Maps, State]:
        """One clip step: uint8 [T, R, R, 3] and a state to maps float32 [T, R, R] and the next state.

        The arrays returned are the caller's. Raises SessionError when the engine fails.
        """
        ...

    def close(self) -> None: ...


class Backend(Protocol):
    """One engine."""

    name: str
    formats: tuple[str, ...]
    """Artifact formats that it loads, best first."""

    def installed(self) -> Availability:
        """A quick look that imports nothing."""
        ...

    def probe(self) -> Availability:
        """Whether the engine can be used: ok, missing or broken, why, and how to mend it."""
        ...

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> Session:
        """Raises BundleError for damaged files and SessionError when the engine refuses the artifact."""
        ...
