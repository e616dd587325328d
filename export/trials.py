"""A search for the settings that quantise a network with the least loss: what was tried, and what is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from uva_edge.errors import ParityError

from .fidelity import Fidelity
from .layers import LayerError

Kept: TypeAlias = Literal[
    "nothing",
    "attention",
    "attention and sums",
    "attention, sums and the last layer",
    "attention and features",
]
"""What stays float32: the channel attention, the element-wise operators, the last deconvolution, and f_s: the temporal
path lives on small differences of its features, and the rounding of two frames' does not cancel."""

KEPT: Final[tuple[Kept, ...]] = (
    "nothing",
    "attention",
    "attention and sums",
    "attention, sums and the last layer",
    "attention and features",
)

Graph = TypeVar("Graph")


class Setting(Protocol):
    """One way to quantise, a dataclass of JSON values; as text, what it does."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class Trial:
    """What a setting came to: how many of the convolutions are integer ones, and what is kept of the maps."""

    setting: Setting
    quantised: int
    convolutions: int
    fidelity: Fidelity

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self.setting),
            "convolutions": f"{self.quantised} of {self.convolutions}",
            **{name: round(value, 5) for name, value in self.fidelity.as_dict().items()},
        }


@dataclass(frozen=True, eq=False)
class Quantised(Generic[Graph]):
    """The graph of the best trial, and all trials."""

    graph: Graph
    best: Trial
    trials: tuple[Trial, ...]

    @classmethod
    def of(
        cls, tried: Sequence[tuple[Trial, Graph]], worst: Callable[[Graph], Sequence[LayerError]]
    ) -> Quantised[Graph]:
        """Of those that pass the gate the one that keeps most, on whatever it keeps least of.

        Args:
            worst: the layers of a graph that lose most.

        Raises:
            ParityError: none passes; the message names the layers that lose most in the best of them.
        """
        best, graph = max(tried, key=lambda item: _rank(item[0].fidelity))
        if missed := best.fidelity.misses():
            layers = "\n".join(f"  {layer}" for layer in worst(graph))
            raise ParityError(
                f"INT8 was not written: of {len(tried)} settings the best ({best.setting}) misses "
                f"{'; '.join(missed)}. What loses most there:\n{layers}\n"
                "Fine-tuning the weights for it may help: --qat 300"
            )
        return cls(graph, best, tuple(trial for trial, _ in tried))

    def as_dict(self) -> dict[str, Any]:
        """The table of trials, as JSON values."""
        return {"trials": [trial.as_dict() for trial in self.trials]}


def _rank(found: Fidelity) -> tuple[bool, float]:
    return not found.misses(), min(found.cc_stills, found.cc_clips, found.cc_worst_clip)
