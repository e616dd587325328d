"""Does a backend still do the task? Scores on labelled footage, beside those of the float32 reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from uva_edge.bundle import Bundle
from uva_edge.data.footage import Footage
from uva_edge.errors import BackendError, DataError
from uva_edge.runtimes.bench.offers import Offer
from uva_edge.runtimes.bench.report import Bound, Result
from uva_edge.training.predictors import from_bundle
from uva_edge.training.scoring import Predictor, Scores, score

_METRICS: Final = ("nss", "cc", "auc", "teacher_cc")
REFERENCE: Final = ("onnxruntime", "torch", "native", "openvino")
"""Whose float32 the others are held against, the first that runs: the base installation has it."""


@dataclass(frozen=True)
class TaskTolerance:
    """What may be lost against float32: of NSS the larger of a share and so much of itself; of CC and AUC so much.

    NSS has a floor beside its share, for on footage where a network is near chance one percent is less than what a
    few frames can tell.
    """

    nss_share: float
    nss: float
    cc: float
    auc: float
    reason: str


TASK_TOLERANCES: Final[dict[str, TaskTolerance]] = {
    "fp32": TaskTolerance(1e-3, 1e-3, 1e-3, 1e-3, "the same maps but for rounding"),
    "fp16": TaskTolerance(5e-3, 0.01, 5e-3, 5e-3, "eleven bits of mantissa"),
    "bf16": TaskTolerance(1e-2, 0.02, 1e-2, 1e-2, "eight bits of mantissa"),
    "int8": TaskTolerance(1e-2, 0.02, 1e-2, 1e-2, "the gate of the export: at most 1 % of NSS"),
}


def task_results(
    bundle: Bundle,
    available: Sequence[Offer],
    footage: Sequence[Footage],
    *,
    threads: int = 1,
    least_nss: float | None = None,
    progress: Callable[[Footage], object] = lambda _: None,
) -> list[Result]:
    """A row for each offer: its scores, and those of the float32 reference on the same frames.

    Args:
        least_nss: what NSS has to be at least, whatever float32 has.

    Raises:
        DataError: there is nothing known of the footage, or too much of it is damaged.
    """
    rows: dict[int, Result] = {}
    with ExitStack() as stack:
        predictors: dict[int, Predictor] = {}
        for place, offer in enumerate(available):
            if offer.refusal:
                rows[place] = _row(bundle, offer, *offer.refusal)
                continue
            try:
                predictors[place] = stack.enter_context(
                    from_bundle(
                        bundle.location,
                        backend=offer.backend.name,
                        precision=offer.precision,
                        threads=threads,
                    )
                )
            except BackendError as error:
                rows[place] = _row(bundle, offer, "FAIL", str(error))
        if predictors:
            scores = score(list(predictors.values()), footage, progress=progress)
            found = {place: _means(scores, predictor.name) for place, predictor in predictors.items()}
            rows |= _judged(bundle, available, found, least_nss)
    return [rows[place] for place in sorted(rows)]


def _means(scores: Scores, predictor: str) -> dict[str, float]:
    """Over all stills and videos, whatever data set they are of."""
    mine = [row.scores for row in scores.rows if row.predictor == predictor]
    means = {}
    for name in _METRICS:
        values = [row[name] for row in mine if name in row]
        if values:
            means[name] = sum(values) / len(values)
    if not means:
        raise DataError(f"nothing is known of the footage that gives one of {', '.join(_METRICS)}")
    return means


def _judged(
    bundle: Bundle, available: Sequence[Offer], found: dict[int, dict[str, float]], least_nss: float | None
) -> dict[int, Result]:
    floats = {available[place].backend.name: place for place in found if available[place].precision == "fp32"}
    reference = next((floats[name] for name in REFERENCE if name in floats), None)
    rows = {}
    for place, scores in found.items():
        offer = available[place]
        figures, limits = dict(scores), _floors(least_nss)
        if reference is not None:
            expected = found[reference]
            figures |= {f"{name}_reference": value for name, value in expected.items()}
            limits = _tightest(limits, _bounds(expected, TASK_TOLERANCES[offer.precision]))
        missed = [
            f"{name} {figures[name]:.4f} < {bound:.4f}"
            if name in figures
            else f"{name}: not known of this footage"
            for name, (_, bound) in limits.items()
            if not figures.get(name, float("-inf")) >= bound
        ]
        if missed:
            rows[place] = _row(bundle, offer, "FAIL", ", ".join(missed), figures, limits)
        elif reference is None and not limits:
            message = "scored; there is no float32 here to hold it against, and no floor was given"
            rows[place] = _row(bundle, offer, "SKIPPED", message, figures)
        else:
            message = (
                "the float32 that the others are held against"
                if place == reference
                else TASK_TOLERANCES[offer.precision].reason
            )
            rows[place] = _row(bundle, offer, "PASS", message, figures, limits)
    return rows


def _floors(least_nss: float | None) -> dict[str, tuple[Bound, float]]:
    return {} if least_nss is None else {"nss": (">=", least_nss)}


def _bounds(expected: dict[str, float], allowed: TaskTolerance) -> dict[str, tuple[Bound, float]]:
    lost = {
        "nss": max(allowed.nss_share * abs(expected.get("nss", 0)), allowed.nss),
        "cc": allowed.cc,
        "auc": allowed.auc,
        "teacher_cc": allowed.cc,
    }
    return {name: (">=", value - lost[name]) for name, value in expected.items()}


def _tightest(
    a: dict[str, tuple[Bound, float]], b: dict[str, tuple[Bound, float]]
) -> dict[str, tuple[Bound, float]]:
    """The higher of two floors."""
    return {
        name: max((side[name] for side in (a, b) if name in side), key=lambda item: item[1]) for name in a | b
    }


def _row(
    bundle: Bundle,
    offer: Offer,
    status: str,
    message: str,
    figures: dict[str, float] | None = None,
    limits: dict[str, tuple[Bound, float]] | None = None,
) -> Result:
    return Result(
        kind="task",
        bundle=bundle.name,
        case=f"{offer.backend.name}/{offer.precision}",
        status=status,  # type: ignore[arg-type]
        message=message,
        figures=figures or {},
        limits=limits or {},
        series={},
    )
