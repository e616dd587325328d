"""Does a backend compute what the bundle promises? The golden clip, chained, on every backend that runs here.

Cases are data: backend x artifact x T x streams x threads x frame format. One table drives `uva-edge verify`,
`uva-edge bench`, the parity gate of the export and ``tests/conformance``. A run in which nothing was checked is a
failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.environment import usable_cores
from uva_edge.errors import BackendError, BundleError, WrongDeviceError
from uva_edge.golden import Golden
from uva_edge.manifest import Artifact
from uva_edge.preprocess import Color, network_input

from .agreement import TOLERANCES, YUV_TOLERANCE, Errors, Tolerance, compare
from .backend import Backend, Frames, Maps, Session, SessionOptions
from .bench.report import Status, succeeded
from .camera_formats import FORMATS, camera_frames, is_exact
from .chaining import run_abreast, run_chained
from .registry import BACKENDS, runs_family

_STEPS: Final = 16
_STREAMS: Final = 4
_MOST_THREADS: Final = 4
_YUV_LEVELS: Final = 2
"""What a byte of RGB may lose on its way through YUV."""


@dataclass(frozen=True)
class Case:
    """One cell of the table.

    Attributes:
        backend, artifact: their names.
        length: T, the frames in a step; None for the whole clip in one.
        streams: S, pieces of the clip beside each other in a step.
        threads: of the engine.
        color: a frame format, for the clip as a camera would give it; None for the network's own input.
    """

    backend: str
    artifact: str
    length: int | None
    streams: int = 1
    threads: int = 1
    color: Color | None = None

    def __str__(self) -> str:
        words = [self.backend, self.artifact, f"T={self.length or 'all'}"]
        words += [f"S={self.streams}"] if self.streams > 1 else []
        words += [f"threads={self.threads}"] if self.threads > 1 else []
        return "/".join([*words, *([self.color] if self.color else [])])


@dataclass(frozen=True)
class Outcome:
    """What became of a case; `errors` is there when the engine gave numbers.

    PASS and FAIL were checked. UNSUPPORTED: the backend is here and can't do it; SKIPPED: it is not installed.
    """

    case: Case
    status: Status
    message: str
    errors: Errors | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def tolerance(artifact: Artifact, case: Case) -> Tolerance:
    """How far from the reference a case may be, and why."""
    return TOLERANCES[artifact.precision] if case.color is None or is_exact(case.color) else YUV_TOLERANCE


def default_threads() -> tuple[int, ...]:
    """One thread, and as many as the process may use, up to four."""
    return tuple(dict.fromkeys((1, min(_MOST_THREADS, usable_cores()))))


def cases(
    bundle: Bundle, backends: Sequence[Backend] | None = None, threads: Sequence[int] = (1,)
) -> tuple[Case, ...]:
    """The table for a bundle: every backend and every artifact that it reads, chained at several T and with every
    number of threads; pieces of the clip as streams beside each other, where the artifact takes several; and one frame
    at a time in every frame format."""
    table: list[Case] = []
    for backend in tuple(BACKENDS.values()) if backends is None else backends:
        for artifact in bundle.manifest.artifacts:
            if artifact.format in backend.formats:
                for count in dict.fromkeys(threads):
                    steps = _steps(bundle, Case(backend.name, artifact.name, 1, threads=count), artifact)
                    table += steps if count == threads[0] else [case for case in steps if case.streams == 1]
                first = Case(backend.name, artifact.name, 1, threads=threads[0])
                table += [replace(first, color=color) for color in FORMATS]
    return tuple(table)


def _steps(bundle: Bundle, case: Case, artifact: Artifact) -> list[Case]:
    """A case with one frame in a step, and in steps of the other sizes."""
    limit = bundle.manifest.contract.frames_per_call
    if artifact.frames:
        lengths: Iterable[int | None] = (artifact.frames,)
    else:  # the whole clip in one step, unless its memory would be out of proportion
        lengths = dict.fromkeys((1, _STEPS, None) if limit >= _STEPS else (1, limit))
    table = [replace(case, length=length) for length in lengths]
    if artifact.streams is None:
        abreast = dict.fromkeys((1, min(_STEPS, max(1, limit // _STREAMS))))
        table += [replace(case, length=length, streams=_STREAMS) for length in abreast]
    return table


def verify(
    bundle: Bundle, *, threads: int | Sequence[int] = 1, backends: Sequence[Backend] | None = None
) -> list[Outcome]:
    """Check a bundle's files, then run every case.

    Args:
        threads: threads of each engine, one number or several.
        backends: those to check; by default all there are.

    Raises:
        BundleError: a file of the bundle is not what its manifest says: then no number means anything.
        OptionError: `threads` is more than the process may use, or less than 1.
    """
    counts = (threads,) if isinstance(threads, int) else tuple(threads)
    for count in counts:
        SessionOptions(threads=count)
    bundle.verify()
    by_name = BACKENDS if backends is None else {backend.name: backend for backend in backends}
    return list(run_cases(bundle, cases(bundle, tuple(by_name.values()), counts), by_name))


def passed(outcomes: Iterable[Outcome]) -> bool:
    """Whether something was checked and nothing failed."""
    return succeeded(outcome.status for outcome in outcomes)


def run_cases(
    bundle: Bundle, table: Iterable[Case], backends: Mapping[str, Backend] = BACKENDS
) -> Iterator[Outcome]:
    """Run cases in their order; neighbours of one backend, artifact and number of threads share a session.

    An engine that fails or is broken is a FAIL, one that is not installed is SKIPPED; UNSUPPORTED is an artifact for
    another device, a network that the backend does not know, or more threads than there are.
    """
    golden = bundle.golden()
    for (name, artifact, threads), group in groupby(
        table, lambda case: (case.backend, case.artifact, case.threads)
    ):
        yield from _run_group(bundle, golden, list(group), backends[name], bundle.artifact(artifact), threads)


def _run_group(
    bundle: Bundle, golden: Golden, group: list[Case], backend: Backend, artifact: Artifact, threads: int
) -> Iterator[Outcome]:
    opened = refusal_of(bundle, backend, threads) or _opened(bundle, backend, artifact, threads)
    if isinstance(opened, tuple):
        for case in group:
            yield Outcome(case, *opened)
        return
    try:
        for case in group:
            yield _run(bundle, golden, case, opened, tolerance(artifact, case))
    finally:
        opened.close()


def _opened(
    bundle: Bundle, backend: Backend, artifact: Artifact, threads: int
) -> Session | tuple[Status, str]:
    """A session, or why there is none."""
    try:
        return backend.load(bundle, artifact, SessionOptions(threads=threads))
    except WrongDeviceError as error:
        return "UNSUPPORTED", str(error)
    except (BackendError, BundleError) as error:
        return "FAIL", str(error)


def refusal_of(bundle: Bundle, backend: Backend, threads: int) -> tuple[Status, str] | None:
    """Why the cases of a backend can't be run here, if that is so."""
    family = bundle.manifest.network.family
    if not runs_family(backend.name, family):
        return "UNSUPPORTED", f"it runs no networks of the family {family}"
    availability = backend.probe()
    if not availability.ok:
        status: Status = "SKIPPED" if availability.status == "missing" else "FAIL"
        return status, f"{availability.reason}; {availability.fix}"
    if threads > usable_cores():
        return "UNSUPPORTED", f"the process may use {usable_cores()} cores, not {threads}"
    return None


def _run(bundle: Bundle, golden: Golden, case: Case, session: Session, allowed: Tolerance) -> Outcome:
    frames, problems = _inputs(bundle, golden, case)
    try:
        maps, state = run_clip(bundle, case, session, frames)
    except (BackendError, BundleError) as error:
        return Outcome(case, "FAIL", str(error))
    errors, too_much = compare(golden, maps, state, allowed)
    problems += too_much
    return Outcome(case, "FAIL" if problems else "PASS", ", ".join(problems) or str(allowed), errors)


def _inputs(bundle: Bundle, golden: Golden, case: Case) -> tuple[Frames, list[str]]:
    """The clip as the network gets it, and what is wrong with it already."""
    if case.color is None:
        return golden.frames, []
    frames = clip_inputs(bundle, golden, case.color)
    lost = int(np.abs(frames.astype(np.int16) - golden.frames).max())
    allowed = 0 if is_exact(case.color) else _YUV_LEVELS
    return frames, [f"{case.color} to input: {lost} levels > {allowed}"] if lost > allowed else []


def clip_inputs(bundle: Bundle, golden: Golden, color: Color) -> Frames:
    """The golden clip from frames of a format, as `network_input` brings them to the network."""
    grid = bundle.manifest.contract.grid
    return np.stack(
        [network_input(frame, grid, color=color) for frame in camera_frames(golden.frames, color)]
    )


def run_clip(bundle: Bundle, case: Case, session: Session, frames: Frames) -> tuple[Maps, NDArray[Any]]:
    """A clip in the steps that a case says: maps of all frames, and the last state on the host."""
    contract = bundle.manifest.contract
    if case.length and case.streams > 1:
        return run_abreast(session.run, contract, frames, case.length, case.streams)
    return run_chained(session.run, contract, frames, case.length)
