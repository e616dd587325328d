"""What quantisers learn from and gates judge by: it moves, it is the same each time, and what is lost shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the extra 'export'")
pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.data.footage import Footage, LabelledFrame  # noqa: E402
from uva_edge.errors import DataError  # noqa: E402
from uva_edge.export.artifacts import Material, Splits  # noqa: E402
from uva_edge.export.calibration import CHAINED, LENGTH, Evidence, calibration_clips  # noqa: E402
from uva_edge.export.fidelity import Fidelity  # noqa: E402
from uva_edge.export.onnx import onnx_run  # noqa: E402
from uva_edge.runtimes.agreement import correlations  # noqa: E402
from uva_edge.runtimes.backend import Frames, Maps, State, first_state  # noqa: E402

Pieces = Callable[..., Footage]

# --- calibration ----------------------------------------------------------------------------------------


def test_everything_moves(splits: Splits, contract: Any) -> None:
    clips = calibration_clips(splits.train(), contract)
    assert len(clips) == 5 + 3 + 4  # videos, stills under ego-motion, flights of the project's own
    for index, clip in enumerate(clips):
        assert (clip.dtype, clip.shape) == (np.uint8, (LENGTH, 32, 32, 3)), index
        assert (clip[1:] != clip[:-1]).any(axis=(1, 2, 3)).mean() > 0.8, index


def test_clips_are_the_same_each_time(splits: Splits, contract: Any) -> None:
    once, again = (calibration_clips(splits.train(), contract) for _ in range(2))
    assert [clip.tobytes() for clip in again] == [clip.tobytes() for clip in once]


def test_long_data_sets_are_sampled_over_their_length(footage: Pieces, contract: Any) -> None:
    """And no more is decoded than is used."""
    read: list[str] = []

    def spied(index: int) -> Footage:
        item = footage("video", LENGTH, index)

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
    use: Callable[..., Any], frames: int, moves: bool, words: str, footage: Pieces, contract: Any
) -> None:
    items = [footage("video", frames, 100 * index, moves=moves) for index in range(5)]
    with pytest.raises(DataError, match=words):
        use(items, contract)


def test_without_fixations_there_is_nothing_to_judge_by(footage: Pieces, contract: Any) -> None:
    with pytest.raises(DataError, match="stills with fixations"):
        Evidence.of([footage("video", CHAINED, 0)], contract)


# --- the gate -------------------------------------------------------------------------------------------


def test_the_float_network_keeps_everything(material: Material) -> None:
    graph, judge = material.graph, material.judge
    found = judge(onnx_run(graph))
    assert (found.cc_stills, found.cc_clips, found.cc_worst_clip) == pytest.approx((1, 1, 1))
    assert found.nss == found.nss_float
    assert not found.misses()


def test_a_lost_state_shows_on_clips_alone(material: Material, contract: Any) -> None:
    """Stills have no past: a gate that looks at them alone would let it pass."""
    graph, judge = material.graph, material.judge
    run = onnx_run(graph)

    def forgetful(frames: Frames, state: State) -> tuple[Maps, State]:
        return run(frames, first_state(contract, run, frames[:1]))

    found = judge(forgetful)
    assert found.cc_stills == pytest.approx(1)
    assert found.cc_clips < found.cc_stills - 0.005


def test_constant_maps_miss_everything(material: Material) -> None:
    def blind(frames: Frames, state: State) -> tuple[Maps, State]:
        return np.full(frames.shape[:3], 0.5, np.float32), state

    missed = material.judge(blind).misses()
    assert [words.split(" ")[0] for words in missed] == ["CC", "CC", "CC", "NSS"]


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, 0),
        ({"cc_stills": 0.9899}, 1),
        ({"cc_clips": 0.9899}, 1),
        ({"cc_golden": 0.9899}, 1),
        ({"cc_clips": float("nan")}, 1),
        ({"nss": 1.978}, 1),
        ({"nss": 2.5}, 0),
        ({"nss": float("nan")}, 1),
    ],
)
def test_the_bars(changes: dict[str, float], missed: int) -> None:
    at_the_bar = Fidelity(
        cc_stills=0.99, cc_clips=0.99, cc_worst_clip=0.9, cc_golden=0.99, nss=1.981, nss_float=2.0
    )
    assert len(replace(at_the_bar, **changes).misses()) == missed


def test_correlations_of_maps() -> None:
    maps: NDArray[np.float32] = np.random.default_rng(0).random((3, 8, 8), np.float32)
    assert correlations(maps, maps) == pytest.approx(np.ones(len(maps)))
