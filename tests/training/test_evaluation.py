"""Scores of a stub network whose maps are known, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from torch import Tensor, nn  # noqa: E402

from uva_edge.data.clips import Clip  # noqa: E402
from uva_edge.data.stills import Still  # noqa: E402
from uva_edge.errors import OptionError  # noqa: E402
from uva_edge.models.uva_net import Pairing, UvaNet, UvaNetConfig, to_map  # noqa: E402
from uva_edge.training.evaluation import predict_pairs, score_clips, score_stills  # noqa: E402

SIDE = 32


class Stub(nn.Module):
    """Its logits are the brightness of the frame, 0 to 1, less half of that of its partner."""

    def __init__(self, pairing: Pairing = "causal") -> None:
        super().__init__()
        self.config = UvaNetConfig(resolution=SIDE, pairing=pairing, output="clamp")
        self.sizes: list[int] = []

    def forward(self, frames: Tensor, others: Tensor) -> Tensor:
        assert not self.training
        self.sizes.append(len(frames))
        now, other = (values.float().mean(-1) / 255 for values in (frames, others))
        return now - 0.5 * other


def frame(columns: int, level: int = 255) -> NDArray[np.uint8]:
    """Black, but for this many bright columns of 32 on the left; 128x128 pixels, so 4 for each of the input."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, : 4 * columns] = level
    return image


def still(image: NDArray[np.uint8], points: list[tuple[float, float]]) -> Still:
    return Still("s", "osie", image, np.array(points, np.float32), np.ones((4, 4), np.uint8))


def test_scores_of_a_half_plane() -> None:
    """A map of two levels, half and half, is +1 and -1 when standardised."""
    left, right = (0.2, 0.5), (0.8, 0.5)
    for points, nss, auc in (
        ([left], 1.0, 0.75),
        ([right], -1.0, 0.25),
        ([left, right], 0.0, 0.5),
        ([left, left, right, left], 0.5, 0.625),
    ):
        scores = score_stills(Stub(), [still(frame(16), points)])  # type: ignore[arg-type]
        # Resizing to 128 pixels blurs the edge over a few of them.
        assert scores["nss"] == pytest.approx(nss, abs=0.03), points
        assert scores["auc"] == pytest.approx(auc, abs=0.03), points
        assert np.sign(round(scores["cc"], 1)) == np.sign(nss), points


def test_scores_are_means_over_the_stills() -> None:
    one, other = still(frame(16), [(0.2, 0.5)]), still(frame(8), [(0.9, 0.1), (0.1, 0.6)])
    single = [score_stills(Stub(), [item]) for item in (one, other)]  # type: ignore[arg-type]
    both = score_stills(Stub(), [one, other])  # type: ignore[arg-type]
    assert set(both) == {"nss", "cc", "auc"}
    for name, value in both.items():
        assert value == pytest.approx((single[0][name] + single[1][name]) / 2), name
        assert abs(single[0][name] - single[1][name]) > 0.01, name


def maps_of(clip: list[NDArray[np.uint8]], partners: list[int]) -> NDArray[np.uint8]:
    """What the stub gives, as a teacher would: with 255 for 1."""
    columns = [image[::4, ::4, 0] / 255 for image in clip]
    exact = [np.clip(columns[t] - 0.5 * columns[other], 0, 1) for t, other in enumerate(partners)]
    return np.rint(255 * np.stack(exact)).astype(np.uint8)


CLIP = [frame(4), frame(12), frame(20, 200), frame(28)]


@pytest.mark.parametrize(("pairing", "partners"), [("causal", [0, 0, 1, 2]), ("lookahead", [1, 2, 3, 3])])
def test_frames_of_a_clip_meet_their_partners(pairing: Pairing, partners: list[int]) -> None:
    teacher = maps_of(CLIP, partners)
    clip = Clip("c", "aerial", CLIP, teacher)
    assert score_clips(Stub(pairing), [clip])["cc"] == pytest.approx(1, abs=1e-4)  # type: ignore[arg-type]
    other: Pairing = "lookahead" if pairing == "causal" else "causal"
    assert score_clips(Stub(other), [clip])["cc"] < 0.98  # type: ignore[arg-type]


def test_clips_count_the_same_whatever_their_length() -> None:
    causal = [0, 0, 1, 2]
    good = Clip("good", "aerial", CLIP, maps_of(CLIP, causal))
    bad = Clip("bad", "aerial", CLIP[:2], 255 - maps_of(CLIP, causal)[:2])
    scores = score_clips(Stub(), iter([good, bad]))  # type: ignore[arg-type]
    assert scores == {"cc": pytest.approx(0, abs=1e-4)}


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(OptionError, match="at least one still"):
        score_stills(Stub(), [])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="at least one clip"):
        score_clips(Stub(), [])  # type: ignore[arg-type]


def test_a_long_run_goes_through_in_parts() -> None:
    draw = np.random.default_rng(0)
    frames = draw.integers(0, 256, (70, SIDE, SIDE, 3), dtype=np.uint8)
    stub = Stub()
    maps = predict_pairs(stub, frames, frames[::-1].copy())  # type: ignore[arg-type]
    assert stub.sizes == [32, 32, 6]
    light = frames.mean(axis=3) / 255
    assert maps.dtype == np.float32
    assert np.allclose(maps, np.clip(light - 0.5 * light[::-1], 0, 1), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_mode_is_put_back(training: bool, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = UvaNet(UvaNetConfig(resolution=SIDE)).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    frames = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    if fails:
        monkeypatch.setattr(network, "head", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict_pairs(network, frames, frames)
    else:
        maps = predict_pairs(network, frames, frames[::-1].copy())
        with torch.inference_mode():
            pair = (torch.from_numpy(frames), torch.from_numpy(frames[::-1].copy()))
            expected = to_map(network.eval()(*pair), "peak")
        network.train(training)
        assert np.allclose(maps, expected.numpy(), atol=1e-6)
        assert (maps.max(axis=(1, 2)) == 1).all()
    assert network.training == training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), f"batch statistics moved: {name}"
