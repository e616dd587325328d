"""What `uva-edge train` and `uva-edge teach` do with data, recipes, teachers and the machine at hand."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cv2
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from uva_edge.data.cache import Pack, PackOptions, pack
from uva_edge.data.footage import Footage
from uva_edge.data.intake import Intake
from uva_edge.data.sources import WITHOUT_SPLITS, open_footage
from uva_edge.data.teacher_maps import taught_by
from uva_edge.errors import OptionError
from uva_edge.models.checkpoint import read_checkpoint
from uva_edge.models.teachers.checkpoint import load_teacher
from uva_edge.models.teachers.ensemble import Ensemble
from uva_edge.models.teachers.stored import write_teacher_maps
from uva_edge.models.teachers.teacher import Teacher
from uva_edge.models.tinyhd_checkpoint import load_tinyhd
from uva_edge.models.tinyhd_teacher import TinyHDTeacher
from uva_edge.training.loop import CHECKPOINT, Progress, RunOptions, TrainingData, train
from uva_edge.training.recipe import Recipe, TeacherRecipe
from uva_edge.training.validation import Validation

# Not float16: its gradient scaler skips the steps that overflow, and the loop takes those for a run that failed.
Precision: TypeAlias = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes; the numbers of the design are for one process in full precision.

    Raises:
        OptionError: another precision, or no thread.
    """

    accelerator: str = "auto"
    devices: str = "1"
    """Of this process; those that torchrun or `fabric run` started have one each."""
    precision: Precision = "32-true"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise OptionError(f"precision must be one of {get_args(Precision)}, got {self.precision!r}")
        if self.threads < 1:
            raise OptionError(f"threads must be at least 1, got {self.threads}")

    def fabric(self) -> Fabric:
        """Launched. Raises OptionError where the accelerator or the devices are not there."""
        torch.set_num_threads(self.threads)
        # OpenCV's own threads would fight with torch's for the same cores.
        cv2.setNumThreads(1)
        devices, nodes = self._layout()
        try:
            fabric = Fabric(
                accelerator=self.accelerator, devices=devices, num_nodes=nodes, precision=self.precision
            )
        except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
            reason = " ".join(str(error).split())
            raise OptionError(f"accelerator {self.accelerator}, devices {self.devices}: {reason}") from None
        if "LT_CLI_USED" not in os.environ:  # `fabric run` has done that, and refuses it
            fabric.launch()
        return fabric

    def _layout(self) -> tuple[int | str, int]:
        """Devices of each machine, and machines; a launcher has decided both."""
        if torch.distributed.is_torchelastic_launched():
            local = int(os.environ["LOCAL_WORLD_SIZE"])
            return local, int(os.environ["WORLD_SIZE"]) // local
        return int(self.devices) if self.devices.isdigit() else self.devices, 1


@dataclass(frozen=True)
class Sources:
    """The data of a run, as a command line names them."""

    specs: Sequence[str]
    """As `open_footage` takes them."""
    spatial_maps: Path | None = None
    """Root of the maps of a spatial teacher; without it the one teacher plays both parts."""
    teacher_maps: Path | None = None
    """Root of a teacher's maps in place of those beside the data."""
    maps_by: str = ""
    """Who made the teacher's maps, for the lineage."""

    def footage(self, split: str) -> list[Footage]:
        found = [item for spec in self.specs for item in open_footage(spec, split)]
        if self.teacher_maps is not None:
            found = taught_by(found, self.teacher_maps, "teacher")
        if self.spatial_maps is not None:
            found = taught_by(found, self.spatial_maps, "spatial")
        return found

    def chosen_by(self) -> list[Footage]:
        """The val split, of data that have splits."""
        specs = [spec for spec in self.specs if not spec.startswith(WITHOUT_SPLITS)]
        if not specs:
            raise OptionError(
                f"none of {', '.join(self.specs)} has a val split to choose by; add data that have one, "
                "such as stills:PATH"
            )
        return [item for spec in specs for item in open_footage(spec, "val")]


def train_on(
    sources: Sources,
    output: Path,
    recipe: Recipe,
    *,
    machine: Machine,
    options: RunOptions,
    cache: Path,
    report: Callable[[Progress], None] = lambda _: None,
    packing: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path | None:
    """Train a recipe on the train split of the data; the val split chooses.

    Of several processes one reports, tells and writes; it returns the checkpoint, the others None.

    Args:
        report: is told of every step.
        packing: is told how much of the footage is in the cache.
        tell: is given remarks of one line, such as footage that is damaged and skipped.

    Raises:
        DataError: the data are incomplete, or the loss is no longer finite.
        OptionError: a recipe or a spec that is not allowed.
        OutputError: a checkpoint can't be written.
    """
    fabric = machine.fabric()
    if not fabric.is_global_zero:
        report, tell = (lambda _: None), (lambda _: None)
    if isinstance(recipe, TeacherRecipe) and not recipe.imagenet:
        tell(f"{recipe.teacher} starts from scratch: no ImageNet weights were named")
    footage, chosen_by = sources.footage("train"), sources.chosen_by()
    side = recipe.view_resolution
    # One process fills the cache; the others find it full.
    with fabric.rank_zero_first():
        # Stills are few and cropped more: they keep the pixels that a smaller view shows.
        stills = _packed(footage, "still", cache, PackOptions(4 * side), packing, tell)
        videos = _packed(footage, "video", cache, PackOptions(2 * side), packing, tell)
    validation = Validation(chosen_by, resolution=recipe.network.resolution, pairing=recipe.network.pairing)
    train(
        recipe,
        TrainingData(stills, videos, validation),
        output,
        fabric=fabric,
        lineage=_lineage(recipe, footage, sources),
        options=options,
        report=report,
    )
    return output / CHECKPOINT if fabric.is_global_zero else None


def write_maps(
    teachers: Sequence[Path],
    specs: Sequence[str],
    split: str,
    root: Path,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = lambda line: None,
) -> int:
    """Store the maps of a teacher, or of several as an ensemble, in ``root/teacher_maps``; how many are new.

    Raises:
        DataError: a checkpoint or footage can't be read.
        OptionError: a spec that is not allowed, or maps of another teacher are there.
        OutputError: the maps can't be written.
    """
    opened = [_open_teacher(path) for path in teachers]
    teacher = opened[0] if len(opened) == 1 else Ensemble(opened)
    footage = [item for spec in specs for item in open_footage(spec, split)]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in teachers]
    return write_teacher_maps(
        teacher,
        footage,
        root,
        lineage={"checkpoints": hashes},
        frames=lambda wanted: iter(Intake(wanted, tell)) if wanted else iter(()),
        report=report,
    )


def _open_teacher(path: Path) -> Teacher:
    if path.suffix == ".pth":
        return TinyHDTeacher(load_tinyhd(path))
    return load_teacher(path)[0]


def _lineage(recipe: Recipe, footage: Sequence[Footage], sources: Sources) -> dict[str, Any]:
    data = _described(footage)
    for part, name in (("started from", recipe.initial), ("assisted by", getattr(recipe, "assistant", ""))):
        if name:
            digest = hashlib.sha256(read_checkpoint(Path(name))).hexdigest()
            data.append(f"{part} the weights of {Path(name).name}, sha256 {digest}")
    return {"data": data, "teacher": sources.maps_by, "commit": _commit()}


def _packed(
    footage: Sequence[Footage],
    kind: str,
    cache: Path,
    options: PackOptions,
    packing: Callable[[int, int], None],
    tell: Callable[[str], None],
) -> Pack | None:
    wanted = [item for item in footage if item.kind == kind]
    return pack(wanted, cache, options, report=packing, skipped=tell) if wanted else None


def _described(footage: Sequence[Footage]) -> list[str]:
    """A line for each data set, for the lineage."""
    counts = Counter((item.dataset, item.kind) for item in footage)
    return [f"{dataset}: {count} {kind}s, train split" for (dataset, kind), count in sorted(counts.items())]


def _commit() -> str | None:
    """The commit of the source tree that trains, where it is one; not that of a tree it is installed in."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
