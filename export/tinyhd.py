"""A public checkpoint of TinyHD becomes a bundle, which every backend runs ([TinyHD])."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import torch

from uva_edge.bundle import Bundle
from uva_edge.manifest import Contract, Lineage, Network, TensorSpec
from uva_edge.models.cost import count_macs
from uva_edge.models.tinyhd import GRID, TinyHD
from uva_edge.models.tinyhd_checkpoint import load_tinyhd, read_tinyhd, tinyhd_bytes
from uva_edge.models.tinyhd_step import HISTORY, TinyHDStep

from .artifacts import Exportable, Material
from .bundles import tool_versions, write_verified
from .onnx import INPUTS, OUTPUTS

LICENCE: Final = "unknown: the checkpoint has no licence; do not redistribute"
_LIMITS: Final = (
    "The weights have no licence: this bundle is for the one who imported it, and not to be passed on.",
    f"A map takes {HISTORY + 1} frames through the whole network: no work is shared between consecutive frames.",
)


def import_tinyhd(checkpoint: Path, destination: Path, *, name: str, grid: tuple[int, int] = GRID) -> Bundle:
    """Make the bundle of TinyHD-S or TinyHD-M, held to the same gates as every other.

    The clip step is the same for both: frames uint8 [T, R, C, 3] and the 15 frames before them, uint8 [15, R, C, 3],
    give a map for each frame, float32 [T, R, C], each scaled to its peak. M's is that of the window's last frame.

    Args:
        checkpoint: a file ``{"student_model": state_dict}``.
        grid: rows and columns, multiples of 32; the public weights were trained at 192x256.

    Raises:
        DataError: not the weights of a TinyHD; the message names the file.
        ExportError: a graph can't be made; ParityError: one does not compute what the checkpoint does.
        OutputError: the bundle can't be written.
    """
    data = read_tinyhd(checkpoint)
    network = load_tinyhd(data, name=str(checkpoint))
    step = TinyHDStep(network).eval()
    subject = Exportable(
        network=_network(step, grid),
        contract=_contract(grid),
        reference=step,
        deployed=step,
        weights=tinyhd_bytes(network),
        lineage=_lineage(network, data),
        limits=_LIMITS,
    )
    return write_verified(Material(subject), destination, name=name, accuracy={})


def _network(step: TinyHDStep, grid: tuple[int, int]) -> Network:
    frames = torch.zeros(HISTORY + 1, *grid, 3, dtype=torch.uint8)
    return Network(
        family="tinyhd",
        options={"variant": step.network.variant},
        parameters=sum(parameter.numel() for parameter in step.parameters()),
        macs_per_step=count_macs(step, lambda: step(frames[HISTORY:], frames[:HISTORY])),
    )


def _contract(grid: tuple[int, int]) -> Contract:
    return Contract(
        resolution=grid[0],
        pairing="window",
        output="peak",
        frames=TensorSpec(INPUTS[0], "uint8", ("T", *grid, 3)),
        state_in=TensorSpec(INPUTS[1], "uint8", (HISTORY, *grid, 3)),
        maps=TensorSpec(OUTPUTS[0], "float32", ("T", *grid)),
        state_out=TensorSpec(OUTPUTS[1], "uint8", (HISTORY, *grid, 3)),
    )


def _lineage(network: TinyHD, data: bytes) -> Lineage:
    return Lineage(
        created_with=tool_versions(),
        recipe={"name": f"imported TinyHD-{network.variant.upper()}"},
        data=("DHF1K, as its authors say of the public checkpoints.",),
        teacher="HD2S",
        source_commit=None,
        checkpoint_sha256=hashlib.sha256(data).hexdigest(),
        licence=LICENCE,
    )
