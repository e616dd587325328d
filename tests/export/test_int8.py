"""INT8: what it is calibrated with, what it is judged by, and that nothing that fails the gate is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.data.footage import Footage, LabelledFrame  # noqa: E402
from uva_edge.data.synthetic import AerialScene  # noqa: E402
from uva_edge.errors import DataError, ExportError, OptionError, ParityError  # noqa: E402
from uva_edge.export import artifacts  # noqa: E402
from uva_edge.export.artifacts import Splits  # noqa: E402
from uva_edge.export.bundles import export_bundle  # noqa: E402
from uva_edge.export.calibration import CHAINED, LENGTH, Evidence, calibration_clips  # noqa: E402
from uva_edge.export.fidelity import Fidelity, Judge  # noqa: E402
from uva_edge.export.int8 import (  # noqa: E402
    SETTINGS,
    Setting,
    Trial,
    onnx_run,
    quantised_convolutions,
    static,
    to_int8,
)
from uva_edge.export.layers import worst_layers  # noqa: E402
from uva_edge.runtimes import SaliencyPredictor  # noqa: E402
from uva_edge.runtimes.backend import Frames, Maps, State, first_state  # noqa: E402
from uva_edge.runtimes.conformance import correlations, passed, verify  # noqa: E402

Setup = tuple[bytes, list[Frames], Judge]
GOOD = Setting(per_channel=True, method="minmax", floats="attention")


def footage(scene: AerialScene, kind: Any, frames: int, start: int, *, moves: bool = True) -> Footage:
    """A piece of the flight; people look at a still as the float network says that they do."""

    def read() -> Iterator[LabelledFrame]:
        for index in range(frames):
            image = scene.frame(start + (index if moves else 0)).image
            yield LabelledFrame(image, fixations=looked_at(image) if kind == "still" else None)

    return Footage(f"{kind}-{start}", "flight", kind, (), read)


def looked_at(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """200 fixations of its density: its peaks alone would be lost by whatever moves them a little."""
    with SaliencyPredictor("uva-32", backend="onnxruntime") as predictor:
        density = predictor.predict(image).map.astype(np.float64).ravel()
    cells = np.random.default_rng(0).choice(density.size, 200, p=density / density.sum())
    return np.stack([cells % 32 + 0.5, cells // 32 + 0.5], axis=1).astype(np.float32) / 32


@pytest.fixture(scope="session")
def splits(scene: AerialScene) -> Splits:
    train = [footage(scene, "video", 20, 100 * index) for index in range(5)]
    train += [footage(scene, "still", 1, 100 * index + 50) for index in range(3)]
    val = [footage(scene, "video", 24, 1000 + 100 * index) for index in range(3)]
    val += [footage(scene, "still", 1, 1050 + 40 * index) for index in range(6)]
    return Splits(lambda: train, lambda: val)


@pytest.fixture(scope="session")
def setup(splits: Splits) -> Setup:
    """The graph of the shipped uva-32, clips to calibrate with, and the judge."""
    bundle = Bundle.shipped("uva-32")
    graph, contract = bundle.read(bundle.artifact("onnx-fp32").files[0]), bundle.manifest.contract
    judge = Judge(Evidence.of(splits.val(), contract), contract, onnx_run(graph))
    return graph, calibration_clips(splits.train(), contract), judge


@pytest.fixture(scope="session")
def contract() -> Any:
    return Bundle.shipped("uva-32").manifest.contract


@pytest.fixture(scope="session")
def quantised(setup: Setup, contract: Any) -> Any:
    graph, clips, judge = setup
    return to_int8(graph, contract, clips, judge, settings=[GOOD, replace(GOOD, floats="nothing")])


# --- calibration ----------------------------------------------------------------------------------------


def test_everything_moves(setup: Setup) -> None:
    _, clips, _ = setup
    assert len(clips) == 5 + 3 + 4  # videos, stills under ego-motion, flights of the project's own
    for index, clip in enumerate(clips):
        assert (clip.dtype, clip.shape) == (np.uint8, (LENGTH, 32, 32, 3)), index
        assert (clip[1:] != clip[:-1]).any(axis=(1, 2, 3)).mean() > 0.8, index


def test_clips_are_the_same_each_time(setup: Setup, splits: Splits, contract: Any) -> None:
    again = calibration_clips(splits.train(), contract)
    assert [clip.tobytes() for clip in again] == [clip.tobytes() for clip in setup[1]]


def test_long_data_sets_are_sampled_over_their_length(scene: AerialScene, contract: Any) -> None:
    """And no more is decoded than is used."""
    read: list[str] = []

    def spied(index: int) -> Footage:
        item = footage(scene, "video", LENGTH, index)

        def watched() -> Iterator[LabelledFrame]:
            read.append(item.name)
            yield from islice(item.read(), LENGTH)

        return replace(item, read=watched)

    calibration_clips([spied(index) for index in range(80)], contract)
    assert read == [f"video-{index}" for index in range(0, 80, 2)]


@pytest.mark.parametrize(
    ("frames", "moves", "words"),
    [(LENGTH, False, "expected frames that move"), (3, True, "expected at least 64 frames.*got 15")],
)
@pytest.mark.parametrize("use", [calibration_clips, Evidence.of])
def test_too_little_or_constant_data_is_refused(
    use: Callable[..., Any], frames: int, moves: bool, words: str, scene: AerialScene, contract: Any
) -> None:
    items = [footage(scene, "video", frames, 100 * index, moves=moves) for index in range(5)]
    with pytest.raises(DataError, match=words):
        use(items, contract)


def test_without_fixations_there_is_nothing_to_judge_by(scene: AerialScene, contract: Any) -> None:
    with pytest.raises(DataError, match="stills with fixations"):
        Evidence.of([footage(scene, "video", CHAINED, 0)], contract)


# --- the gate -------------------------------------------------------------------------------------------


def test_the_float_network_keeps_everything(setup: Setup) -> None:
    graph, _, judge = setup
    found = judge(onnx_run(graph))
    assert (found.cc_stills, found.cc_clips, found.cc_worst_clip) == pytest.approx((1, 1, 1))
    assert found.nss == found.nss_float
    assert not found.misses()


def test_a_lost_state_shows_on_clips_alone(setup: Setup, contract: Any) -> None:
    """Stills have no past: a gate that looks at them alone would let it pass."""
    graph, _, judge = setup
    run = onnx_run(graph)

    def forgetful(frames: Frames, state: State) -> tuple[Maps, State]:
        return run(frames, first_state(contract, run, frames[:1]))

    found = judge(forgetful)
    assert found.cc_stills == pytest.approx(1)
    assert found.cc_clips < found.cc_stills - 0.005


def test_constant_maps_miss_everything(setup: Setup) -> None:
    def blind(frames: Frames, state: State) -> tuple[Maps, State]:
        return np.full(frames.shape[:3], 0.5, np.float32), state

    missed = setup[2](blind).misses()
    assert [words.split(" ")[0] for words in missed] == ["CC", "CC", "NSS"]


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, 0),
        ({"cc_stills": 0.9899}, 1),
        ({"cc_clips": 0.9899}, 1),
        ({"cc_clips": float("nan")}, 1),
        ({"nss": 1.978}, 1),
        ({"nss": 2.5}, 0),
        ({"nss": float("nan")}, 1),
    ],
)
def test_the_bars(changes: dict[str, float], missed: int) -> None:
    at_the_bar = Fidelity(cc_stills=0.99, cc_clips=0.99, cc_worst_clip=0.9, nss=1.981, nss_float=2.0)
    assert len(replace(at_the_bar, **changes).misses()) == missed


# --- the graph ------------------------------------------------------------------------------------------


def test_convolutions_are_really_integer(quantised: Any) -> None:
    """62 convolutions and 2 deconvolutions; the attention has 30 of them."""
    attention, everything = quantised.trials
    assert (attention.quantised, attention.convolutions) == (34, 64)
    assert (everything.quantised, everything.convolutions) == (64, 64)
    assert quantised_convolutions(quantised.graph)[0] == quantised.best.quantised


def test_a_float_graph_has_no_integer_convolutions(setup: Setup) -> None:
    assert quantised_convolutions(setup[0]) == (0, 64)


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


def test_it_is_small(setup: Setup, quantised: Any) -> None:
    assert len(quantised.graph) < 0.6 * len(setup[0])


def test_the_same_inputs_give_the_same_bytes(setup: Setup, contract: Any, quantised: Any) -> None:
    graph, clips, judge = setup
    again = to_int8(graph, contract, clips, judge, settings=[quantised.best.setting])
    assert again.graph == quantised.graph


def test_one_frame_at_a_time(quantised: Any, contract: Any, setup: Setup) -> None:
    clip = setup[1][0]
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


def test_pairs_of_equal_frames_are_no_calibration(setup: Setup, contract: Any) -> None:
    """The trap that `calibration_clips` is there for: the temporal path learns ranges of nothing."""
    graph, clips, judge = setup
    frozen = [np.repeat(clip[:1], len(clip), axis=0) for clip in clips]
    trials: list[Trial] = []
    for taught in (clips, frozen):
        # What misses the gate raises, and has been reported by then.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Fidelity, "misses", lambda self: [])
            to_int8(graph, contract, taught, judge, settings=[GOOD], report=trials.append)
    moving, still = (trial.fidelity for trial in trials)
    assert 1 - still.cc_clips > 2 * (1 - moving.cc_clips)


def test_every_combination_is_tried_once() -> None:
    assert len(set(SETTINGS)) == len(SETTINGS) == 2 * 3 * 4


# --- what fails -----------------------------------------------------------------------------------------


def test_a_miss_names_the_layers(setup: Setup, contract: Any) -> None:
    graph, clips, _ = setup
    bad = Fidelity(cc_stills=0.999, cc_clips=0.9, cc_worst_clip=0.8, nss=1, nss_float=1)
    with pytest.raises(ParityError, match=r"CC on moving clips 0\.9000 < 0\.99.*\n.*node_\w+ \(\w+\): .* dB"):
        to_int8(graph, contract, clips[:2], lambda run: bad, settings=[GOOD])  # type: ignore[arg-type]


def test_the_worst_layer_is_found(setup: Setup, quantised: Any, contract: Any) -> None:
    """One convolution in the middle is given other weights."""
    graph, clips, _ = setup
    model = onnx.load_from_string(graph)
    victim = [node for node in model.graph.node if node.op_type == "Conv"][40]
    weight = next(item for item in model.graph.initializer if item.name == victim.input[1])
    noise = np.random.default_rng(0).normal(size=tuple(weight.dims)).astype(np.float32)
    weight.CopyFrom(onnx.numpy_helper.from_array(noise, weight.name))
    state = np.zeros(contract.state_shape, np.float32)
    feeds = [{"frames": clips[0], "state_in": state}]
    worst = worst_layers(graph, model.SerializeToString(), feeds, count=64)
    broken = [layer for layer in worst if np.isfinite(layer.decibels)]
    assert victim.name in {layer.name for layer in broken[:5]}
    before = [node.name for node in model.graph.node][: list(model.graph.node).index(victim)]
    assert not {layer.name for layer in broken} & set(before), "layers before it are as they were"


def test_a_graph_that_is_not_ours_is_refused(setup: Setup, contract: Any) -> None:
    graph, clips, judge = setup
    foreign = onnx.load_from_string(graph)
    foreign.graph.input[0].name = "images"
    for data in (b"no graph", foreign.SerializeToString()):
        with pytest.raises(ExportError, match="expected the graph of a clip step"):
            to_int8(data, contract, clips, judge, settings=[GOOD])


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


def test_correlations_of_maps(rng_maps: NDArray[np.float32]) -> None:
    assert correlations(rng_maps, rng_maps) == pytest.approx(np.ones(len(rng_maps)))


@pytest.fixture
def rng_maps() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((3, 8, 8), np.float32)
