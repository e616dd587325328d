"""Bundles of lookahead pairs: a frame is compared with the next one, so clips have maps and live streams don't."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, write_bundle
from uva_edge.errors import FrameError, OptionError
from uva_edge.preprocess import network_input
from uva_edge.runtimes import SaliencyPredictor

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("safetensors", reason="needs the extra 'torch'")

from uva_edge.models.checkpoint import checkpoint_bytes, load_checkpoint  # noqa: E402
from uva_edge.models.uva_net import UvaNet, to_map  # noqa: E402


@pytest.fixture(scope="module")
def network(bundle: Bundle) -> UvaNet:
    (weights,) = (artifact for artifact in bundle.manifest.artifacts if artifact.format == "torch")
    return load_checkpoint(bundle.read(weights.files[0]))[0]


@pytest.fixture(scope="module")
def ahead(bundle: Bundle, network: UvaNet, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The weights of `bundle` in a network of lookahead pairs, as a bundle of the reference alone."""
    same = UvaNet(replace(network.config, pairing="lookahead"))
    same.load_state_dict(network.state_dict())
    manifest = bundle.manifest
    weights = {"network.safetensors": checkpoint_bytes(same, {})}
    return write_bundle(
        tmp_path_factory.mktemp("ahead") / "ahead",
        name="ahead",
        network=manifest.network,
        contract=replace(manifest.contract, pairing="lookahead"),
        artifacts=[ArtifactSource("torch-fp32", "torch", "fp32", None, weights, {}, {})],
        golden=bundle.golden(),
        accuracy={},
        lineage=manifest.lineage,
    )


@pytest.fixture(scope="module")
def expected(network: UvaNet, flight: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The maps of the pairs (t, t + 1), the last frame with itself, from the network alone."""
    inputs = torch.tensor(np.stack([network_input(frame, network.config.resolution) for frame in flight]))
    with torch.inference_mode():
        logits = network(inputs, torch.cat((inputs[1:], inputs[-1:])))
    maps: NDArray[np.float32] = to_map(logits, network.config.output).numpy()
    return maps


def test_a_map_is_of_a_frame_and_the_next(ahead: Bundle, expected: Any, flight: Any) -> None:
    with SaliencyPredictor(ahead.location) as predictor:
        for batch in (1, 5, 12, 13, 32):
            maps = predictor.predict_clip(iter(flight), batch=batch)
            np.testing.assert_allclose(maps, expected, atol=1e-4, err_msg=f"batch {batch}")


def test_it_differs_from_causal_pairs(ahead: Bundle, bundle: Bundle, flight: Any) -> None:
    with SaliencyPredictor(ahead.location) as one, SaliencyPredictor(bundle.location) as other:
        assert np.abs(one.predict_clip(flight)[3] - other.predict_clip(flight)[3]).max() > 1e-3


def test_a_frame_alone_is_its_own_partner(ahead: Bundle, expected: Any, flight: Any) -> None:
    with SaliencyPredictor(ahead.location) as predictor:
        np.testing.assert_allclose(predictor.predict(flight[-1]).map, expected[-1], atol=1e-4)
        np.testing.assert_allclose(predictor.predict_clip(flight[-1:]), expected[-1:], atol=1e-4)


def test_a_clip_needs_a_frame(ahead: Bundle) -> None:
    with SaliencyPredictor(ahead.location) as predictor:
        for clip in ([], iter(()), "clip"):
            with pytest.raises(FrameError):
                predictor.predict_clip(clip)


def test_a_live_stream_cannot_have_the_next_frame(ahead: Bundle) -> None:
    with SaliencyPredictor(ahead.location) as predictor:
        with pytest.raises(OptionError, match=r"bundle ahead compares a frame with the next one") as raised:
            predictor.stream()
        assert "use predict_clip, or a bundle of causal pairs" in str(raised.value)
