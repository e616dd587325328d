"""Losses on a map as a distribution over its cells: KL, CC and NSS, for hard and soft targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_EPSILON = 1e-8


@dataclass(frozen=True)
class DensityWeights:
    """Weights of `density_loss`; hard and soft play the part of 1 - mu and mu in [UVA] Eq. 4."""

    hard: float = 0.5
    soft: float = 0.5
    nss: float = 0.1
    cc: float = 0.2


def density_loss(
    logits: Tensor, density: Tensor, teacher: Tensor, fixations: Tensor, weights: DensityWeights
) -> Tensor:
    """``hard KL(density) + soft KL(teacher) - nss NSS - cc CC``, the mean over the batch; all [N, R, R].

    The prediction is the softmax of the logits over the map. Maps of the targets sum to 1; one that is all
    zero (nothing of it in view) takes part in no term.
    """
    log_map = torch.log_softmax(logits.flatten(1), dim=1)
    density, teacher, fixations = (target.flatten(1) for target in (density, teacher, fixations))
    saliency = log_map.exp()
    per_pair = (
        weights.hard * _kl(density, log_map)
        + weights.soft * _kl(teacher, log_map)
        - weights.nss * _nss(saliency, fixations)
        - weights.cc * _correlation(saliency, density)
    )
    return per_pair.mean()


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
