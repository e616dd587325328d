"""From checkpoint to bundle: what it holds, and that nothing is written that does not compute the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.data.synthetic import AerialScene  # noqa: E402
from uva_edge.errors import DataError, ManifestError, OutputError, ParityError  # noqa: E402
from uva_edge.export import artifacts, bundles, golden  # noqa: E402
from uva_edge.export.bundles import export_bundle  # noqa: E402
from uva_edge.export.golden import golden_clip  # noqa: E402
from uva_edge.export.model_card import model_card  # noqa: E402
from uva_edge.models.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from uva_edge.models.clip_step import ClipStep  # noqa: E402
from uva_edge.models.uva_net import UvaNet, UvaNetConfig  # noqa: E402
from uva_edge.runtimes.conformance import passed, verify  # noqa: E402

ARTIFACTS = ("onnx-fp32", "onnx-fp32-t1", "torch-fp32")


def graph_of(bundle: Bundle, frames: int | None) -> bytes:
    return bundle.read(bundle.artifact("onnx-fp32-t1" if frames else "onnx-fp32").files[0])


@pytest.fixture
def quick(bundle: Bundle, untrained: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int | None, bytes]:
    """The slow parts of an export of `untrained` are taken from its bundle; the graphs may be exchanged."""
    graphs = {frames: graph_of(bundle, frames) for frames in (None, 1)}
    step = ClipStep(load_checkpoint(untrained)[0]).eval()
    clip = golden._reference(step, bundle.manifest.contract, bundle.golden().frames[:4])
    monkeypatch.setattr(artifacts, "to_onnx", lambda step, contract, *, frames=None: graphs[frames])
    monkeypatch.setattr(artifacts, "golden_clip", lambda step, contract: clip)
    return graphs


def contents(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- what a bundle holds --------------------------------------------------------------------------------


def test_artifacts(bundle: Bundle, untrained: Path) -> None:
    bundle.verify()
    described = [(item.name, item.format, item.precision, item.frames) for item in bundle.manifest.artifacts]
    assert described == [
        ("onnx-fp32", "onnx", "fp32", None),
        ("onnx-fp32-t1", "onnx", "fp32", 1),
        ("torch-fp32", "torch", "fp32", None),
    ]
    assert bundle.artifact("onnx-fp32").requires == {"opset": "18"}
    network = load_checkpoint(untrained)[0]
    weights = bundle.read(bundle.artifact("torch-fp32").files[0])
    for name, value in load_checkpoint(weights)[0].state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_the_network_and_its_contract(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert (manifest.name, manifest.network.family) == ("small-32", "uva-net")
    assert manifest.network.parameters == 165_337
    assert round(manifest.network.macs_per_step / 1e6, 1) == 11.1
    assert manifest.network.options == UvaNetConfig(resolution=32).options()
    contract = manifest.contract
    assert (contract.resolution, contract.pairing, contract.output) == (32, "causal", "peak")
    assert contract.state_shape == (1, 64, 8, 8)
    model = onnx.load_from_string(graph_of(bundle, None))
    assert [value.name for value in model.graph.input] == [contract.frames.name, contract.state_in.name]
    assert [value.name for value in model.graph.output] == [contract.maps.name, contract.state_out.name]


@pytest.mark.parametrize("name", ARTIFACTS)
def test_parity_was_measured_and_is_within_the_gate(bundle: Bundle, name: str) -> None:
    parity = bundle.artifact(name).parity
    assert set(parity) == {"max_abs_map", "max_abs_state", "min_cc"}
    # The golden clip is of the network with its batch norms; no artifact computes the very same sums.
    assert 0 < parity["max_abs_map"] <= 1e-4
    assert 0 < parity["max_abs_state"] <= 1e-4
    assert 0.99999 <= parity["min_cc"] <= 1 + 1e-12


def test_the_golden_clip_is_a_chained_flight(bundle: Bundle, untrained: Path) -> None:
    clip = bundle.golden()
    assert clip.frames.shape == (64, 32, 32, 3)
    network = load_checkpoint(untrained)[0]
    frames = torch.from_numpy(clip.frames)
    with torch.inference_mode():
        maps, state = ClipStep(network).eval()(frames, network.features(frames[:1]))
    assert np.abs(clip.maps - maps.numpy()).max() <= 1e-5
    assert np.abs(clip.state - state.numpy()).max() <= 1e-5 * max(1, float(state.abs().max()))
    assert (clip.maps.max(axis=(1, 2)) == 1).all()
    assert np.abs(np.diff(clip.frames.astype(int), axis=0)).max(axis=(1, 2, 3)).min() > 0, "a frame repeats"


def test_the_lineage_names_the_checkpoint_and_the_tools(bundle: Bundle, untrained: Path) -> None:
    lineage = bundle.manifest.lineage
    assert lineage.checkpoint_sha256 == hashlib.sha256(untrained.read_bytes()).hexdigest()
    assert lineage.recipe == {"name": "none"}
    assert lineage.created_with["torch"] == torch.__version__
    assert lineage.created_with["onnx"] == onnx.__version__
    assert lineage.licence == "Apache-2.0"


def test_the_model_card_has_the_facts(bundle: Bundle) -> None:
    (document,) = bundle.manifest.documents
    text = bundle.read(document).decode()
    parity = bundle.artifact("onnx-fp32-t1").parity
    for fact in ("# small-32", "165,337 parameters", "64 chained frames", f"{parity['max_abs_map']:.1e}"):
        assert fact in text, text
    assert all(f"| {name} |" in text for name in ARTIFACTS), text


def test_scores_are_in_the_manifest_and_on_the_card(
    quick: object, untrained: Path, tmp_path: Path, bundle: Bundle
) -> None:
    accuracy = {"osie": {"nss": 1.834, "cc": 0.5}, "clips": {"cc": 0.71}}
    scored = export_bundle(untrained, tmp_path / "scored", name="scored", accuracy=accuracy)
    assert scored.manifest.accuracy == accuracy
    manifest = scored.manifest
    card = model_card(
        name="scored",
        network=manifest.network,
        contract=manifest.contract,
        artifacts=(),
        golden=bundle.golden(),
        accuracy=accuracy,
        lineage=manifest.lineage,
        limits=("Never seen at night.",),
    )
    assert "- Never seen at night." in card
    for text in (card, scored.read(manifest.documents[0]).decode()):
        assert "| osie | nss | 1.834 |" in text
        assert "| clips | cc | 0.710 |" in text


@pytest.mark.parametrize("limit", [60_000, 1])
def test_a_golden_clip_that_grows_too_large_has_fewer_frames(
    scene: AerialScene, bundle: Bundle, untrained: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(golden, "AerialScene", lambda **options: scene)
    step, contract = ClipStep(load_checkpoint(untrained)[0]).eval(), bundle.manifest.contract
    whole = golden_clip(step, contract, frames=16)
    monkeypatch.setattr(golden, "MAX_BYTES", limit)
    clip = golden_clip(step, contract, frames=16)
    count = len(clip.frames)
    assert len(whole.to_bytes()) > limit
    assert count == 1 if limit == 1 else (1 < count < 16 and len(clip.to_bytes()) <= limit)
    assert np.array_equal(clip.frames, whole.frames[:count])
    assert np.abs(clip.maps - whole.maps[:count]).max() <= 1e-5


# --- what is not written --------------------------------------------------------------------------------


def of_other_weights(data: bytes) -> bytes:
    """The graph with the weights of its last layer a little smaller."""
    model = onnx.load_from_string(data)
    last = next(node for node in reversed(model.graph.node) if node.op_type == "ConvTranspose")
    (tensor,) = (item for item in model.graph.initializer if item.name == last.input[1])
    tensor.CopyFrom(onnx.numpy_helper.from_array(0.99 * onnx.numpy_helper.to_array(tensor), tensor.name))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(("frames", "name"), [(None, "onnx-fp32/"), (1, "onnx-fp32-t1/")])
def test_a_graph_of_other_weights_is_refused(
    quick: dict[int | None, bytes], untrained: Path, tmp_path: Path, frames: int | None, name: str
) -> None:
    place = tmp_path / "bundles" / "small"
    old = export_bundle(untrained, place, name="small")
    before = contents(place)
    quick[frames] = of_other_weights(quick[frames])
    with pytest.raises(ParityError, match=rf"nothing was written(.|\n)*{name}.*max_abs_map"):
        export_bundle(untrained, place, name="small")
    assert contents(place) == before
    assert passed(verify(old))
    assert [path.name for path in place.parent.iterdir()] == ["small"]


def test_an_interrupted_export_leaves_the_old_bundle(
    quick: object, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "bundles" / "small"
    export_bundle(untrained, place, name="small")
    before = contents(place)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    for step in ("make", "verify", "model_card", "write_bundle"):
        with monkeypatch.context() as patch:
            patch.setattr(bundles, step, interrupted)
            with pytest.raises(KeyboardInterrupt):
                export_bundle(untrained, place, name="small")
        assert contents(place) == before, step
        assert [path.name for path in place.parent.iterdir()] == ["small"], step


def test_a_place_that_is_taken_is_refused_before_the_work(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "make", lambda *_: pytest.fail("nothing should be made"))
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(OutputError, match="expected a directory or nothing there, got a file"):
        export_bundle(untrained, tmp_path / "taken", name="small")


def test_an_onnx_file_is_no_source(bundle: Bundle, tmp_path: Path) -> None:
    graph = tmp_path / "other.onnx"
    graph.write_bytes(graph_of(bundle, None))
    with pytest.raises(DataError, match=r"other\.onnx: expected a checkpoint that uva_edge wrote"):
        export_bundle(graph, tmp_path / "new", name="new")


OF_NOWHERE = """
<ir_version: 8, opset_import: ["" : 18, "nowhere" : 1]>
clip_step (uint8[T, 32, 32, 3] frames, float[1, 64, 8, 8] state_in)
=> (float[T, 32, 32] maps, float[1, 64, 8, 8] state_out)
{ maps, state_out = nowhere.Step(frames, state_in) }
"""


def test_a_graph_that_no_engine_loads_is_refused(
    quick: dict[int | None, bytes], untrained: Path, tmp_path: Path
) -> None:
    quick[None] = onnx.parser.parse_model(OF_NOWHERE).SerializeToString()
    with pytest.raises(ParityError, match="onnxruntime/onnx-fp32/T=1"):
        export_bundle(untrained, tmp_path / "new", name="small")
    assert not (tmp_path / "new").exists()


def test_an_artifact_that_nothing_ran_is_refused(
    quick: object, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_torch(bundle: Bundle) -> list[Any]:
        return [outcome for outcome in verify(bundle) if outcome.case.artifact != "torch-fp32"]

    monkeypatch.setattr(bundles, "verify", without_torch)
    with pytest.raises(ParityError, match="no backend here could run torch-fp32"):
        export_bundle(untrained, tmp_path / "new", name="small")
    assert not (tmp_path / "new").exists()


def test_the_lineage_is_of_the_bytes_that_were_exported(
    quick: object, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training run may replace the checkpoint while it is exported."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(untrained.read_bytes())

    def replaced_after(*source: Any, **options: Any) -> Any:
        loaded = load_checkpoint(*source, **options)
        save_checkpoint(checkpoint, UvaNet(UvaNetConfig(resolution=64)), {})
        return loaded

    monkeypatch.setattr(bundles, "load_checkpoint", replaced_after)
    exported = export_bundle(checkpoint, tmp_path / "new", name="small")
    expected = hashlib.sha256(untrained.read_bytes()).hexdigest()
    assert exported.manifest.lineage.checkpoint_sha256 == expected


@pytest.mark.parametrize(
    "lineage", [{"recipe": [1]}, {"data": "one"}, {"data": [1]}, {"teacher": 3}, {"commit": ["a"]}], ids=str
)
def test_a_lineage_of_another_form_is_refused(tmp_path: Path, lineage: dict[str, Any]) -> None:
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, UvaNet(UvaNetConfig(resolution=32)), lineage)
    with pytest.raises(DataError, match=r"odd\.safetensors: its lineage"):
        export_bundle(path, tmp_path / "new", name="small")
    assert not (tmp_path / "new").exists()


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no network")
    for name in ("text", "absent"):
        with pytest.raises(DataError, match=rf"{name}\.safetensors"):
            export_bundle(tmp_path / f"{name}.safetensors", tmp_path / "new", name="small")


def test_a_name_is_no_path(quick: object, untrained: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="name"):
        export_bundle(untrained, tmp_path / "new", name="../../escaped")
    assert not list(tmp_path.iterdir())


def test_a_directory_of_something_else_stays(quick: object, untrained: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(OutputError):
        export_bundle(untrained, tmp_path, name="small")
    assert contents(tmp_path) == {"notes.txt": hashlib.sha256(b"keep me").hexdigest()}
