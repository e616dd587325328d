"""What a backend is: it probes the machine, and loads an artifact into a session that runs clip steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.environment import Availability, usable_cores
from uva_edge.errors import ClosedError, OptionError
from uva_edge.manifest import Artifact, Contract

from .cuda_memory import DeviceArray

Frames = NDArray[np.uint8]
Maps = NDArray[np.float32]


class KeptState(Protocol):
    """A state in the form of the backend that made it, an array when somebody asks for one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]: ...


State: TypeAlias = NDArray[Any] | DeviceArray | KeptState
"""On the host, where a GPU's session left it, or as a backend keeps it; NumPy's functions take all of them."""
Run: TypeAlias = Callable[[Frames, State], tuple[Maps, State]]
"""One clip step, as `Session.run`."""


@dataclass(frozen=True)
class SessionOptions:
    """What is asked of an engine.

    Raises:
        OptionError: `threads` is not from 1 to the cores that this process may use.
    """

    threads: int = 1

    def __post_init__(self) -> None:
        threads, cores = self.threads, usable_cores()
        if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= cores:
            raise OptionError(
                f"threads must be from 1 to {cores}, the cores that this process may use; got {threads!r}"
            )


@dataclass(frozen=True)
class SessionInfo:
    """What an engine really does, read back from it where it tells.

    Attributes:
        engine: its name and version.
        artifact: the name of the bundle's artifact that is loaded.
        device: in the engine's own words.
        precision: fp32, fp16, bf16 or int8, what it computes in.
        threads: threads of the engine's pool, the calling one included.
        details: whatever else the engine tells.
    """

    backend: str
    engine: str
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
        """One clip step: uint8 [T, R, C, 3] and a state to maps float32 [T, R, C] and the next state.

        Where the artifact takes several streams the frames of S of them may come together, time-major (frame t of
        stream s at t * S + s), with their states along the first axis; the maps and states come in the same order.
        The arrays that come in are only read, those that are returned are the caller's. A session takes any
        session's state, in whatever memory.

        Raises:
            SessionError: the engine failed, or takes no frames or state of these shapes.
            ClosedError: the session was closed.
        """
        ...

    def close(self) -> None:
        """Free the engine's memory; a run that is under way ends first. May be called twice."""
        ...


class GpuSession(Session, Protocol):
    """A session whose maps can stay on the GPU."""

    def run_on_device(self, frames: Frames, state: State) -> tuple[DeviceArray, DeviceArray]:
        """As `run`, with the maps where they were made; all work is done when it returns."""
        ...


class Backend(Protocol):
    """One engine."""

    @property
    def name(self) -> str: ...

    @property
    def formats(self) -> tuple[str, ...]:
        """Artifact formats that it loads, best first."""
        ...

    def installed(self) -> Availability:
        """A quick look that imports nothing."""
        ...

    def probe(self) -> Availability:
        """Whether the engine can be used: ok, missing or broken, why, and how to mend it."""
        ...

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> Session:
        """Raises BundleError for damaged files and SessionError when the engine refuses the artifact."""
        ...


def first_state(contract: Contract, run: Run, frames: Frames) -> State:
    """The state that a stream starts from: its first frame, uint8 [1, R, C, 3], is its own past; or the states of
    several, from the first frame of each.

    A state of frames is that frame, repeated. One of features is what a step on it leaves behind; what came
    before plays no part. `run` makes that step.
    """
    if contract.history:
        return np.concatenate([frames] * contract.history)
    rows, *rest = contract.state_shape  # one row, wherever there is more than one frame
    return run(frames, np.zeros((len(frames) * rows, *rest), contract.state_in.dtype))[1]


def closed(info: SessionInfo) -> ClosedError:
    """The error of a session that was used after close()."""
    return ClosedError(f"the {info.backend} session of {info.artifact} was closed; make a new predictor")
