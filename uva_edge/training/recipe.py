"""The density recipe: everything that decides what a training run makes, in one record."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from uva_edge.data.augment import Augmentation
from uva_edge.errors import OptionError
from uva_edge.models.uva_net import UvaNetConfig
from uva_edge.training.losses import DensityWeights


@dataclass(frozen=True)
class Recipe:
    """S_sp trained at once on fixations (hard) and on a teacher's maps (soft), stills and clips mixed."""

    network: UvaNetConfig = field(default_factory=UvaNetConfig)
    steps: int = 6000
    stills_per_batch: int = 16
    pairs_per_batch: int = 16
    pairs_per_clip: int = 24
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    gradient_clip: float = 5.0
    ema_decay: float = 0.995
    loss: DensityWeights = field(default_factory=DensityWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "stills_per_batch", "pairs_per_batch", "pairs_per_clip"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.network.pairing != "causal":
            raise OptionError("this recipe trains causal pairs (frame t with t - 1); got pairing='lookahead'")

    def as_dict(self) -> dict[str, Any]:
        """JSON values, for the lineage of a checkpoint."""
        return {"name": "density", **asdict(self)}
