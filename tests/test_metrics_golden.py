"""Our scores against pysaliency's, on the maps of `golden/pysaliency_scores.py`, which says what is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uva_edge import metrics

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "pysaliency_scores.json").read_text())
METRICS = ("auc_judd", "auc_shuffled", "nss", "cc", "sim", "kld")


def ours(metric: str, name: str, truth: str) -> float:
    saliency = np.array(GOLDEN["maps"][name])
    if metric in ("cc", "sim", "kld"):
        return float(getattr(metrics, metric)(saliency, np.array(GOLDEN["densities"][truth])))
    points = [np.array(GOLDEN["fixations"][truth])]
    if metric == "auc_shuffled":
        points.append(np.array(GOLDEN["negatives"]))
    return float(getattr(metrics, metric)(saliency, *points))


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_pysaliency_s(metric: str) -> None:
    cases = [(name, truth, value) for found, name, truth, value in GOLDEN["scores"] if found == metric]
    assert len(cases) >= 24
    assert {name for name, _, _ in cases} == set(GOLDEN["maps"])
    for name, truth, value in cases:
        assert ours(metric, name, truth) == pytest.approx(value, rel=1e-5, abs=1e-9), (name, truth)
