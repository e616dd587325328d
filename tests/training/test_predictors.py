"""What is scored is what runs: bundles as the runtime has them, networks alike, and maps as they were stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge import SaliencyPredictor  # noqa: E402
from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.bundle_writer import ArtifactSource, write_bundle  # noqa: E402
from uva_edge.data.footage import Footage, LabelledFrame  # noqa: E402
from uva_edge.errors import DataError, OptionError  # noqa: E402
from uva_edge.models.checkpoint import checkpoint_bytes, load_checkpoint  # noqa: E402
from uva_edge.models.uva_net import UvaNet, UvaNetConfig  # noqa: E402
from uva_edge.preprocess import network_input  # noqa: E402
from uva_edge.training.predictors import (  # noqa: E402
    from_baseline,
    from_bundle,
    from_checkpoint,
    from_folder,
    from_network,
)
from uva_edge.training.scoring import Predictor  # noqa: E402


def footage(name: str, frames: NDArray[np.uint8]) -> Footage:
    def read() -> Iterator[LabelledFrame]:
        return (LabelledFrame(image) for image in frames)

    return Footage(name, "set", "still" if len(frames) == 1 else "video", (), read)


def maps_of(predictor: Predictor, frames: NDArray[np.uint8], name: str = "v") -> NDArray[Any]:
    return np.stack(list(predictor.predict(footage(name, frames), iter(frames))))


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return Bundle.shipped("uva-32")


# --- networks -------------------------------------------------------------------------------------------


def test_a_bundle_is_run_as_a_stream_and_stills_by_themselves(
    shipped: Bundle, flight: NDArray[np.uint8]
) -> None:
    with (
        from_bundle(str(shipped.location), backend="onnxruntime") as predictor,
        SaliencyPredictor(shipped.location, backend="onnxruntime") as reference,
    ):
        assert predictor.name == f"{shipped.location} onnxruntime fp32"
        with reference.stream() as stream:
            chained = np.stack([stream.push(image).map for image in flight])
        alone = np.stack([reference.predict(image).map for image in flight])
        np.testing.assert_array_equal(maps_of(predictor, flight), chained)
        stills = np.concatenate([maps_of(predictor, flight[t : t + 1]) for t in range(len(flight))])
        np.testing.assert_array_equal(stills, alone)
    assert not np.array_equal(chained, alone)


def test_a_checkpoint_computes_what_its_bundle_does(
    shipped: Bundle, tmp_path: Path, flight: NDArray[np.uint8]
) -> None:
    (weights,) = (item for item in shipped.manifest.artifacts if item.format == "torch")
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(shipped.read(weights.files[0]))
    many = np.concatenate([flight] * 4)  # more than a chunk
    with from_bundle(str(shipped.location), backend="onnxruntime") as predictor:
        np.testing.assert_allclose(
            maps_of(from_checkpoint(checkpoint), many), maps_of(predictor, many), atol=1e-4
        )


@pytest.mark.parametrize("pairing", ["causal", "lookahead"])
@pytest.mark.parametrize("count", [1, 2, 32, 33])
def test_a_network_sees_each_frame_beside_its_partner(pairing: str, count: int) -> None:
    torch.manual_seed(3)
    network = UvaNet(UvaNetConfig(resolution=32, pairing=pairing, output="sigmoid"))  # type: ignore[arg-type]
    network.eval()
    frames = np.random.default_rng(4).integers(0, 255, (count, 32, 32, 3)).astype(np.uint8)
    inputs = torch.from_numpy(np.stack([network_input(image, 32) for image in frames]))
    causal, lookahead = torch.cat((inputs[:1], inputs[:-1])), torch.cat((inputs[1:], inputs[-1:]))
    with torch.inference_mode():
        expected = torch.sigmoid(network(inputs, causal if pairing == "causal" else lookahead))
    network.train()
    got = maps_of(from_network("net", network), frames)
    assert network.training
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)


def test_no_frames_have_no_maps(untrained: Path) -> None:
    network, _ = load_checkpoint(untrained)
    assert not list(from_network("net", network).predict(footage("v", np.zeros((0, 8, 8, 3), np.uint8)), ()))


def test_a_lookahead_bundle_is_scored_as_a_clip(
    shipped: Bundle, tmp_path: Path, flight: NDArray[np.uint8]
) -> None:
    """Its maps need the frame after, so it has no live stream."""
    network = UvaNet(UvaNetConfig(resolution=shipped.manifest.contract.resolution, pairing="lookahead"))
    manifest, weights = shipped.manifest, {"network.safetensors": checkpoint_bytes(network, {})}
    made = write_bundle(
        tmp_path / "ahead",
        name="ahead",
        network=manifest.network,
        contract=replace(manifest.contract, pairing="lookahead"),
        artifacts=[ArtifactSource("torch-fp32", "torch", "fp32", None, weights, {}, {})],
        golden=shipped.golden(),
        accuracy={},
        lineage=manifest.lineage,
    )
    with from_bundle(str(made.location)) as predictor:
        np.testing.assert_allclose(
            maps_of(predictor, flight), maps_of(from_network("net", network), flight), atol=1e-4
        )


def test_a_baseline_goes_by_its_name(flight: NDArray[np.uint8]) -> None:
    predictor = from_baseline("pqft")
    assert predictor.name == "pqft"
    assert maps_of(predictor, flight).shape == (12, 64, 64)
    with pytest.raises(OptionError, match="pqtf"):
        from_baseline("pqtf")


# --- maps from elsewhere --------------------------------------------------------------------------------

MAPS = np.random.default_rng(6).integers(0, 255, (3, 6, 8)).astype(np.uint8)
FRAMES = np.zeros((3, 30, 40, 3), np.uint8)


def store(folder: Path, layout: str) -> None:
    if layout == "images":
        (folder / "v").mkdir()
        for number, saliency in enumerate(MAPS, start=1):
            cv2.imwrite(str(folder / "v" / f"frame_{number:04d}.png"), saliency)
    elif layout == "arrays":
        (folder / "v").mkdir()
        for number, saliency in enumerate(MAPS):
            np.save(folder / "v" / f"{number}.npy", saliency)
    elif layout == "npy":
        np.save(folder / "v.npy", MAPS)
    else:
        np.savez_compressed(folder / "v.npz", maps=MAPS)


@pytest.mark.parametrize("layout", ["images", "arrays", "npy", "npz"])
def test_maps_of_a_video_in_every_layout(tmp_path: Path, layout: str) -> None:
    store(tmp_path, layout)
    predictor = from_folder(tmp_path)
    assert predictor.name == str(tmp_path)
    np.testing.assert_array_equal(maps_of(predictor, FRAMES), MAPS)
    with pytest.raises(DataError, match=r"maps of 3 frames, but v has more"):
        maps_of(predictor, np.concatenate([FRAMES, FRAMES]))
    with pytest.raises(DataError, match=r"more maps than the 2 frames of v"):
        maps_of(predictor, FRAMES[:2])


def test_maps_of_a_still(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), MAPS[0])
    np.save(tmp_path / "b.npy", MAPS[1].astype(np.float64))
    for name, expected in (("a", MAPS[0]), ("b", MAPS[1])):
        np.testing.assert_array_equal(maps_of(from_folder(tmp_path), FRAMES[:1], name)[0], expected)


def test_a_file_name_may_hold_dots(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.v2.npy", MAPS)
    np.testing.assert_array_equal(maps_of(from_folder(tmp_path), FRAMES, "clip.v2"), MAPS)


def test_missing_and_double_maps_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder of maps"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"video v in one of v\.npy, v\.npz, v; 0 of them"):
        maps_of(from_folder(tmp_path), FRAMES)
    store(tmp_path, "npy")
    store(tmp_path, "npz")
    with pytest.raises(DataError, match="2 of them"):
        maps_of(from_folder(tmp_path), FRAMES)


@pytest.mark.parametrize(
    "unfit",
    [
        np.full((3, 4, 5), np.nan),
        np.full((3, 4, 5), -1.0),
        np.zeros((3, 4, 5), complex),
        np.zeros((3, 0, 5)),
        np.zeros(3),
        np.zeros((3, 4, 5, 1)),
        np.array([[[object()]]]),
    ],
    ids=["nan", "negative", "complex", "empty", "vector", "four axes", "pickle"],
)
def test_unfit_maps_are_named(tmp_path: Path, unfit: NDArray[Any]) -> None:
    np.save(tmp_path / "v.npy", unfit)
    with pytest.raises(DataError, match=r"v\.npy"):
        maps_of(from_folder(tmp_path), FRAMES)


def test_a_damaged_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(DataError, match=r"v\.npy: expected an array"):
        maps_of(from_folder(tmp_path), FRAMES)
    (tmp_path / "a.png").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"a\.png"):
        maps_of(from_folder(tmp_path), FRAMES[:1], "a")
