"""Does a backend compute what the bundle promises? The golden clip, chained, on every backend that runs here.

Cases are data: backend x artifact x T. One table drives `uva-edge verify`, the parity gate of the export and
``tests/conformance``. A run in which nothing was checked is a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from uva_edge.bundle import Bundle
from uva_edge.errors import BackendError, BundleError
from uva_edge.golden import Golden
from uva_edge.manifest import Artifact

from .backend import Backend, Maps, Session, SessionOptions, State
from .registry import BACKENDS

Status: TypeAlias = Literal["PASS", "FAIL", "UNSUPPORTED", "SKIPPED"]


@dataclass(frozen=True)
class Tolerance:
    """How far from the float32 reference a result may be."""

    max_abs: float
    """Largest absolute error of a map, and of the state in units of the state's own peak (at least 1)."""
    min_cc: float
    """Smallest correlation of a map with the reference map."""
    reason: str


TOLERANCES: Final[dict[str, Tolerance]] = {
    "fp32": Tolerance(1e-4, 0.99999, "the same arithmetic in another order"),
    "fp16": Tolerance(2e-2, 0.999, "eleven bits of mantissa"),
    "bf16": Tolerance(1e-1, 0.99, "eight bits of mantissa, and the error returns through the state"),
    "int8": Tolerance(1.0, 0.99, "the gate of the export: CC with float32, stills and moving clips alike"),
}

_CLIP_LENGTHS: Final = (1, 16, None)


@dataclass(frozen=True)
class Case:
    """One cell of the table; `length` is T, None for the whole clip in one step."""

    backend: str
    artifact: str
    length: int | None

    def __str__(self) -> str:
        return f"{self.backend}/{self.artifact}/T={self.length or 'all'}"


@dataclass(frozen=True)
class Errors:
    """How far a run was from the reference, over the whole clip."""

    max_abs_map: float
    max_abs_state: float
    min_cc: float
    first_frame: float
    """Largest error of the first map,"""
    last_frame: float
    """and of the last: what grew through the state."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    case: Case
    status: Status
    message: str
    errors: Errors | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def cases(bundle: Bundle, backends: Sequence[Backend] | None = None) -> tuple[Case, ...]:
    """The table for a bundle: every backend, every artifact that it reads, chained at several T."""
    table = []
    for backend in backends or tuple(BACKENDS.values()):
        for artifact in bundle.manifest.artifacts:
            if artifact.format in backend.formats:
                lengths = (artifact.frames,) if artifact.frames else _CLIP_LENGTHS
                table += [Case(backend.name, artifact.name, length) for length in lengths]
    return tuple(table)


def verify(bundle: Bundle, *, threads: int = 1, backends: Sequence[Backend] | None = None) -> list[Outcome]:
    """Check a bundle's files, then run every case.

    Raises BundleError when a file of the bundle is not what its manifest says: then no number means anything.
    """
    bundle.verify()
    golden = bundle.golden()
    by_name = {backend.name: backend for backend in backends or tuple(BACKENDS.values())}
    outcomes = []
    for case in cases(bundle, tuple(by_name.values())):
        outcomes.append(run_case(bundle, golden, case, by_name[case.backend], threads))
    return outcomes


def passed(outcomes: Iterable[Outcome]) -> bool:
    """Whether something was checked and nothing failed."""
    statuses = [outcome.status for outcome in outcomes]
    return "FAIL" not in statuses and "PASS" in statuses


def run_case(bundle: Bundle, golden: Golden, case: Case, backend: Backend, threads: int) -> Outcome:
    """Run one case; an engine that fails is a FAIL, one that is not installed is SKIPPED."""
    availability = backend.probe()
    if not availability.ok:
        status: Status = "SKIPPED" if availability.status == "missing" else "FAIL"
        return Outcome(case, status, f"{availability.reason}; {availability.fix}")
    artifact = bundle.artifact(case.artifact)
    try:
        session = backend.load(bundle, artifact, SessionOptions(threads=threads))
        try:
            maps, state = run_chained(session, golden, case.length)
        finally:
            session.close()
    except (BackendError, BundleError) as error:
        return Outcome(case, "FAIL", str(error))
    return _judge(case, artifact, golden, maps, state)


def run_chained(session: Session, golden: Golden, length: int | None) -> tuple[Maps, State]:
    """The golden clip in steps of `length` frames, each from the state of the one before."""
    state = np.zeros_like(golden.state)
    first = golden.frames[:1]
    state = session.run(first, state)[1]
    maps = []
    step = length or len(golden.frames)
    for start in range(0, len(golden.frames), step):
        out, state = session.run(golden.frames[start : start + step], state)
        maps.append(out)
    return np.concatenate(maps), state


def _judge(case: Case, artifact: Artifact, golden: Golden, maps: Maps, state: State) -> Outcome:
    if maps.shape != golden.maps.shape or state.shape != golden.state.shape:
        shapes = f"maps {maps.shape} and state {state.shape}"
        return Outcome(case, "FAIL", f"{shapes}; expected {golden.maps.shape} and {golden.state.shape}")
    if not (np.isfinite(maps).all() and np.isfinite(state).all()):
        return Outcome(case, "FAIL", "NaN or infinity in the maps or the state")
    errors = _errors(golden, maps, state)
    tolerance = TOLERANCES[artifact.precision]
    problems = []
    for name in ("max_abs_map", "max_abs_state"):
        if (value := getattr(errors, name)) > tolerance.max_abs:
            problems.append(f"{name} {value:.2e} > {tolerance.max_abs:g}")
    if errors.min_cc < tolerance.min_cc:
        problems.append(f"CC {errors.min_cc:.5f} < {tolerance.min_cc:g}")
    limit = f"within {tolerance.max_abs:g} and CC {tolerance.min_cc:g}: {tolerance.reason}"
    return Outcome(case, "FAIL" if problems else "PASS", ", ".join(problems) or limit, errors)


def _errors(golden: Golden, maps: Maps, state: State) -> Errors:
    per_frame = np.abs(maps.astype(np.float64) - golden.maps).max(axis=(1, 2))
    reference = golden.state.astype(np.float64)
    scale = max(1.0, float(np.abs(reference).max()))
    return Errors(
        max_abs_map=float(per_frame.max()),
        max_abs_state=float(np.abs(state - reference).max()) / scale,
        min_cc=float(_correlations(maps, golden.maps).min()),
        first_frame=float(per_frame[0]),
        last_frame=float(per_frame[-1]),
    )


def _correlations(maps: Maps, reference: Maps) -> np.ndarray[Any, np.dtype[np.float64]]:
    """CC of each map with its reference; a constant map correlates with nothing."""
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (maps, reference))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    products: np.ndarray[Any, np.dtype[np.float64]] = (a * b).sum(axis=1)
    return np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
