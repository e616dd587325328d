"""The recipes: everything that decides what a training run makes, as records that a TOML file can hold."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

from uva_edge import strict_json
from uva_edge.data.augment import Augmentation
from uva_edge.data.batches import Mix
from uva_edge.errors import ManifestError, OptionError
from uva_edge.models.teachers.registry import TEACHERS
from uva_edge.models.teachers.teacher import MAX_WIDTH
from uva_edge.models.uva_net import UvaNetConfig
from uva_edge.toml_files import read_toml
from uva_edge.training.losses import Loss

OptimizerName: TypeAlias = Literal["adamw", "adam"]
Schedule: TypeAlias = Literal["one_cycle", "constant"]
FILES: Final = ("initial", "assistant", "imagenet")
"""Fields that name a file."""


@dataclass(frozen=True)
class Optimisation:
    """How weights move, in every stage.

    Raises:
        OptionError: a field out of its range.
    """

    optimizer: OptimizerName = "adamw"
    schedule: Schedule = "one_cycle"
    learning_rate: float = 3e-3
    """The peak of the cycle, or the constant."""
    weight_decay: float = 1e-4
    gradient_clip: float = 5.0
    """Largest norm of all gradients; 0 leaves them alone."""
    ema_decay: float = 0.995
    """Of the average of the weights, which is what is kept; 0 keeps the last weights."""

    def __post_init__(self) -> None:
        for name, kind in (("optimizer", OptimizerName), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(kind):
                raise OptionError(f"{name} must be one of {get_args(kind)}, got {getattr(self, name)!r}")
        if not (
            self.learning_rate > 0 <= self.weight_decay and self.gradient_clip >= 0 <= self.ema_decay < 1
        ):
            raise OptionError(
                f"expected learning_rate > 0, weight_decay and gradient_clip >= 0, ema_decay in 0..1; got {self}"
            )


@dataclass(frozen=True)
class Statistics:
    """Means and variances of the batch norms, estimated anew for the network that is kept.

    Stills and video have other statistics, and one network has one set: their mix decides, at the end, how a video
    is weighed against a still, whatever mix the weights were learned from.

    Raises:
        OptionError: a field out of its range.
    """

    batches: int = 0
    """Whose mean they are; 0 keeps those of the training."""
    mix: Mix = field(default_factory=Mix)

    def __post_init__(self) -> None:
        if self.batches < 0:
            raise OptionError(f"batches must be 0 or more, got {self.batches}")


@dataclass(frozen=True)
class Recipe:
    """What all recipes share.

    Raises:
        OptionError: a field out of its range.
    """

    name: ClassVar[str]

    network: UvaNetConfig = field(default_factory=UvaNetConfig)
    steps: int = 6000
    """Of the last stage, which makes the network that ships."""
    loss: Loss = field(default_factory=Loss)
    mix: Mix = field(default_factory=Mix)
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimisation: Optimisation = field(default_factory=Optimisation)
    statistics: Statistics = field(default_factory=Statistics)
    initial: str = ""
    """A checkpoint that the last stage starts from, of the same network at any resolution; it replaces the
    stages before."""
    patience: int = 0
    """Evaluations without a better NSS after which a stage ends, with its best weights; 0 goes on to the end."""
    seed: int = 0

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_steps") and value < 0:
                raise OptionError(f"{item.name} must be at least 1, or 0 to leave the stage out; got {value}")
        if self.steps < 1:
            raise OptionError(f"steps must be at least 1, got {self.steps}")
        if self.patience < 0:
            raise OptionError(f"patience must be 0 or more evaluations, got {self.patience}")
        if self.seed < 0:
            raise OptionError(f"seed must be 0 or more, got {self.seed}")
        if self.augmentation.close_up and not self._knows_close_ups():
            raise OptionError(
                f"close_up must be 0 where no assistant says what people see there, got {self.augmentation.close_up}"
            )

    def _knows_close_ups(self) -> bool:
        return False

    @property
    def view_resolution(self) -> int:
        """R of the views that are drawn, a multiple of the network's."""
        return self.network.resolution

    def as_dict(self) -> dict[str, Any]:
        """JSON values; `recipe_from` reads them."""
        values: dict[str, Any] = strict_json.encode(self)
        return {"name": self.name, **values}

    def lineage(self) -> dict[str, Any]:
        """`as_dict` as a checkpoint tells it: files by their names, for folders are the business of nobody else."""
        values = self.as_dict()
        return values | {key: Path(values[key]).name for key in FILES if values.get(key)}


@dataclass(frozen=True)
class CoupledRecipe(Recipe):
    """[UVA]: a two-branch student S learns from a spatial and a temporal teacher, then S_sp starts from it.

    With one branch alone S has that branch, and S_sp goes on with the same network.
    """

    name: ClassVar[str] = "coupled"

    student_steps: int = 2000
    distilled: bool = True
    """Without it both stages see the ground truth alone."""
    fusion_mu: float = 0.5
    """mu of the second stage; the paper's is 0, the ground truth alone."""
    assistant: str = ""
    """The checkpoint of a trained network that takes the teacher's part in the second stage. It sees the views of
    the batch itself, so unlike a stored map its own fits any crop."""
    assistant_resolution: int = 0
    """R of the assistant; 0 is that of `network`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fusion_mu <= 1:
            raise OptionError(f"fusion_mu must be in 0..1, got {self.fusion_mu}")
        if self.assistant and not self.distilled:
            raise OptionError(f"assistant must be empty where nothing is distilled, got {self.assistant!r}")
        assistant, own = self.assistant_resolution or self.network.resolution, self.network.resolution
        if assistant < 0 or max(assistant, own) % min(assistant, own):
            raise OptionError(
                f"assistant_resolution must be a multiple or a divisor of {own}, the network's; got {assistant}"
            )

    def _knows_close_ups(self) -> bool:
        return bool(self.assistant)

    @property
    def view_resolution(self) -> int:
        return max(self.assistant_resolution, self.network.resolution)

    @classmethod
    def paper(cls, resolution: int = 64) -> CoupledRecipe:
        """The paper's choices throughout; 3000 steps a stage, the pairing and the scale are the authors' code's."""
        return cls(
            network=UvaNetConfig(resolution=resolution, pairing="lookahead", output="clamp"),
            steps=3000,
            student_steps=3000,
            loss=Loss(kind="l2"),
            fusion_mu=0.0,
            mix=Mix(stills=48, videos=48),
            augmentation=Augmentation.none(),
            optimisation=Optimisation("adam", "constant", 5e-4, 0.0, 0.0, 0.0),
        )


@dataclass(frozen=True)
class SkdRecipe(Recipe):
    """[SKD]: a spatial and a temporal student learn each from its teacher, then one network from both.

    Where there are no students (no steps for them, or `initial`), the network learns from the teacher itself.
    """

    name: ClassVar[str] = "skd"

    student_steps: int = 2000
    """Of each student."""


@dataclass(frozen=True)
class HierarchicalRecipe(Recipe):
    """[TinyHD] on our network: heads on intermediate features learn the teacher's map too, and a wider network,
    the teacher's assistant, may learn first and teach the narrow one.
    """

    name: ClassVar[str] = "hierarchical"

    auxiliary: float = 0.3
    """Weight of the intermediate maps' loss, the mean over the heads."""
    assistant_width: int = 2
    """Times the channels of the network."""
    assistant_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.auxiliary < 0 or self.assistant_width < 1:
            raise OptionError(
                f"expected auxiliary >= 0 and assistant_width >= 1, got {self.auxiliary} and {self.assistant_width}"
            )


@dataclass(frozen=True)
class TeacherRecipe(Recipe):
    """A teacher from its paper, trained on the same batches, which it sees at the resolution of `network`.

    Of `network` only resolution, pairing and output play a part; mu is 0 unless it learns from another teacher.
    """

    name: ClassVar[str] = "teacher"

    network: UvaNetConfig = field(default_factory=lambda: UvaNetConfig(resolution=256))
    loss: Loss = field(default_factory=lambda: Loss(mu=0.0))
    mix: Mix = field(default_factory=lambda: Mix(4, 4))
    optimisation: Optimisation = field(default_factory=lambda: Optimisation(learning_rate=1e-4))
    teacher: str = "dva"
    width: float = 1.0
    imagenet: str = ""
    """A file with ImageNet weights for its convolutions; without one it starts from scratch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher not in TEACHERS:
            raise OptionError(f"teacher must be one of {', '.join(TEACHERS)}; got {self.teacher!r}")
        if not 0 < self.width <= MAX_WIDTH:
            raise OptionError(f"width must be above 0, at most {MAX_WIDTH}; got {self.width}")
        if self.initial:
            raise OptionError(f"initial is for networks of the edge, not for a teacher; got {self.initial!r}")


RECIPES: Final[dict[str, type[Recipe]]] = {
    kind.name: kind for kind in (CoupledRecipe, SkdRecipe, HierarchicalRecipe, TeacherRecipe)
}


def recipe_from(values: dict[str, Any]) -> Recipe:
    """The recipe that `values` (JSON or TOML) describe; what they leave out has its default.

    Raises:
        OptionError: an unknown recipe or field, or a value of another type or out of its range.
    """
    name = values.get("name", CoupledRecipe.name)
    if not isinstance(name, str) or name not in RECIPES:
        raise OptionError(f"recipe: expected name to be one of {', '.join(RECIPES)}; got {name!r}")
    kind = RECIPES[name]
    given = {key: value for key, value in values.items() if key != "name"}
    try:
        recipe = strict_json.decode(kind, _merged(strict_json.encode(kind()), given))
    except ManifestError as error:
        raise OptionError(f"recipe {name}: {error}") from None
    assert isinstance(recipe, Recipe)
    return recipe


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        DataError: it can't be read, or is no TOML.
        OptionError: it is not a recipe; the message names the field.
    """
    values = read_toml(path, "a recipe")
    try:
        return recipe_from(values)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def _merged(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in given.items():
        old = defaults.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
