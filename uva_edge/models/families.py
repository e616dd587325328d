"""The families of networks, and how the clip step of each is rebuilt from the weights in a bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import nn

from uva_edge.errors import DataError
from uva_edge.models.checkpoint import load_checkpoint
from uva_edge.models.clip_step import ClipStep, folded
from uva_edge.models.tinyhd_checkpoint import load_tinyhd_bytes
from uva_edge.models.tinyhd_step import TinyHDStep

FAMILIES: Final[dict[str, Callable[[bytes], nn.Module]]] = {
    "uva-net": lambda weights: ClipStep(folded(load_checkpoint(weights)[0])),
    "tinyhd": lambda weights: TinyHDStep(load_tinyhd_bytes(weights)),
}


def load_step(family: str, weights: bytes) -> nn.Module:
    """The clip step in eval mode: ``frames, state -> maps, state``.

    Args:
        family: as a bundle's manifest names it.
        weights: the file of the bundle's torch artifact.

    Raises:
        DataError: no such family here, or the weights are not of it.
    """
    build = FAMILIES.get(family)
    if build is None:
        raise DataError(f"the network is of the family {family!r}; this uva_edge knows {', '.join(FAMILIES)}")
    return build(weights).eval()
