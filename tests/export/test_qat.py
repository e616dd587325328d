"""Quantisation-aware fine-tuning: weights learn to bear rounding, and are a float network's again afterwards."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.errors import ExportError  # noqa: E402
from uva_edge.export import artifacts, qat  # noqa: E402
from uva_edge.export.artifacts import Material, Splits  # noqa: E402
from uva_edge.export.bundles import export_bundle  # noqa: E402
from uva_edge.export.calibration import calibration_clips  # noqa: E402
from uva_edge.export.onnx import onnx_run  # noqa: E402
from uva_edge.export.onnx_int8 import Setting, to_int8  # noqa: E402
from uva_edge.export.qat import fine_tune  # noqa: E402


@pytest.fixture(scope="module")
def clips(splits: Splits, contract: Any) -> list[Any]:
    return calibration_clips(splits.train(), contract)[:4]


def rounded_error(step: Any, like: Any, contract: Any, clips: list[Any]) -> float:
    """Mean error of a step whose numbers are rounded, against the maps and the states of another."""
    step, lessons = copy.deepcopy(step), [qat._lesson(like, contract, clip) for clip in clips]
    with qat._rounding(step, lessons), torch.no_grad():
        return float(np.mean([lesson.error(*step(lesson.frames, lesson.state)) for lesson in lessons]))


def test_weights_learn_to_bear_rounding(
    material: Material, contract: Any, clips: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights of four bits, where much is lost."""
    monkeypatch.setattr(qat, "_WEIGHT_LEVEL", 7)
    monkeypatch.setattr(qat, "_LEARNING_RATE", 1e-3)
    original = material.subject.deployed
    tuned = fine_tune(original, contract, clips, steps=40)
    before, after = (rounded_error(step, original, contract, clips) for step in (original, tuned))
    assert before > 0.1
    assert after < before / 2


def test_it_is_a_float_network_again(material: Material, splits: Splits) -> None:
    tuned = Material(material.subject, splits, qat_steps=3)
    before = copy.deepcopy(material.subject.deployed.state_dict())
    found = material.judge(onnx_run(tuned.quantisable))
    assert 0.999 < found.cc_clips < 1
    assert 0.999 < found.cc_stills < 1
    assert tuned.quantisable != material.graph
    assert all(
        torch.equal(value, before[name]) for name, value in material.subject.deployed.state_dict().items()
    )
    assert Material(material.subject, splits, qat_steps=0).quantisable == material.graph


def test_a_loss_that_is_not_finite_is_an_error(
    material: Material, contract: Any, clips: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qat, "_LEARNING_RATE", float("inf"))
    with pytest.raises(ExportError, match="fine-tuning: expected a finite loss, got nan"):
        fine_tune(material.subject.deployed, contract, clips, steps=3)


def test_a_bundle_says_that_it_was_tuned(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its float artifacts are not: they are the network that was trained."""
    one = Setting(per_channel=True, method="percentile", floats="attention and features")
    monkeypatch.setattr(artifacts, "to_int8", partial(to_int8, settings=[one]))
    bundle = export_bundle(
        "uva-32", tmp_path / "tuned", name="tuned", to=["onnx", "onnx-int8"], splits=splits, qat_steps=3
    )
    details = {item.name: item.details.get("qat_steps") for item in bundle.manifest.artifacts}
    assert details == {
        "onnx-int8": 3,
        "onnx-int8-t1": None,
        "onnx-fp32": None,
        "onnx-fp32-t1": None,
        "torch-fp32": None,
    }
