"""Quantisation-aware fine-tuning: a network learns to give its own float maps although its numbers are rounded."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from uva_edge.errors import ExportError
from uva_edge.manifest import Contract
from uva_edge.runtimes.backend import Frames

from .onnx import blank_state

_CONVOLUTIONS: Final = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
_WEIGHT_LEVEL: Final = 63
"""Seven bits around zero, for the reason that `uva_edge.export.onnx_int8` gives."""
_ACTIVATION_LEVELS: Final = 255
_LEARNING_RATE: Final = 4e-5


def fine_tune(
    step: nn.Module, contract: Contract, clips: Sequence[Frames], *, steps: int, seed: int = 0
) -> nn.Module:
    """A copy of a float clip step whose weights bear rounding; it is a float clip step again.

    Each step takes one clip, rounds the weights and the inputs of all convolutions on the way forward, lets the
    gradient pass as if it had not, and pulls the maps and the state towards those of the float original.

    Args:
        step: in eval mode, its batch norms folded.
        clips: that move, of the train split; ranges of activations are learned from them.

    Raises:
        ExportError: the maps are no longer finite.
    """
    student = copy.deepcopy(step)
    lessons = [_lesson(step, contract, clip) for clip in clips]
    optimiser = torch.optim.Adam(student.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: 1 - done / steps)
    order = np.random.default_rng(seed)
    with _rounding(student, lessons):
        for _ in range(steps):
            lesson = lessons[order.integers(len(lessons))]
            loss = lesson.error(*student(lesson.frames, lesson.state))
            if not math.isfinite(loss.item()):
                raise ExportError(
                    f"quantisation-aware fine-tuning: expected a finite loss, got {loss.item()}"
                )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return student.requires_grad_(False)


@dataclass(frozen=True, eq=False)
class _Lesson:
    """A clip with the state before it, and the maps and the state after it that the float network has."""

    frames: Tensor
    state: Tensor
    maps: Tensor
    after: Tensor

    def error(self, maps: Tensor, after: Tensor) -> Tensor:
        """Shares of the variance: a flat map counts as much as a bright one, and f_s as much as the maps."""
        return _share(maps, self.maps) + _share(after, self.after)


def _share(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).square().mean() / expected.var().clamp_min(1e-8)


def _lesson(step: nn.Module, contract: Contract, clip: Frames) -> _Lesson:
    frames = torch.from_numpy(clip)
    state = blank_state(contract)
    with torch.no_grad():
        _, state = step(frames[:1], state)
        maps, after = step(frames[1:], state)
    return _Lesson(frames[1:], state, maps, after)


class _Weights(nn.Module):
    """Each output channel on a grid of its own, as the quantiser will put it."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self._axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().abs().amax([axis for axis in range(weight.dim()) if axis != self._axis])
        scale = (largest / _WEIGHT_LEVEL).clamp_min(1e-12)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            weight, scale, zero, self._axis, -_WEIGHT_LEVEL, _WEIGHT_LEVEL
        )


class _Inputs:
    """A hook before a convolution: learns the range of what enters, then rounds to 256 levels of it."""

    def __init__(self) -> None:
        self.learning = True
        self._low = self._high = 0.0

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        entering, *rest = inputs
        if self.learning:
            self._low = min(self._low, float(entering.min()))
            self._high = max(self._high, float(entering.max()))
            return inputs
        scale = max(self._high - self._low, 1e-12) / _ACTIVATION_LEVELS
        zero = round(-self._low / scale)
        return (torch.fake_quantize_per_tensor_affine(entering, scale, zero, 0, _ACTIVATION_LEVELS), *rest)


@contextmanager
def _rounding(student: nn.Module, lessons: Sequence[_Lesson]) -> Iterator[None]:
    found = [module for module in student.modules() if isinstance(module, _CONVOLUTIONS)]
    hooks = [(module, _Inputs()) for module in found]
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks]
    try:
        with torch.no_grad():
            for lesson in lessons:
                student(lesson.frames, lesson.state)
        for module, hook in hooks:
            hook.learning = False
            axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            parametrize.register_parametrization(module, "weight", _Weights(axis))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in found:
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
