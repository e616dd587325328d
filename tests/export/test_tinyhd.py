"""A TinyHD becomes a bundle like every other: here a narrow random one at 32x64, the public ones where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.cli import main  # noqa: E402
from uva_edge.errors import DataError, SessionError  # noqa: E402
from uva_edge.export import golden  # noqa: E402
from uva_edge.export.artifacts import Exportable, Material  # noqa: E402
from uva_edge.export.golden import golden_clip  # noqa: E402
from uva_edge.export.onnx import to_onnx  # noqa: E402
from uva_edge.export.tinyhd import import_tinyhd  # noqa: E402
from uva_edge.models.families import FAMILIES, load_step  # noqa: E402
from uva_edge.models.tinyhd_step import HISTORY, TinyHDStep  # noqa: E402

GRID = (32, 64)


def test_what_the_bundle_promises(windowed: Bundle) -> None:
    windowed.verify()
    manifest = windowed.manifest
    contract = manifest.contract
    assert (contract.grid, contract.pairing, contract.output, contract.history) == (
        GRID,
        "window",
        "peak",
        15,
    )
    assert (contract.state_in.dtype, contract.state_shape) == ("uint8", (15, *GRID, 3))
    assert (manifest.network.family, manifest.network.options) == ("tinyhd", {"variant": "m"})
    assert manifest.network.macs_per_step > 1e6
    assert "do not redistribute" in manifest.lineage.licence
    card = windowed.read(manifest.documents[0]).decode()
    for fact in ("64x32", "a frame and the 15 before it", "do not redistribute", "not to be passed on"):
        assert fact in card, card
    for artifact in manifest.artifacts:
        assert artifact.parity["max_abs_map"] <= 1e-4, artifact.name
        assert artifact.parity["max_abs_state"] == 0, artifact.name


def test_the_golden_clip_outlasts_the_first_frame(windowed: Bundle, tinyhd: Callable[[str], Any]) -> None:
    clip = windowed.golden()
    assert len(clip.frames) == HISTORY + 3
    assert len(clip.maps) == len(clip.frames), "they fit at this size"
    assert np.array_equal(clip.state, clip.frames[-HISTORY:])
    frames = torch.from_numpy(clip.frames)
    with torch.inference_mode():
        maps, _ = TinyHDStep(tinyhd("m"))(frames, frames[:1].repeat(HISTORY, 1, 1, 1))
    assert np.abs(clip.maps - maps.numpy()).max() <= 1e-5


def test_a_golden_clip_that_grows_too_large_has_fewer_maps(
    windowed: Bundle, tinyhd: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = windowed.golden()
    limit = len(whole.to_bytes()) * 3 // 4
    monkeypatch.setattr(golden, "MAX_BYTES", limit)
    clip = golden_clip(TinyHDStep(tinyhd("m")).eval(), windowed.manifest.contract)
    assert np.array_equal(clip.frames, whole.frames)
    assert 1 < len(clip.maps) < len(whole.maps)
    assert len(clip.to_bytes()) <= limit
    assert np.abs(clip.maps - whole.maps[clip.mapped]).max() <= 1e-6
    assert {clip.mapped[0], clip.mapped[-1]} == {0, len(whole.frames) - 1}


def test_the_graph_of_s(windowed: Bundle, tinyhd: Callable[[str], Any]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    step = TinyHDStep(tinyhd("s")).eval()
    data = to_onnx(step, windowed.manifest.contract)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    clip = windowed.golden().frames
    for frames in (1, 3):
        feed = {"frames": clip[HISTORY : HISTORY + frames], "state_in": clip[:HISTORY]}
        maps, state = session.run(["maps", "state_out"], feed)
        with torch.inference_mode():
            expected = step(*(torch.from_numpy(array) for array in feed.values()))[0].numpy()
        assert np.abs(maps - expected).max() <= 1e-5
        assert np.array_equal(state, clip[frames : frames + HISTORY])


def test_the_graph_starts_and_ends_in_bytes(windowed: Bundle) -> None:
    for name in ("onnx-fp32", "onnx-fp32-t1"):
        model = onnx.load_from_string(windowed.read(windowed.artifact(name).files[0]))
        kinds = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
        uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
        assert kinds == [uint8, uint8, float32, uint8]
        assert "Shape" not in {node.op_type for node in model.graph.node}, "T is in no shape"


def test_the_families(windowed: Bundle) -> None:
    assert set(FAMILIES) == {"uva-net", "tinyhd"}
    weights = windowed.read(windowed.artifact("torch-fp32").files[0])
    assert isinstance(load_step("tinyhd", weights), TinyHDStep)
    with pytest.raises(DataError, match="family 'resnet'; this uva_edge knows uva-net, tinyhd"):
        load_step("resnet", weights)
    with pytest.raises(DataError):
        load_step("uva-net", weights)


def test_the_command(
    tinyhd: Callable[[str], Any], windowed: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it but the slow steps, which other tests see."""
    taken: list[Exportable] = []

    def instead(material: Material, destination: Path, **facts: Any) -> Bundle:
        taken.append(material.subject)
        assert (destination, facts["name"]) == (tmp_path / "mine", "mine")
        return windowed

    monkeypatch.setattr("uva_edge.export.tinyhd.write_verified", instead)
    checkpoint = tmp_path / "tiny.pth"
    torch.save({"student_model": tinyhd("s").state_dict()}, checkpoint)
    done = CliRunner().invoke(main, ["import-tinyhd", str(checkpoint), "-o", str(tmp_path / "mine")])
    assert (done.exit_code, done.stdout.strip()) == (0, windowed.location), done.output
    assert taken[0].contract.grid == (192, 256)
    assert taken[0].network.options == {"variant": "s"}
    assert taken[0].lineage.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.pth"
    path.write_text("no network")
    with pytest.raises(DataError, match=r"text\.pth"):
        import_tinyhd(path, tmp_path / "new", name="new")
    done = CliRunner().invoke(main, ["import-tinyhd", str(path), "-o", str(tmp_path / "new")])
    assert done.exit_code == 1
    assert "text.pth" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_bundle_of_another_family_is_refused_by_torch(windowed: Bundle, tmp_path: Path) -> None:
    from dataclasses import replace

    from uva_edge.runtimes.backend import SessionOptions
    from uva_edge.runtimes.registry import BACKENDS

    other = Bundle.open(windowed.location)
    other.manifest = replace(other.manifest, network=replace(other.manifest.network, family="resnet"))
    with pytest.raises(SessionError, match="family 'resnet'"):
        BACKENDS["torch"].load(other, other.artifact("torch-fp32"), SessionOptions())
