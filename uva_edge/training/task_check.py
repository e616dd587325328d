"""Does a backend still do the task? Scores on labelled footage, beside those of the float32 reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from uva_edge.bundle import Bundle
from uva_edge.data.footage import Footage
from uva_edge.errors import BackendError, DataError
from uva_edge.runtimes.bench.offers import Offer, offers
from uva_edge.runtimes.bench.report import Bound, Result, Status
from uva_edge.training.predictors import from_bundle
from uva_edge.training.scoring import Predictor, Scores, score

_METRICS: Final = ("nss", "cc", "auc", "teacher_cc")
_REFERENCES: Final = ("onnxruntime", "torch", "native", "openvino")
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
    reference = _reference(bundle)
    refused = {offer.name: offer.refusal for offer in available if offer.refusal}
    with ExitStack() as stack:
        predictors: dict[str, Predictor] = {}
        for offer in (*available, *([reference] if reference else [])):
            if offer.name in predictors or offer.name in refused:
                continue
            try:
                predictors[offer.name] = stack.enter_context(
                    from_bundle(
                        bundle.location,
                        backend=offer.backend.name,
                        precision=offer.precision,
                        threads=threads,
                    )
                )
            except BackendError as error:
                refused[offer.name] = ("FAIL", str(error))
        scores = score(list(predictors.values()), footage, progress=progress) if predictors else None
        found = {name: _means(scores, predictor.name) for name, predictor in predictors.items() if scores}
    expected = found.get(reference.name) if reference else None
    return [
        _row(bundle, offer, *refused[offer.name])
        if offer.name in refused
        else _judged(bundle, offer, found[offer.name], expected, least_nss)
        for offer in available
    ]


def _reference(bundle: Bundle) -> Offer | None:
    floats = offers(bundle, _REFERENCES, ("fp32",))
    return next((offer for offer in floats if offer.refusal is None), None)


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
    bundle: Bundle,
    offer: Offer,
    scores: dict[str, float],
    expected: dict[str, float] | None,
    least_nss: float | None,
) -> Result:
    allowed = TASK_TOLERANCES[offer.precision]
    figures = scores | {f"{name}_reference": value for name, value in (expected or {}).items()}
    limits = _tightest(_floors(least_nss), _bounds(expected, allowed) if expected else {})
    if not limits:
        message = "scored; there is no float32 here to hold it against, and no floor was given"
        return _row(bundle, offer, "SKIPPED", message, figures)
    missed = [
        f"{name} {figures[name]:.4f} < {bound:.4f}"
        if name in figures
        else f"{name}: not known of this footage"
        for name, (_, bound) in limits.items()
        if not figures.get(name, -math.inf) >= bound
    ]
    status: Status = "FAIL" if missed else "PASS"
    return _row(bundle, offer, status, ", ".join(missed) or allowed.reason, figures, limits)


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
    status: Status,
    message: str,
    figures: dict[str, float] | None = None,
    limits: dict[str, tuple[Bound, float]] | None = None,
) -> Result:
    return Result(
        kind="task",
        bundle=bundle.name,
        case=offer.name,
        status=status,
        message=message,
        figures=figures or {},
        limits=limits or {},
        series={},
    )
