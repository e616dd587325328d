"""Does a backend compute what the bundle promises? The golden clip, chained, on every backend that runs here.

Cases are data: backend x artifact x T x S. One table drives `uva-edge verify`, the parity gate of the export and
``tests/conformance``. A run in which nothing was checked is a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.errors import BackendError, BundleError, WrongDeviceError
from uva_edge.golden import Golden, spread
from uva_edge.manifest import Contract

from .backend import Backend, Frames, Maps, Run, SessionOptions, first_state
from .registry import BACKENDS, runs_family

Status: TypeAlias = Literal["PASS", "FAIL", "SKIPPED"]


@dataclass(frozen=True)
class Tolerance:
    """How far from the float32 reference a result may be.

    Attributes:
        max_abs: largest absolute error of a map, and of the state in units of the state's own peak (at least 1).
        min_cc: smallest correlation of a map with the reference map.
        reason: why that much.
    """

    max_abs: float
    min_cc: float
    reason: str

    def __str__(self) -> str:
        return f"within {self.max_abs:g} and CC {self.min_cc:g}: {self.reason}"


TOLERANCES: Final[dict[str, Tolerance]] = {
    "fp32": Tolerance(1e-4, 0.99999, "the same arithmetic in another order"),
    "fp16": Tolerance(2e-2, 0.999, "eleven bits of mantissa"),
    "bf16": Tolerance(1e-1, 0.99, "eight bits of mantissa, and the error returns through the state"),
    "int8": Tolerance(1.0, 0.99, "the gate of the export: CC with float32, stills and moving clips alike"),
}

LEAST_CC: Final = 0.99
LARGEST_NSS_LOSS: Final = 0.01
"""The gate of INT8 ([DESIGN]): correlation with the float maps, and the share of NSS that may be lost."""

_STEPS: Final = 16
_STREAMS: Final = 4


@dataclass(frozen=True)
class Case:
    """One cell of the table; `length` is T, None for the whole clip in one step; `streams` is S."""

    backend: str
    artifact: str
    length: int | None
    streams: int = 1

    def __str__(self) -> str:
        abreast = f"/S={self.streams}" if self.streams > 1 else ""
        return f"{self.backend}/{self.artifact}/T={self.length or 'all'}{abreast}"


@dataclass(frozen=True)
class Errors:
    """How far a run was from the reference, over the whole clip.

    Attributes:
        max_abs_map: largest absolute error of all maps.
        max_abs_state: of the last state, in units of its own peak (at least 1).
        min_cc: smallest correlation of a map with its reference.
        first_frame, last_frame: largest absolute error of the first and of the last map; their difference is
            the drift, what grew through the state.
    """

    max_abs_map: float
    max_abs_state: float
    min_cc: float
    first_frame: float
    last_frame: float

    def as_parity(self) -> dict[str, float]:
        """What a manifest keeps of them."""
        return {
            "max_abs_map": self.max_abs_map,
            "max_abs_state": self.max_abs_state,
            "min_cc": self.min_cc,
        }


@dataclass(frozen=True)
class Outcome:
    """What became of a case; `errors` is there when the engine gave numbers."""

    case: Case
    status: Status
    message: str
    errors: Errors | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def cases(bundle: Bundle, backends: Sequence[Backend] | None = None) -> tuple[Case, ...]:
    """The table for a bundle: every backend, every artifact that it reads, chained at several T; and pieces of the clip
    as streams beside each other, where the artifact takes several."""
    limit = bundle.manifest.contract.frames_per_call
    # The whole clip in one step, unless its memory would be out of proportion.
    clip_lengths = (1, _STEPS, None) if limit >= _STEPS else (1, limit)
    abreast = dict.fromkeys((1, min(_STEPS, max(1, limit // _STREAMS))))
    table = []
    for backend in tuple(BACKENDS.values()) if backends is None else backends:
        if not runs_family(backend.name, bundle.manifest.network.family):
            continue
        for artifact in bundle.manifest.artifacts:
            if artifact.format in backend.formats:
                lengths = (artifact.frames,) if artifact.frames else dict.fromkeys(clip_lengths)
                table += [Case(backend.name, artifact.name, length) for length in lengths]
                if artifact.streams is None:
                    table += [Case(backend.name, artifact.name, length, _STREAMS) for length in abreast]
    return tuple(table)


def verify(bundle: Bundle, *, threads: int = 1, backends: Sequence[Backend] | None = None) -> list[Outcome]:
    """Check a bundle's files, then run every case.

    Args:
        threads: threads of each engine.
        backends: those to check; by default all there are.

    Raises:
        BundleError: a file of the bundle is not what its manifest says: then no number means anything.
        OptionError: `threads` is more than the process may use, or less than 1.
    """
    options = SessionOptions(threads=threads)
    bundle.verify()
    golden = bundle.golden()
    by_name = BACKENDS if backends is None else {backend.name: backend for backend in backends}
    return [
        run_case(bundle, golden, case, by_name[case.backend], options)
        for case in cases(bundle, tuple(by_name.values()))
    ]


def passed(outcomes: Iterable[Outcome]) -> bool:
    """Whether something was checked and nothing failed."""
    statuses = [outcome.status for outcome in outcomes]
    return "FAIL" not in statuses and "PASS" in statuses


def run_case(
    bundle: Bundle, golden: Golden, case: Case, backend: Backend, options: SessionOptions
) -> Outcome:
    """Run one case; an engine that fails or is broken is a FAIL, one that is not installed is SKIPPED, and so is an
    artifact for another device."""
    availability = backend.probe()
    if not availability.ok:
        status: Status = "SKIPPED" if availability.status == "missing" else "FAIL"
        return Outcome(case, status, f"{availability.reason}; {availability.fix}")
    artifact = bundle.artifact(case.artifact)
    try:
        session = backend.load(bundle, artifact, options)
        try:
            run, contract = session.run, bundle.manifest.contract
            if case.length and case.streams > 1:
                maps, state = run_abreast(run, contract, golden.frames, case.length, case.streams)
            else:
                maps, state = run_chained(run, contract, golden.frames, case.length)
        finally:
            session.close()
    except WrongDeviceError as error:
        return Outcome(case, "SKIPPED", str(error))
    except (BackendError, BundleError) as error:
        return Outcome(case, "FAIL", str(error))
    errors, problems = compare(golden, maps, state, TOLERANCES[artifact.precision])
    return Outcome(
        case,
        "FAIL" if problems else "PASS",
        ", ".join(problems) or str(TOLERANCES[artifact.precision]),
        errors,
    )


def run_chained(run: Run, contract: Contract, clip: Frames, length: int | None) -> tuple[Maps, NDArray[Any]]:
    """A clip in steps of `length` frames, each from the state of the one before: maps of all frames, and the last
    state on the host."""
    state = first_state(contract, run, clip[:1])
    maps = []
    step = length or len(clip)
    for start in range(0, len(clip), step):
        out, state = run(clip[start : start + step], state)
        maps.append(out)
    return np.concatenate(maps), np.asarray(state)  # a backend may keep it in a form of its own


def run_abreast(
    run: Run, contract: Contract, clip: Frames, length: int, streams: int
) -> tuple[Maps, NDArray[Any]]:
    """Pieces of a clip as so many streams of the same calls, each from the state that the frame before it leaves.

    Returns the maps of all frames and the state after the last one, as one stream has them.
    """
    ticks = -(-len(clip) // streams)
    starts = spread(len(clip) - ticks + 1, streams)
    state = first_state(contract, run, clip[np.maximum(starts - 1, 0)])
    maps, places = [], []
    for first in range(0, ticks, length):
        moments = np.arange(first, min(first + length, ticks))
        places.append((moments[:, None] + starts).ravel())
        out, state = run(clip[places[-1]], state)
        maps.append(out)
    found, order = np.concatenate(maps), np.concatenate(places)
    if len(found) == len(order):  # else `compare` says what is wrong
        found = found[np.unique(order, return_index=True)[1]]
    return found, np.asarray(state)[-contract.state_shape[0] :]


def compare(
    golden: Golden, maps: Maps, state: NDArray[Any], tolerance: Tolerance
) -> tuple[Errors | None, list[str]]:
    """How far the maps of the whole clip and the last state are from the reference, and what of that is too much.

    There are no errors to give where an engine gave something else than numbers of the right shape.
    """
    if len(maps) == len(golden.frames):
        maps = maps[golden.mapped]
    for name, got, expected in (("maps", maps, golden.maps), ("state", state, golden.state)):
        if (got.dtype, got.shape) != (expected.dtype, expected.shape):
            return None, [f"{name}: expected {expected.dtype} {expected.shape}, got {got.dtype} {got.shape}"]
    if not (np.isfinite(maps).all() and np.isfinite(state).all()):
        return None, ["NaN or infinity in the maps or the state"]
    errors = _errors(golden, maps, state)
    problems = [
        f"{name} {value:.2e} > {tolerance.max_abs:g}"
        for name, value in (("max_abs_map", errors.max_abs_map), ("max_abs_state", errors.max_abs_state))
        if value > tolerance.max_abs
    ]
    if errors.min_cc < tolerance.min_cc:
        problems.append(f"CC {errors.min_cc:.5f} < {tolerance.min_cc:g}")
    return errors, problems


def _errors(golden: Golden, maps: Maps, state: NDArray[Any]) -> Errors:
    per_frame = np.abs(maps.astype(np.float64) - golden.maps).max(axis=(1, 2))
    reference = golden.state.astype(np.float64)
    scale = max(1.0, float(np.abs(reference).max()))
    return Errors(
        max_abs_map=float(per_frame.max()),
        max_abs_state=float(np.abs(state - reference).max()) / scale,
        min_cc=float(correlations(maps, golden.maps).min()),
        first_frame=float(per_frame[0]),
        last_frame=float(per_frame[-1]),
    )


def correlations(maps: Maps, reference: Maps) -> NDArray[np.float64]:
    """CC of each map with its reference. A constant map correlates with nothing but another constant: whether
    they are the same one is for max_abs to say."""
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (maps, reference))
    a_flat, b_flat = (values.max(axis=1) == values.min(axis=1) for values in (a, b))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    correlations: NDArray[np.float64] = (a_flat & b_flat).astype(np.float64)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    np.divide((a * b).sum(axis=1), norms, out=correlations, where=~(a_flat | b_flat))
    return correlations
