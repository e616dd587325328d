"""A trained network as a teacher that sees what its student sees: the same crop, mirror image and colours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from uva_edge.errors import OptionError
from uva_edge.models.checkpoint import load_checkpoint
from uva_edge.models.uva_net import UvaNet
from uva_edge.training.losses import distribution
from uva_edge.training.recipe import CoupledRecipe
from uva_edge.training.targets import Targets


@dataclass(frozen=True, eq=False)
class Assistant:
    """The network of a checkpoint, in eval mode."""

    network: UvaNet

    @classmethod
    def of(cls, recipe: CoupledRecipe) -> Assistant:
        """The assistant that a recipe names.

        Raises:
            DataError: it is no checkpoint.
            OptionError: it is of another resolution or pairing than the recipe says.
        """
        network, _ = load_checkpoint(Path(recipe.assistant))
        config, resolution = network.config, recipe.assistant_resolution or recipe.network.resolution
        if (config.resolution, config.pairing) != (resolution, recipe.network.pairing):
            raise OptionError(
                f"assistant: {recipe.assistant} sees {config.pairing} pairs at R = {config.resolution}; the recipe "
                f"has {recipe.network.pairing} pairs, and an assistant at R = {resolution} (assistant_resolution)"
            )
        return cls(network.eval().requires_grad_(False))

    def teach(self, batch: Targets) -> Targets:
        """The batch with the assistant as its teacher; where nothing is known, its map is the truth as well."""
        taught = _enlarged(self._maps(batch.at(self.network.config.resolution)), batch.frames.shape[1])
        unknown = batch.density.sum(dim=(1, 2), keepdim=True) == 0
        density, fixations = (torch.where(unknown, taught, item) for item in (batch.density, batch.fixations))
        return replace(batch, density=density, fixations=fixations, teacher=taught, spatial=taught)

    @torch.no_grad()
    def _maps(self, batch: Targets) -> Tensor:
        """The mean of what it sees in the frames and in their mirror images, which is better than either."""
        network = self.network.to(batch.frames.device)
        output = network.config.output
        plain = distribution(network(batch.frames, batch.others), output)
        mirrored = distribution(network(batch.frames.flip(2), batch.others.flip(2)), output)
        return (plain + mirrored.flip(2)) / 2


def _enlarged(maps: Tensor, resolution: int) -> Tensor:
    """Densities [N, R, R] at a resolution that is a multiple of theirs."""
    if maps.shape[1] == resolution:
        return maps
    larger = functional.interpolate(maps[:, None], size=(resolution, resolution), mode="bilinear")[:, 0]
    return larger / larger.sum(dim=(1, 2), keepdim=True)
