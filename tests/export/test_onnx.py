"""The exported graph: plain operators, the same bytes every time, and the numbers of torch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

import onnxruntime  # noqa: E402

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.errors import ExportError, OptionError  # noqa: E402
from uva_edge.export import onnx as exporter  # noqa: E402
from uva_edge.export.bundles import contract_of  # noqa: E402
from uva_edge.export.onnx import OPERATORS, onnx_run, static, to_onnx  # noqa: E402
from uva_edge.models import clip_step  # noqa: E402
from uva_edge.models.checkpoint import load_checkpoint  # noqa: E402
from uva_edge.models.clip_step import ClipStep  # noqa: E402
from uva_edge.models.uva_net import UvaNet, UvaNetConfig  # noqa: E402

SIDE = 32
GRAPHS = {"any T": ("onnx-fp32", None), "T = 1": ("onnx-fp32-t1", 1)}


@pytest.fixture(scope="module")
def network(untrained: Path) -> UvaNet:
    return load_checkpoint(untrained)[0]


def export(network: UvaNet, frames: int | None) -> bytes:
    return to_onnx(ClipStep(clip_step.folded(network)).eval(), contract_of(network), frames=frames)


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest, bundle: Bundle) -> tuple[bytes, int | None]:
    """The two graphs that a bundle carries, with their T."""
    name, frames = GRAPHS[request.param]
    return bundle.read(bundle.artifact(name).files[0]), frames


def assert_same_numbers(data: bytes, network: UvaNet, frames: int) -> None:
    """ONNX Runtime and torch on a clip of noise, from the state of another clip."""
    draw = torch.Generator().manual_seed(frames)
    clip = torch.randint(0, 256, (frames + 1, SIDE, SIDE, 3), dtype=torch.uint8, generator=draw)
    with torch.inference_mode():
        state = network.features(clip[:1])
        expected = ClipStep(network).eval()(clip[1:], state)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    results = session.run(["maps", "state_out"], {"frames": clip[1:].numpy(), "state_in": state.numpy()})
    for name, ours, theirs in zip(("maps", "state"), results, expected, strict=True):
        scale = max(1.0, float(theirs.abs().max()))
        assert ours.shape == tuple(theirs.shape), name
        assert np.abs(ours - theirs.numpy()).max() <= 1e-5 * scale, f"{name} at T = {frames}"
    assert np.ptp(results[0]) > 0.1


def test_the_same_weights_give_the_same_bytes(graph: tuple[bytes, int | None], network: UvaNet) -> None:
    """And the network stays as it was, mode and weights."""
    data, frames = graph
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    try:
        again = export(network, frames)
        assert all(module.training for module in network.modules())
    finally:
        network.eval()
    assert again == data
    assert list(network.state_dict()) == list(before)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_any_length_gives_the_numbers_of_torch(bundle: Bundle, network: UvaNet, frames: int) -> None:
    data = bundle.read(bundle.artifact("onnx-fp32").files[0])
    assert_same_numbers(data, network, frames)


def test_one_frame_gives_the_numbers_of_torch(bundle: Bundle, network: UvaNet) -> None:
    assert_same_numbers(bundle.read(bundle.artifact("onnx-fp32-t1").files[0]), network, 1)


@pytest.mark.parametrize("pairing", ["causal", "lookahead"])
@pytest.mark.parametrize("streams", [1, 2, 5])
def test_streams_in_one_call_are_streams_alone(network: UvaNet, streams: int, pairing: Any) -> None:
    """Time-major, at any T; and the graph is that of torch."""
    paired = UvaNet(replace(network.config, pairing=pairing)).eval()
    paired.load_state_dict(network.state_dict())
    run = onnx_run(export(paired, None))
    clips = np.random.default_rng(streams).integers(0, 256, (streams, 5, SIDE, SIDE, 3), dtype=np.uint8)
    with torch.inference_mode():
        states = paired.features(torch.from_numpy(clips[:, 0])).numpy()
    for length in (1, 4):
        frames = np.ascontiguousarray(clips[:, 1 : length + 1].swapaxes(0, 1))
        maps, after = run(frames.reshape(-1, SIDE, SIDE, 3), states)
        with torch.inference_mode():
            whole = ClipStep(paired)(torch.from_numpy(frames).flatten(0, 1), torch.from_numpy(states))
        np.testing.assert_allclose(maps, whole[0].numpy(), atol=1e-5)
        for stream, clip in enumerate(clips):
            alone, last = run(clip[1 : length + 1], states[stream : stream + 1])
            where = f"stream {stream}, T = {length}"
            np.testing.assert_allclose(maps[stream::streams], alone, atol=1e-5, err_msg=where)
            np.testing.assert_allclose(after[stream : stream + 1], last, atol=1e-5, err_msg=where)


def test_a_bundle_says_which_artifacts_take_several_streams(bundle: Bundle, windowed: Bundle) -> None:
    assert {item.name: item.streams for item in bundle.manifest.artifacts} == {
        "onnx-fp32": None,
        "onnx-fp32-t1": 1,
        "torch-fp32": None,
    }
    assert {item.streams for item in windowed.manifest.artifacts} == {1}


def test_a_static_graph_measures_nothing(bundle: Bundle, network: UvaNet) -> None:
    """Where T and S are known, so is every size; and it computes what the graph of T = 1 does."""
    graph = static(bundle.read(bundle.artifact("onnx-fp32").files[0]), 1)
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert not {"Shape", "Neg", "Reshape"} & {node.op_type for node in model.graph.node}
    used = {name for node in model.graph.node for name in node.input}
    assert {item.name for item in model.graph.initializer} <= used
    assert_same_numbers(graph, network, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"pairing": "lookahead", "output": "clamp", "block": "mb_se"},
        {"pairing": "causal", "output": "sigmoid", "block": "mb", "expansion": 1},
    ],
    ids=lambda options: f"{options['pairing']}, {options['output']}, {options['block']}",
)
def test_every_choice_of_a_configuration_exports(options: dict[str, Any]) -> None:
    torch.manual_seed(7)
    other = UvaNet(UvaNetConfig(resolution=SIDE, **options)).eval()
    for module in other.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(module.weight)
    assert_same_numbers(export(other, 2), other, 2)


def test_plain_operators_of_one_opset(graph: tuple[bytes, int | None]) -> None:
    model = onnx.load_from_string(graph[0])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    kinds = [node.op_type for node in model.graph.node]
    assert set(kinds) <= OPERATORS
    assert "BatchNormalization" not in kinds
    assert kinds.count("ConvTranspose") == 2
    # A standard convolution, nine blocks of three, an attention of 2 x 2 in each (one MLP, twice its first
    # layer), the 1x1 of the fusion: f_s and the head run once a step.
    blocks = 3 + 4 + 3
    assert kinds.count("Conv") == 1 + blocks * (3 + 3) + 1


def test_inputs_and_outputs_are_those_of_the_contract(graph: tuple[bytes, int | None]) -> None:
    data, frames = graph
    model = onnx.load_from_string(data)
    length = frames or "T"
    state = [1 if frames else "S", 64, SIDE // 4, SIDE // 4]
    expected = {
        "frames": (onnx.TensorProto.UINT8, [length, SIDE, SIDE, 3]),
        "state_in": (onnx.TensorProto.FLOAT, state),
        "maps": (onnx.TensorProto.FLOAT, [length, SIDE, SIDE]),
        "state_out": (onnx.TensorProto.FLOAT, state),
    }
    found = {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    }
    assert found == expected


def test_nothing_of_the_exporting_machine_is_inside(graph: tuple[bytes, int | None]) -> None:
    model = onnx.load_from_string(graph[0])
    for tensor in model.graph.initializer:  # numbers may look like anything
        tensor.ClearField("raw_data")
    text = model.SerializeToString()
    for trace in ("site-packages", ".py", "/work", "Traceback", "File ", sys.prefix, str(Path.cwd())):
        assert trace.encode() not in text, trace
    assert not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert (model.producer_name, model.producer_version) == ("uva_edge", "")


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [0, -1])
def test_a_clip_has_a_frame(network: UvaNet, frames: int) -> None:
    with pytest.raises(OptionError, match=f"got {frames}"):
        export(network, frames)


def test_operators_that_engines_lack_are_refused(network: UvaNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_step, "to_map", lambda logits, output: torch.tanh(logits))
    with pytest.raises(ExportError, match=r"not every engine takes: \['Tanh'\]"):
        export(network, 1)


def test_a_failure_of_the_exporter_says_what_was_exported(
    network: UvaNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise ValueError("no such node")

    monkeypatch.setattr(torch.onnx, "export", failing)
    with pytest.raises(ExportError, match="32x32, T = any: no such node"):
        export(network, None)
    monkeypatch.setattr(torch.onnx, "export", lambda *arguments, **options: None)
    with pytest.raises(ExportError, match="no program"):
        export(network, None)


def damaged(case: str, data: bytes) -> Any:
    model = onnx.load_from_string(data)
    if case == "opset":
        model.opset_import[0].version = 19
    elif case == "domain":
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    elif case == "names":
        model.graph.output[0].name = "map"
        for node in model.graph.node:
            node.output[:] = ["map" if name == "maps" else name for name in node.output]
    elif case == "length":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    elif case == "streams":
        model.graph.output[1].type.tensor_type.shape.dim[0].dim_value = 1
    elif case == "invalid":
        model.graph.node[0].input[0] = "nothing"
    return model


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("opset", "expected the standard one at 18"),
        ("domain", "com.example"),
        ("names", "expected .*maps"),
        ("length", "length 'batch'; expected 'T'"),
        ("streams", "state_out .* length 1; expected 'S'"),
        ("invalid", "not valid ONNX"),
    ],
)
def test_a_graph_of_another_form_is_refused(bundle: Bundle, case: str, words: str) -> None:
    data = bundle.read(bundle.artifact("onnx-fp32").files[0])
    exporter._check(onnx.load_from_string(data), "T", "S")
    with pytest.raises(ExportError, match=words):
        exporter._check(damaged(case, data), "T", "S")
