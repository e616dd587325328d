"""What the artifacts of the shipped bundles take and what they keep, written into docs/export.md.

python benchmarks/artifacts.py
"""

from __future__ import annotations

from typing import Final

from accuracy import DOCS, replace_between

from uva_edge.bundle import Bundle, shipped_bundles
from uva_edge.manifest import Artifact
from uva_edge.runtimes.native.backend import INTEGERS as NATIVE
from uva_edge.runtimes.native.constants import constants_of
from uva_edge.runtimes.native.source import Facts

MARK: Final = "artifacts"
HEAD: Final = (
    "| bundle | artifact | bytes | MACs a frame | activations | at once | integer | CC stills | CC clips "
    "| CC golden | NSS lost |"
)


def artifact_table() -> list[str]:
    """Smallest resolution first; the weights for the reference are no artifact of a device."""
    bundles = sorted(
        map(Bundle.shipped, shipped_bundles()), key=lambda item: item.manifest.contract.resolution
    )
    rows = [
        _row(bundle, artifact)
        for bundle in bundles
        for artifact in bundle.manifest.artifacts
        if artifact.format != "torch"
    ]
    return [HEAD, "|" + "---|" * (HEAD.count("|") - 1), *rows]


def _row(bundle: Bundle, artifact: Artifact) -> str:
    parity = artifact.parity
    kept = ["", "", f"{parity['min_cc']:.6f}", ""]
    if artifact.precision == "int8":
        names = ("cc_stills", "cc_clips", "cc_golden")
        kept = [*(f"{parity[name]:.4f}" for name in names), f"{parity['nss_loss']:.2%}"]
    cells = (
        f"`{bundle.name}`",
        f"`{artifact.name}`",
        f"{sum(file.bytes for file in artifact.files):,}",
        f"{bundle.manifest.network.macs_per_step / 1e6:.1f} M",
        *_memory(bundle, artifact),
        _integer(artifact),
        *kept,
    )
    return f"| {' | '.join(cells)} |"


def _memory(bundle: Bundle, artifact: Artifact) -> tuple[str, str]:
    """All activations, and the most that are needed at once; of C, the arena, which has room for both."""
    if artifact.format == NATIVE:
        manifest = bundle.manifest
        constants = constants_of(manifest.network, manifest.contract, NATIVE, bundle.read(artifact.files[0]))
        return "", f"{Facts.of(constants).arena_bytes / 1e6:.2f} MB"
    held = artifact.details["activations"]
    return f"{held['total'] / 1e6:.2f} MB", f"{held['live'] / 1e6:.2f} MB"


def _integer(artifact: Artifact) -> str:
    """Convolutions in integers, of the trial that was taken: the one whose figures the artifact has."""
    for trial in artifact.details.get("trials", ()):
        if trial["cc_clips"] == round(artifact.parity["cc_clips"], 5):
            return str(trial["convolutions"])
    return ""


if __name__ == "__main__":
    replace_between(DOCS / "export.md", MARK, artifact_table())
