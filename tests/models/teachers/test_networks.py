"""The teachers' networks: sizes, maps, learning, and what each looks at."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from uva_edge.errors import FrameError, OptionError
from uva_edge.models.teachers.registry import TEACHERS, build_teacher
from uva_edge.models.teachers.teacher import TeacherNet

SMALL: dict[str, Any] = {"width": 1 / 16, "resolution": (32, 48)}


def small(name: str, **options: Any) -> TeacherNet:
    torch.manual_seed(3)
    return build_teacher(name, **{**SMALL, **options})


def moving_squares(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """A textured square that walks over a textured ground, uint8 [count, 40, 60, 3]."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 120, (40, 60, 3), dtype=np.uint8)
    square = rng.integers(150, 255, (12, 12, 3), dtype=np.uint8)
    frames = np.repeat(ground[None], count, axis=0)
    for index in range(count):
        left = 4 + (3 * index) % 40
        frames[index, 14:26, left : left + 12] = square
    return frames


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        # The sums of the layers in the authors' network definitions, and [UVA]'s figures in millions. DVA's has
        # 24 more in the authors' code, whose fusion is a 3x3 convolution.
        ("dva", {}, 25_072_711),
        ("salnet", {}, 25_806_209),
        ("ssnet", {}, 25_806_209),
        ("tsnet", {"streams": "flow"}, 25_806_209),
        ("tsnet", {}, 41_248_257),
    ],
)
def test_full_size(name: str, options: dict[str, Any], parameters: int) -> None:
    with torch.device("meta"):
        teacher = build_teacher(name, **options)
        channels = 6 if name == "tsnet" and not options else 3
        outputs = teacher.outputs(torch.empty(2, channels, *teacher.resolution))
    assert sum(parameter.numel() for parameter in teacher.parameters()) == parameters
    assert teacher.resolution == ((224, 224) if name == "dva" else (240, 320))
    assert len(outputs) == (4 if name == "dva" else 1)
    assert all(output.shape == (2, *teacher.resolution) for output in outputs)
    assert not teacher.pretrained


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("output", ["peak", "sigmoid", "clamp"])
def test_maps_are_scaled_to_their_peak(name: str, output: str) -> None:
    teacher = small(name, output=output)
    maps = teacher.predict(moving_squares(3))
    assert maps.dtype == np.float32
    assert maps.shape == (3, 32, 48)
    assert maps.min() >= 0
    # A clamped map may be 0 everywhere; then it stays so.
    assert all(peak in (0, 1) if output == "clamp" else peak == 1 for peak in maps.max(axis=(1, 2)))
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("name", TEACHERS)
def test_a_clip_is_its_frames(name: str) -> None:
    """More frames than a batch: the same maps as pair by pair."""
    teacher, frames = small(name), moving_squares(11)
    together = teacher.predict(frames)
    alone = [teacher.predict(frames[max(index - 1, 0) : index + 1])[-1] for index in range(len(frames))]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_same_weights_after_the_same_seed() -> None:
    one, other = small("tsnet"), small("tsnet")
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_only_motion_changes_what_tsnet_adds() -> None:
    """The last frame is the same; what led there is not. Spatial teachers can't tell."""
    frames = moving_squares(6)
    still = np.repeat(frames[-1:], 2, axis=0)
    for name in TEACHERS:
        teacher = small(name)
        moved, rested = teacher.predict(frames[-2:])[-1], teacher.predict(still)[-1]
        assert (np.abs(moved - rested).max() > 1e-3) == (name == "tsnet"), name


def test_the_flow_stream_alone_sees_motion_alone() -> None:
    teacher = small("tsnet", streams="flow")
    frames = moving_squares(4)
    brighter = np.minimum(frames.astype(np.int32) + 10, 255).astype(np.uint8)[:1]
    maps = [teacher.predict(one)[0] for one in (frames[:1], brighter, frames[2:3])]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    assert np.abs(teacher.predict(frames)[-1] - maps[0]).max() > 1e-3


def test_levels_of_dva() -> None:
    teacher = small("dva")
    frames = moving_squares(10)
    levels = teacher.predict_outputs(frames)
    assert levels.shape == (4, 10, 32, 48)
    np.testing.assert_allclose(levels[0], teacher.predict(frames), atol=1e-6)
    # From fresh weights the fused logits are the mean of the three.
    inputs = teacher.prepare(frames[:1], frames[:1])
    fused, *others = teacher.outputs(inputs)
    torch.testing.assert_close(fused, torch.stack(others).mean(dim=0))
    assert all(not torch.allclose(one, other) for one, other in pairwise(others))


@pytest.mark.parametrize("name", TEACHERS)
def test_learning(name: str) -> None:
    """A few steps towards the square lower the cross-entropy of all outputs, and reach every parameter."""
    teacher = small(name, width=1 / 8)
    frames = moving_squares(5, seed=1)[1:]
    targets = torch.zeros(4, 32, 48)
    for index in range(4):
        left = round((4 + 3 * (index + 1)) * 48 / 60)
        targets[index, 11:21, left : left + 10] = 0.01
    inputs = teacher.prepare(frames, moving_squares(5, seed=1)[:4])
    optimizer = torch.optim.Adam(teacher.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        outputs = teacher.outputs(inputs)
        loss = torch.stack(
            [-(targets.flatten(1) * output.flatten(1).log_softmax(1)).sum(1).mean() for output in outputs]
        ).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    uniform = float(np.log(32 * 48))
    assert losses[0] < 1.2 * uniform
    assert losses[-1] < uniform - 1.0, losses
    assert all(parameter.grad is not None for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 0}, "width"),
        ({"width": float("nan")}, "width"),
        ({"width": "1"}, "width"),
        ({"resolution": (32, 33)}, r"multiples of .*\(32, 33\)"),
        ({"resolution": (32.0, 32)}, "resolution"),
        ({"resolution": (0, 32)}, "resolution"),
        ({"resolution": (32, 2048)}, "1024"),
        ({"resolution": (32,)}, "resolution"),
        ({"resolution": ()}, "resolution"),
        ({"output": "softmax"}, "softmax"),
        ({"depth": 3}, "depth"),
    ],
)
@pytest.mark.parametrize("name", TEACHERS)
def test_wrong_options(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said), torch.device("meta"):
        build_teacher(name, **options)


def test_wrong_names_and_streams() -> None:
    with pytest.raises(OptionError, match="dva, salnet, ssnet, tsnet; got 'vgg'"):
        build_teacher("vgg")
    with pytest.raises(OptionError, match="rgb"), torch.device("meta"):
        build_teacher("tsnet", streams="rgb")
    with pytest.raises(OptionError, match="12x12"), torch.device("meta"):
        build_teacher("tsnet", resolution=(8, 32))


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((1, 0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
    ],
)
def test_wrong_frames(frames: NDArray[Any]) -> None:
    with pytest.raises(FrameError, match=r"\[T, H, W, 3\]"):
        small("salnet").predict(frames)
