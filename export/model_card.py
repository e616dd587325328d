"""The model card that travels in a bundle, written from the same facts as its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from uva_edge.bundle_writer import ArtifactSource
from uva_edge.golden import Golden
from uva_edge.manifest import Contract, Lineage, Network

_SEEN: Final = {
    "causal": "a frame and the one before it",
    "lookahead": "a frame and the one after it",
    "window": "a frame and the {} before it",
}


def model_card(
    *,
    name: str,
    network: Network,
    contract: Contract,
    artifacts: Sequence[ArtifactSource],
    golden: Golden,
    accuracy: Mapping[str, Mapping[str, float]],
    lineage: Lineage,
    limits: Sequence[str],
) -> str:
    """A page of Markdown: what the network is, what it was made from, how well it does and where it ends.

    `limits` are sentences on this network's own; what holds for every one is there by itself.
    """
    rows, columns = contract.grid
    sections = [
        f"# {name}",
        f"Video saliency at {columns}x{rows}: {_SEEN[contract.pairing].format(contract.history)} in, the relative "
        f"density of human fixations out. {network.family}, {network.parameters:,} parameters, "
        f"{network.macs_per_step:,} multiply-accumulates a frame. Output `{contract.output}`. "
        f"Licence of the weights: {lineage.licence}.",
        "## Scores",
        *_scores(accuracy),
        "## Training",
        *[f"- {line}" for line in lineage.data],
        f"- Teacher: {lineage.teacher or 'none'}.",
        f"- {_recipe(lineage.recipe)}",
        "## Artifacts",
        _table(
            ("artifact", "precision", "T", "max error of a map", "smallest CC"),
            [
                (
                    source.name,
                    source.precision,
                    str(source.frames or "any"),
                    f"{source.parity['max_abs_map']:.1e}",
                    f"{source.parity['min_cc']:.6f}",
                )
                for source in artifacts
            ],
        ),
        f"Measured at export against torch in float32, on {len(golden.frames)} chained frames of the synthetic "
        f"aerial scene, {len(golden.maps)} of them with maps.",
        "## Limits",
        "- A map says where people would look first in a free-viewing task, not what is important or moving.",
        "- The frame is seen at "
        f"{columns}x{rows}: a person of less than about 1/{rows // 2} of the frame's height is invisible to it.",
        *[f"- {limit}" for limit in limits],
    ]
    return "\n\n".join(_join_bullets(sections)) + "\n"


def _recipe(recipe: Mapping[str, object]) -> str:
    if "steps" not in recipe:
        return f"Recipe: {recipe.get('name', 'unknown')}."
    return (
        f"Recipe `{recipe.get('name', 'unknown')}`, {recipe['steps']} steps, seed {recipe.get('seed', '?')}; all of "
        "it is in `bundle.json` under `lineage.recipe`."
    )


def _scores(accuracy: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    if not accuracy:
        return ("None was measured.",)
    return (
        _table(("data", "metric", "value"), _score_rows(accuracy)),
        "Stills are paired with themselves and scored at their own size, maps resized bilinearly. On clips the "
        "truth is the teacher's map, not human fixations.",
    )


def _score_rows(accuracy: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    return [
        (data, metric, f"{value:.3f}")
        for data, metrics in accuracy.items()
        for metric, value in metrics.items()
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _join_bullets(sections: Sequence[str]) -> list[str]:
    """Consecutive bullets make one paragraph."""
    joined: list[str] = []
    for section in sections:
        if section.startswith("- ") and joined and joined[-1].startswith("- "):
            joined[-1] += "\n" + section
        else:
            joined.append(section)
    return joined
