"""Losses between logits and target maps: the paper's L2, and one on the map as a distribution over its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from uva_edge.errors import OptionError
from uva_edge.models.uva_net import Output, to_map

LossKind: TypeAlias = Literal["density", "l2"]

_EPSILON = 1e-8


@dataclass(frozen=True)
class Loss:
    """``(1 - mu) hard + mu soft`` ([UVA] Eq. 4 and 5): hard against the ground truth, soft against a teacher.

    ``l2`` is the paper's: mean squares, maps scaled to a peak of 1. ``density`` takes the softmax of the logits
    as a distribution: hard is ``KL - nss NSS - cc CC``, soft is ``KL``. A target that is all zero (nothing of it
    in view) takes part in no term of `density`, and is an empty map for `l2`.

    Raises:
        OptionError: a field out of its range.
    """

    kind: LossKind = "density"
    mu: float = 0.5
    nss: float = 0.2
    cc: float = 0.4

    def __post_init__(self) -> None:
        if self.kind not in get_args(LossKind) or not 0 <= self.mu <= 1 or min(self.nss, self.cc) < 0:
            raise OptionError(f"expected kind density or l2, mu in 0..1, nss and cc >= 0; got {self}")

    def hard(self, logits: Tensor, density: Tensor, fixations: Tensor, output: Output) -> Tensor:
        """The mean over the batch; all [N, R, R], `density` with sum 1, `fixations` as counts per cell."""
        if self.kind == "l2":
            return _l2(logits, density, output)
        log_map, density, fixations = _log_map(logits), density.flatten(1), fixations.flatten(1)
        saliency = log_map.exp()
        per_pair = (
            _kl(density, log_map)
            - self.nss * _nss(saliency, fixations)
            - self.cc * _correlation(saliency, density)
        )
        return per_pair.mean()

    def soft(self, logits: Tensor, teacher: Tensor, output: Output) -> Tensor:
        """The mean over the batch; both [N, R, R], `teacher` with sum 1."""
        if self.kind == "l2":
            return _l2(logits, teacher, output)
        return _kl(teacher.flatten(1), _log_map(logits)).mean()

    def __call__(
        self, logits: Tensor, density: Tensor, fixations: Tensor, teacher: Tensor, output: Output
    ) -> Tensor:
        """Both terms, weighted by mu; a term of weight zero costs nothing."""
        total = logits.new_zeros(())
        if self.mu < 1:
            total = total + (1 - self.mu) * self.hard(logits, density, fixations, output)
        if self.mu > 0:
            total = total + self.mu * self.soft(logits, teacher, output)
        return total


def distribution(logits: Tensor, output: Output) -> Tensor:
    """The predicted map [N, R, R] as a density that sums to 1, for networks that learn from it."""
    maps = to_map(logits, output)
    return maps / maps.sum(dim=(1, 2), keepdim=True).clamp_min(_EPSILON)


def resized_density(density: Tensor, size: Sequence[int]) -> Tensor:
    """A density or counts [N, R, R] at [N, h, w]; each keeps its sum."""
    total = density.sum(dim=(1, 2), keepdim=True)
    # By area: samples miss cells where it shrinks, and with them fixations.
    scaled = functional.interpolate(density.unsqueeze(1), tuple(size), mode="area").squeeze(1)
    return scaled * (total / scaled.sum(dim=(1, 2), keepdim=True).clamp_min(_EPSILON))


def _l2(logits: Tensor, target: Tensor, output: Output) -> Tensor:
    # Clamped numbers have no gradient beyond 0 and 1: the plain ones are compared.
    maps = logits if output == "clamp" else to_map(logits, output)
    peak = target.amax(dim=(1, 2), keepdim=True).clamp_min(_EPSILON)
    return (maps - target / peak).square().mean()


def _log_map(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.flatten(1), dim=1)


def _kl(target: Tensor, log_map: Tensor) -> Tensor:
    return (target * (torch.log(target + _EPSILON) - log_map)).sum(dim=1)


def _standardized(maps: Tensor) -> Tensor:
    centred = maps - maps.mean(dim=1, keepdim=True)
    # The small term stands under the root: at zero the root itself has no gradient, and gives NaN.
    return centred / (centred.square().mean(dim=1, keepdim=True) + _EPSILON**2).sqrt()


def _nss(saliency: Tensor, fixations: Tensor) -> Tensor:
    count = fixations.sum(dim=1).clamp_min(_EPSILON)
    return (_standardized(saliency) * fixations).sum(dim=1) / count


def _correlation(saliency: Tensor, density: Tensor) -> Tensor:
    return (_standardized(saliency) * _standardized(density)).mean(dim=1)
