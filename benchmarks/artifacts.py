"""What the artifacts of the shipped bundles take and what they keep, written into docs/export.md.

python benchmarks/artifacts.py
"""

from __future__ import annotations

from typing import Final

from accuracy import DOCS, replace_between

from uva_edge.bundle import Bundle, shipped_bundles
from uva_edge.manifest import Artifact, Network

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
        _row(bundle.name, bundle.manifest.network, artifact)
        for bundle in bundles
        for artifact in bundle.manifest.artifacts
        if artifact.format != "torch"
    ]
    return [HEAD, "|" + "---|" * (HEAD.count("|") - 1), *rows]


def _row(bundle: str, network: Network, artifact: Artifact) -> str:
    held, parity = artifact.details["activations"], artifact.parity
    kept = ["", "", f"{parity['min_cc']:.6f}", ""]
    if artifact.precision == "int8":
        names = ("cc_stills", "cc_clips", "cc_golden")
        kept = [*(f"{parity[name]:.4f}" for name in names), f"{parity['nss_loss']:.2%}"]
    cells = (
        f"`{bundle}`",
        f"`{artifact.name}`",
        f"{sum(file.bytes for file in artifact.files):,}",
        f"{network.macs_per_step / 1e6:.1f} M",
        f"{held['total'] / 1e6:.2f} MB",
        f"{held['live'] / 1e6:.2f} MB",
        _integer(artifact),
        *kept,
    )
    return f"| {' | '.join(cells)} |"


def _integer(artifact: Artifact) -> str:
    """Convolutions in integers, of the trial that was taken: the one whose figures the artifact has."""
    for trial in artifact.details.get("trials", ()):
        if trial["cc_clips"] == round(artifact.parity["cc_clips"], 5):
            return str(trial["convolutions"])
    return ""


if __name__ == "__main__":
    replace_between(DOCS / "export.md", MARK, artifact_table())
