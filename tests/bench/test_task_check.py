"""Scores on labelled footage: what may be lost against float32, and what may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from uva_edge.bundle import Bundle
from uva_edge.data.flights import labelled_flights
from uva_edge.data.footage import Footage, LabelledFrame
from uva_edge.errors import DataError, SessionError
from uva_edge.runtimes.bench.offers import offers
from uva_edge.training import task_check
from uva_edge.training.scoring import Predictor
from uva_edge.training.task_check import TASK_TOLERANCES, task_results


@pytest.fixture(scope="module")
def flights() -> list[Footage]:
    """Two of the passages."""
    return labelled_flights()[:2]


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return Bundle.shipped("uva-32")


def test_the_labelled_set_is_labelled_and_always_the_same() -> None:
    passages = labelled_flights()
    assert len({item.name for item in passages}) == len(passages) >= 10
    first, again = (list(passages[0].read()) for _ in range(2))
    assert len(first) == 8
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.fixations is not None
        assert len(one.fixations) > 0
        assert ((one.fixations >= 0) & (one.fixations <= 1)).all()


def test_what_runs_here_does_the_task(shipped: Bundle, flights: list[Footage]) -> None:
    results = task_results(shipped, offers(shipped), flights)
    checked = [result for result in results if result.status == "PASS"]
    assert {"onnxruntime/fp32", "onnxruntime/int8"} <= {result.case for result in checked}
    for result in results:
        assert result.status in ("PASS", "SKIPPED"), f"{result.case}: {result.message}"
    for result in checked:
        assert {"nss", "cc", "auc", "nss_reference"} <= set(result.figures)
        assert result.figures["auc"] > 0.5, "better than chance"


def test_one_that_is_asked_for_alone_has_its_reference(shipped: Bundle, flights: list[Footage]) -> None:
    (result,) = task_results(shipped, offers(shipped, ("onnxruntime",), ("int8",)), flights)
    assert (result.case, result.status) == ("onnxruntime/int8", "PASS")
    assert result.figures["nss"] != result.figures["nss_reference"]


def test_a_floor_of_the_users_own(shipped: Bundle, flights: list[Footage]) -> None:
    available = offers(shipped, ("onnxruntime",), ("fp32",))
    (kept,) = task_results(shipped, available, flights, least_nss=-1.0)
    (missed,) = task_results(shipped, available, flights, least_nss=100.0)
    assert (kept.status, missed.status) == ("PASS", "FAIL")
    assert missed.limits["nss"] == (">=", 100.0)
    assert "nss" in missed.message


@pytest.mark.parametrize("damage", ["mirrored", "uniform", "inverted"])
def test_maps_that_do_not_do_the_task_fail(
    damage: str, shipped: Bundle, flights: list[Footage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine whose INT8 maps are wrong in a way that leaves them maps."""
    spoil = {
        "mirrored": lambda found: found[:, ::-1],
        "uniform": lambda found: np.full_like(found, 0.5),
        "inverted": lambda found: 1 - found,
    }[damage]
    from_bundle = task_check.from_bundle

    @contextmanager
    def spoilt(bundle: str, **options: Any) -> Iterator[Predictor]:
        with from_bundle(bundle, **options) as good:
            if options["precision"] != "int8":
                yield good
                return
            yield Predictor(good.name, lambda item, frames: map(spoil, good.predict(item, frames)))

    monkeypatch.setattr(task_check, "from_bundle", spoilt)
    results = task_results(shipped, offers(shipped, ("onnxruntime",)), flights)
    assert {result.case: result.status for result in results} == {
        "onnxruntime/fp32": "PASS",
        "onnxruntime/int8": "FAIL",
    }


def test_an_engine_that_fails_is_a_failure_in_its_words(
    shipped: Bundle, flights: list[Footage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise SessionError("no memory")

    monkeypatch.setattr(task_check, "from_bundle", broken)
    (result,) = task_results(shipped, offers(shipped, ("onnxruntime",), ("fp32",)), flights)
    assert (result.status, result.message) == ("FAIL", "no memory")


def test_footage_of_which_nothing_is_known(shipped: Bundle, flights: list[Footage]) -> None:
    def unlabelled() -> Iterator[LabelledFrame]:
        return (LabelledFrame(frame.image) for frame in flights[0].read())

    blank = Footage("blank", "blank", "video", (), unlabelled)
    with pytest.raises(DataError, match="nothing is known"):
        task_results(shipped, offers(shipped, ("onnxruntime",), ("fp32",)), [blank])


def test_every_precision_has_a_tolerance_of_the_task() -> None:
    from uva_edge.runtimes.agreement import TOLERANCES

    assert set(TASK_TOLERANCES) == set(TOLERANCES)
    assert TASK_TOLERANCES["int8"].nss_share == 0.01
