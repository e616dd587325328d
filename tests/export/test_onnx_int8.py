"""INT8 ONNX: what is integer, what a miss says, and that nothing that fails the gate is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.errors import ExportError, OptionError, ParityError  # noqa: E402
from uva_edge.export import artifacts  # noqa: E402
from uva_edge.export.artifacts import Material, Splits  # noqa: E402
from uva_edge.export.bundles import export_bundle  # noqa: E402
from uva_edge.export.calibration import feeds_of  # noqa: E402
from uva_edge.export.fidelity import Fidelity  # noqa: E402
from uva_edge.export.layers import worst_layers  # noqa: E402
from uva_edge.export.onnx import onnx_run, static  # noqa: E402
from uva_edge.export.onnx_int8 import SETTINGS, Setting, quantised_convolutions, to_int8  # noqa: E402
from uva_edge.export.trials import Trial  # noqa: E402
from uva_edge.runtimes.backend import first_state  # noqa: E402
from uva_edge.runtimes.conformance import passed, verify  # noqa: E402

GOOD = Setting(per_channel=True, method="minmax", floats="attention")


@pytest.fixture(scope="session")
def quantised(material: Material) -> Any:
    settings = [GOOD, replace(GOOD, floats="nothing")]
    return to_int8(material.graph, material.feeds, material.judge, settings=settings)


# --- the graph ------------------------------------------------------------------------------------------


def test_convolutions_are_really_integer(quantised: Any) -> None:
    """62 convolutions and 2 deconvolutions; the attention has 30 of them."""
    attention, everything = quantised.trials
    assert (attention.quantised, attention.convolutions) == (34, 64)
    assert (everything.quantised, everything.convolutions) == (64, 64)
    assert quantised_convolutions(quantised.graph)[0] == quantised.best.quantised


def test_a_float_graph_has_no_integer_convolutions(material: Material) -> None:
    assert quantised_convolutions(material.graph) == (0, 64)


def test_frames_enter_without_an_error(quantised: Any) -> None:
    model = onnx.load_from_string(quantised.graph)
    made_by = {name: node for node in model.graph.node for name in node.output}
    values = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    dequantize = made_by[first.input[0]]
    assert dequantize.op_type == "DequantizeLinear"
    assert (float(values[dequantize.input[1]]), int(values[dequantize.input[2]])) == (1 / 128, 128)


def test_weights_keep_seven_bits(quantised: Any) -> None:
    """Or processors without VNNI saturate."""
    model = onnx.load_from_string(quantised.graph)
    weights = [
        onnx.numpy_helper.to_array(item)
        for item in model.graph.initializer
        if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 4
    ]
    assert len(weights) >= 34
    assert max(int(np.abs(item.astype(int)).max()) for item in weights) <= 64


def test_it_is_small(material: Material, quantised: Any) -> None:
    assert len(quantised.graph) < 0.6 * len(material.graph)


def test_the_same_inputs_give_the_same_bytes(material: Material, quantised: Any) -> None:
    again = to_int8(material.graph, material.feeds, material.judge, settings=[quantised.best.setting])
    assert again.graph == quantised.graph


def test_one_frame_at_a_time(quantised: Any, contract: Any, material: Material) -> None:
    clip = material.feeds[1][0]["frames"]
    runs = [onnx_run(quantised.graph), onnx_run(static(quantised.graph, 1))]
    states = [first_state(contract, run, clip[:1]) for run in runs]
    for index in range(4):
        maps = []
        for number, run in enumerate(runs):
            found, states[number] = run(clip[index : index + 1], states[number])
            maps.append(found)
        np.testing.assert_array_equal(*maps)
        np.testing.assert_array_equal(*states)
    with pytest.raises(Exception, match=r"(?i)dimension"):
        runs[1](clip[:2], states[1])


def test_pairs_of_equal_frames_are_no_calibration(material: Material, contract: Any) -> None:
    """The trap that `calibration_clips` is there for: the temporal path learns ranges of nothing."""
    clips = [np.concatenate([feed["frames"] for feed in steps]) for steps in material.feeds]
    frozen = [np.repeat(clip[:1], len(clip), axis=0) for clip in clips]
    trials: list[Trial] = []
    for feeds in (material.feeds, feeds_of(onnx_run(material.graph), contract, frozen)):
        # What misses the gate raises, and has been reported by then.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Fidelity, "misses", lambda self: [])
            to_int8(material.graph, feeds, material.judge, settings=[GOOD], report=trials.append)
    moving, still = (trial.fidelity for trial in trials)
    assert 1 - still.cc_clips > 2 * (1 - moving.cc_clips)


def test_every_combination_is_tried_once() -> None:
    assert len(set(SETTINGS)) == len(SETTINGS) == 2 * 3 * 5


# --- what fails -----------------------------------------------------------------------------------------


def test_a_miss_names_the_layers(material: Material) -> None:
    bad = Fidelity(cc_stills=0.999, cc_clips=0.9, cc_worst_clip=0.8, cc_golden=1, nss=1, nss_float=1)
    with pytest.raises(ParityError, match=r"CC on moving clips 0\.9000 < 0\.99.*\n.*node_\w+ \(\w+\): .* dB"):
        to_int8(material.graph, material.feeds[:2], lambda run: bad, settings=[GOOD])  # type: ignore[arg-type]


def test_the_worst_layer_is_found(material: Material) -> None:
    """One convolution in the middle is given other weights."""
    graph = material.graph
    model = onnx.load_from_string(graph)
    victim = [node for node in model.graph.node if node.op_type == "Conv"][40]
    weight = next(item for item in model.graph.initializer if item.name == victim.input[1])
    noise = np.random.default_rng(0).normal(size=tuple(weight.dims)).astype(np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(noise, weight.name))
    worst = worst_layers(graph, model.SerializeToString(), material.feeds[0], count=64)
    broken = [layer for layer in worst if np.isfinite(layer.decibels)]
    assert victim.name in {layer.name for layer in broken[:5]}
    before = [node.name for node in model.graph.node][: list(model.graph.node).index(victim)]
    assert not {layer.name for layer in broken} & set(before), "layers before it are as they were"


def test_a_graph_that_is_not_ours_is_refused(material: Material) -> None:
    foreign = onnx.load_from_string(material.graph)
    foreign.graph.input[0].name = "images"
    for data in (b"no graph", foreign.SerializeToString()):
        with pytest.raises(ExportError, match="expected the graph of a clip step"):
            onnx_run(data)


# --- the artifact ---------------------------------------------------------------------------------------


@pytest.fixture
def one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "to_int8", partial(to_int8, settings=[GOOD]))


def test_a_bundle_gets_int8(one_setting: None, splits: Splits, tmp_path: Path) -> None:
    shipped = Bundle.shipped("uva-32")
    bundle = export_bundle("uva-32", tmp_path / "small", name="small", to=["onnx-int8"], splits=splits)
    described = [(item.name, item.precision, item.frames) for item in bundle.manifest.artifacts]
    assert described == [
        ("onnx-int8", "int8", None),
        ("onnx-int8-t1", "int8", 1),
        ("torch-fp32", "fp32", None),
    ]
    artifact = bundle.artifact("onnx-int8")
    assert artifact.parity["cc_clips"] >= 0.99
    assert artifact.parity["min_cc"] >= 0.99, "on the golden clip"
    (trial,) = artifact.details["trials"]
    assert trial["convolutions"] == "34 of 64"
    assert bundle.manifest.accuracy == shipped.manifest.accuracy
    assert bundle.manifest.lineage.checkpoint_sha256 == shipped.manifest.lineage.checkpoint_sha256
    outcomes = verify(bundle)
    assert passed(outcomes), outcomes


def test_int8_needs_footage(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--data"):
        export_bundle("uva-32", tmp_path / "small", name="small", to=["onnx-int8"])
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(("to", "words"), [(["onnx", "coreml"], "got coreml"), ([], "--to is empty")])
def test_unknown_words_are_refused(to: Sequence[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=words):
        export_bundle("uva-32", tmp_path / "small", name="small", to=to)


def test_a_miss_leaves_the_old_bundle(
    one_setting: None, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "small"
    old = export_bundle("uva-32", place, name="small")
    monkeypatch.setattr(Fidelity, "misses", lambda self: ["CC on stills 0.5 < 0.99"])
    with pytest.raises(ParityError, match="INT8 was not written"):
        export_bundle("uva-32", place, name="small", to=["onnx", "onnx-int8"], splits=splits)
    assert Bundle.open(place).sha256 == old.sha256


def test_features_in_float_keep_motion(material: Material) -> None:
    """Rounding of two frames' features does not cancel in their difference."""
    settings = [GOOD, replace(GOOD, floats="attention and features")]
    rounded, kept = to_int8(material.graph, material.feeds, material.judge, settings=settings).trials
    assert kept.quantised == 24
    assert 1 - kept.fidelity.cc_clips < 0.5 * (1 - rounded.fidelity.cc_clips)
