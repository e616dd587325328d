"""OpenVINO IR: what it says of itself, what is integer, and what happens where nothing passes the gate."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")
openvino = pytest.importorskip("openvino", reason="needs the extra 'openvino'")
pytest.importorskip("nncf", reason="needs the extra 'export'")

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.errors import ExportError, MissingPackageError, ParityError  # noqa: E402
from uva_edge.export import openvino_int8  # noqa: E402
from uva_edge.export.artifacts import Material, Splits  # noqa: E402
from uva_edge.export.bundles import export_bundle  # noqa: E402
from uva_edge.export.fidelity import Fidelity  # noqa: E402
from uva_edge.export.openvino import SECTION, ir_files, openvino_run, to_openvino  # noqa: E402
from uva_edge.export.openvino_int8 import (  # noqa: E402
    SETTINGS,
    Setting,
    integer_convolutions,
    to_openvino_int8,
)
from uva_edge.runtimes import SaliencyPredictor  # noqa: E402
from uva_edge.runtimes.agreement import correlations  # noqa: E402
from uva_edge.runtimes.backend import SessionOptions  # noqa: E402
from uva_edge.runtimes.conformance import passed, verify  # noqa: E402
from uva_edge.runtimes.openvino import openvino_core  # noqa: E402
from uva_edge.runtimes.registry import BACKENDS  # noqa: E402

GOOD = Setting("extremes", "attention")


@pytest.fixture(scope="module")
def model(material: Material) -> Any:
    return to_openvino(material.graph)


@pytest.fixture(scope="module")
def quantised(model: Any, material: Material, contract: Any) -> Any:
    return to_openvino_int8(model, contract, material.feeds, material.judge, settings=[GOOD])


@pytest.fixture(scope="module")
def exported(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_int8, "to_openvino_int8", partial(to_openvino_int8, settings=[GOOD]))
        return export_bundle(
            "uva-32",
            tmp_path_factory.mktemp("ir") / "small",
            name="small",
            to=["openvino", "openvino-fp16", "openvino-int8"],
            splits=splits,
        )


# --- the bundle -----------------------------------------------------------------------------------------


def test_a_bundle_gets_ir(exported: Bundle) -> None:
    described = {
        item.name: [Path(file.path).suffix for file in item.files] for item in exported.manifest.artifacts
    }
    assert described == {
        "openvino-fp32": [".xml", ".bin"],
        "openvino-fp16": [".xml", ".bin"],
        "openvino-int8": [".xml", ".bin"],
        "torch-fp32": [".safetensors"],
    }
    artifact = exported.artifact("openvino-int8")
    assert artifact.parity["cc_clips"] >= 0.99
    assert [trial["floats"] for trial in artifact.details["trials"]] == ["attention"]
    outcomes = verify(exported)
    assert passed(outcomes), outcomes
    assert {outcome.case.length for outcome in outcomes if outcome.case.backend == "openvino"} == {
        1,
        16,
        None,
    }


def test_smaller_precisions_are_smaller(exported: Bundle) -> None:
    sizes = {
        item.precision: item.files[1].bytes
        for item in exported.manifest.artifacts
        if item.format == "openvino"
    }
    assert sizes["fp16"] < 0.51 * sizes["fp32"]
    assert sizes["int8"] < 0.35 * sizes["fp32"]


def test_the_facts_are_in_rt_info(exported: Bundle) -> None:
    main, weights = (exported.read(file) for file in exported.artifact("openvino-int8").files)
    model = openvino.Core().read_model(main, weights)
    facts = {key: model.get_rt_info([SECTION, key]).value for key in ("contract", "network", "licence")}
    manifest = exported.manifest.to_dict()
    assert json.loads(facts["contract"]) == manifest["contract"]
    assert json.loads(facts["network"]) == manifest["network"]
    assert facts["licence"] == exported.manifest.lineage.licence


def test_every_precision_runs_through_the_predictor(exported: Bundle, flight: Any) -> None:
    maps = {}
    for precision in ("fp32", "fp16", "int8"):
        with SaliencyPredictor(exported.location, backend="openvino", precision=precision) as predictor:
            assert predictor.info.artifact == f"openvino-{precision}"
            stream = predictor.stream()
            pushed = np.stack([stream.push(frame).map for frame in flight])
            maps[precision] = predictor.predict_clip(flight)
            # One frame is compiled for itself, and computes what any number does, up to rounding.
            assert correlations(pushed, maps[precision]).min() > (0.995 if precision == "int8" else 0.99999)
    assert np.abs(maps["fp16"] - maps["fp32"]).max() < 2e-2
    assert not np.array_equal(maps["int8"], maps["fp32"])


def test_a_session_compiles_what_it_is_asked_for(exported: Bundle, flight: Any) -> None:
    contract = exported.manifest.contract
    session = BACKENDS["openvino"].load(exported, exported.artifact("openvino-fp32"), SessionOptions())
    state = np.zeros(contract.state_shape, np.float32)
    for count in (1, 3, 1, 5):
        maps, _ = session.run(np.zeros((count, *contract.grid, 3), np.uint8), state)
        assert len(maps) == count
    session.close()


# --- the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_the_same_graph_gives_the_same_bytes(material: Material, half: bool) -> None:
    once, again = (ir_files(to_openvino(material.graph), "clip", material.facts, half=half) for _ in range(2))
    assert list(once) == ["clip.xml", "clip.bin"]
    assert once == again


def test_the_model_keeps_everything(model: Any, material: Material, contract: Any) -> None:
    found = material.judge(openvino_run(model, contract))
    assert found.cc_clips == pytest.approx(1, abs=1e-6)
    assert found.margin == pytest.approx(material.judge.perfect.margin, abs=1e-4)


def test_convolutions_are_really_integer(quantised: Any, model: Any) -> None:
    """34 of 64 with the attention in float, as in ONNX."""
    assert (quantised.best.quantised, quantised.best.convolutions) == (34, 64)
    assert integer_convolutions(model) == (0, 64)


def test_frames_enter_without_an_error(quantised: Any) -> None:
    """The first convolution sees x - 128 on a grid of whole numbers; the division is in its weights."""
    nodes = quantised.graph.get_ordered_ops()
    first = next(node for node in nodes if node.get_type_name() == "Convolution")
    fake = first.input_value(0).get_node()
    assert fake.get_type_name() == "FakeQuantize"
    low, high = (float(fake.input_value(index).get_node().data.ravel()[0]) for index in (1, 2))
    levels = fake.get_attributes()["levels"]
    assert (low, high, levels) == (-128.0, 127.0, 256)


def test_a_graph_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ExportError, match="OpenVINO does not take the graph"):
        to_openvino(b"no graph")


def test_every_combination_is_tried_once() -> None:
    assert len(set(SETTINGS)) == len(SETTINGS) == 2 * 5


# --- where nothing passes -------------------------------------------------------------------------------


BAD = Fidelity(cc_stills=0.999, cc_clips=0.9, cc_worst_clip=0.8, cc_golden=1, nss=1, nss_float=1)
PERFECT = Fidelity(cc_stills=1, cc_clips=1, cc_worst_clip=1, cc_golden=1, nss=1, nss_float=1)


class Scripted:
    """A judge of settled opinions; the last holds for all that follow."""

    perfect = PERFECT

    def __init__(self, *verdicts: Fidelity) -> None:
        self._verdicts = list(verdicts)

    def __call__(self, run: Any) -> Fidelity:
        return self._verdicts.pop(0) if len(self._verdicts) > 1 else self._verdicts[0]


def test_accuracy_aware_mode_follows_where_no_setting_passes(
    model: Any, material: Material, contract: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NNCF asks the same judge, and makes no core of its own.

    One freed in another thread would make the next Ctrl-C a segmentation fault.
    """
    openvino_core()
    made: list[str] = []
    monkeypatch.setattr(openvino, "Core", lambda: made.append("Core"))
    monkeypatch.setattr(openvino, "compile_model", lambda *_, **__: made.append("compile_model"))
    judge: Any = Scripted(BAD, PERFECT)
    found = to_openvino_int8(model, contract, material.feeds[:2], judge, settings=[GOOD])
    assert [(trial.setting.accuracy_aware, trial.fidelity) for trial in found.trials] == [
        (False, BAD),
        (True, PERFECT),
    ]
    assert found.best.quantised == 64
    assert made == []


def test_a_miss_names_the_layers(
    model: Any, material: Material, contract: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge: Any = Scripted(BAD)
    # As if NNCF had put back what it could.
    plain = openvino_int8._quantise
    monkeypatch.setattr(openvino_int8, "_quantise", lambda model, setting, *rest: plain(model, GOOD, *rest))
    with pytest.raises(
        ParityError, match=r"CC on moving clips 0\.9000 < 0\.99.*\n.*node_\w+.* \(\w+\): .* dB"
    ):
        to_openvino_int8(model, contract, material.feeds[:2], judge, settings=[GOOD])


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uva_edge.export.openvino", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'uva-edge\[export\]'"):
        export_bundle("uva-32", tmp_path / "small", name="small", to=["openvino"])
    assert not (tmp_path / "small").exists()
