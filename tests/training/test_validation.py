"""Validation while training: which frames it scores with which partner, and how it averages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from torch import Tensor  # noqa: E402

from uva_edge.data.footage import Footage, LabelledFrame  # noqa: E402
from uva_edge.errors import DamagedFileError, DataError, OptionError  # noqa: E402
from uva_edge.metrics import fixation_density  # noqa: E402
from uva_edge.models.uva_net import Pairing  # noqa: E402
from uva_edge.training.validation import VIDEO_STRIDE, Validation, headline  # noqa: E402

SIDE = 32
CPU = torch.device("cpu")


def image(brightness: int) -> NDArray[np.uint8]:
    return np.full((48, 64, 3), brightness, np.uint8)


def footage(name: str, frames: Sequence[LabelledFrame], dataset: str = "set") -> Footage:
    return Footage(name, dataset, "video" if len(frames) > 1 else "still", (), lambda: iter(frames))


def spot(x: float, y: float) -> NDArray[np.float32]:
    return fixation_density(np.array([[x, y]]), (64, 48))


def video(length: int, dataset: str = "clips") -> Footage:
    """Frame t has brightness t, and a teacher who looks to the left."""
    teacher = np.rint(255 * spot(0.2, 0.5) / spot(0.2, 0.5).max()).astype(np.uint8)
    return footage("video", [LabelledFrame(image(t), teacher=teacher) for t in range(length)], dataset)


def looking_at(x: float) -> Tensor:
    columns = (torch.arange(SIDE) + 0.5) / SIDE
    rows = torch.zeros(SIDE, 1) + (torch.arange(SIDE)[:, None] / SIDE - 0.5).square()
    return -200 * (rows + (columns - x).square())


def validation(*items: Footage, pairing: Pairing = "causal") -> Validation:
    return Validation(items, resolution=SIDE, pairing=pairing)


@pytest.mark.parametrize("length", [1, VIDEO_STRIDE, 2 * VIDEO_STRIDE + 1])
@pytest.mark.parametrize(("pairing", "offset"), [("causal", -1), ("lookahead", 1)])
def test_every_so_manieth_frame_is_seen_with_its_partner(length: int, pairing: Pairing, offset: int) -> None:
    seen: list[tuple[int, int]] = []

    def logits(frames: Tensor, others: Tensor) -> Tensor:
        seen.extend(
            (int(frame[0, 0, 0]), int(other[0, 0, 0])) for frame, other in zip(frames, others, strict=True)
        )
        return torch.rand(len(frames), SIDE, SIDE)

    validation(video(length), pairing=pairing).score(logits, "peak", CPU)
    numbers = range(0, length, VIDEO_STRIDE)
    assert seen == [(t, min(max(t + offset, 0), length - 1)) for t in numbers]


def test_a_teachers_map_alone_gives_its_correlation() -> None:
    clips = validation(video(9))
    right = clips.score(lambda frames, _: looking_at(0.2).expand(len(frames), -1, -1), "peak", CPU)
    wrong = clips.score(lambda frames, _: looking_at(0.8).expand(len(frames), -1, -1), "peak", CPU)
    assert right.keys() == {"clips"}
    assert right["clips"].keys() == {"cc"}
    assert right["clips"]["cc"] > 0.9 > 0.1 > wrong["clips"]["cc"]


def test_fixations_give_nss_cc_and_auc() -> None:
    points = np.array([[0.2, 0.5]], np.float32)
    still = footage("still", [LabelledFrame(image(0), fixations=points)])
    scores = validation(still).score(lambda *_: looking_at(0.2)[None], "peak", CPU)["set"]
    assert scores.keys() == {"nss", "cc", "auc"}
    assert scores["nss"] > 3
    assert scores["auc"] > 0.99


def test_a_long_video_counts_as_much_as_a_short_one() -> None:
    """One of three scored frames is right in the long video, all of one in the short."""
    left, right = (np.rint(255 * spot(x, 0.5) / spot(x, 0.5).max()).astype(np.uint8) for x in (0.2, 0.8))
    long = [
        LabelledFrame(image(0), teacher=left if t < VIDEO_STRIDE else right)
        for t in range(2 * VIDEO_STRIDE + 1)
    ]
    items = footage("long", long), footage("short", [LabelledFrame(image(0), teacher=left)])
    both = validation(*items)

    def logits(frames: Tensor, _: Tensor) -> Tensor:
        return looking_at(0.2).expand(len(frames), -1, -1)

    each = [scores["cc"] for _, scores in both.score_each(logits, "peak", CPU)]
    assert len(each) == 2
    assert each[0] < 0.5 < each[1]
    assert both.score(logits, "peak", CPU)["set"]["cc"] == pytest.approx(np.mean(each))


def test_the_headline_is_the_nss_where_there_is_one() -> None:
    assert headline({"osie": {"nss": 2.0, "cc": 0.1}, "sun500": {"nss": 1.0}, "clips": {"cc": 0.9}}) == 1.5
    assert headline({"clips": {"cc": 0.75}}) == 0.75
    with pytest.raises(OptionError, match="NSS or CC"):
        headline({})


def test_what_can_not_be_scored_is_told() -> None:
    with pytest.raises(OptionError, match="fixations or teacher maps"):
        validation(footage("bare", [LabelledFrame(image(0))]))

    def broken() -> Footage:
        def read() -> object:
            raise DamagedFileError("broken.mp4: no frames")

        return Footage("broken", "set", "video", (), read)  # type: ignore[arg-type]

    with pytest.raises(DataError, match=r"broken\.mp4"):
        validation(broken())
