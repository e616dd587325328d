"""Accuracy of the shipped bundles and of the baselines on a val split, written into the documentation.

    python benchmarks/accuracy.py --data DATA --write     # docs/training.md and docs/evaluation.md

The stages of the two tables are independent: ``--only bundles`` or ``--only baselines`` makes one of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from uva_edge.bundle import Bundle, shipped_bundles
from uva_edge.data.sources import open_footage
from uva_edge.training.baselines import BASELINES
from uva_edge.training.predictors import from_baseline, from_bundle
from uva_edge.training.scoring import DataSetScores, Estimate, score
from uva_edge.whole_files import replace_file

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
TITLES: Final = {"osie": "OSIE", "sun500": "SUN-500", "clips": "clips"}
COLUMNS: Final = (
    ("osie", ("nss", "cc", "auc", "sauc", "sim", "kld")),
    ("sun500", ("nss", "cc", "auc", "sauc", "sim", "kld")),
    ("clips", ("teacher_cc",)),
)


def bundle_table(spec: str, backend: str) -> list[str]:
    """Every shipped bundle, smallest resolution first, with the steps of its lineage."""
    names = sorted(shipped_bundles(), key=lambda name: Bundle.shipped(name).manifest.contract.resolution)
    with ExitStack() as stack:
        predictors = [stack.enter_context(from_bundle(name, backend=backend)) for name in names]
        summary = score(predictors, open_footage(spec, "val")).summary()
    labels = {}
    for name, predictor in zip(names, predictors, strict=True):
        recipe = Bundle.shipped(name).manifest.lineage.recipe
        labels[predictor.name] = f"`{name}` ({recipe['name']}, {recipe['steps']} steps)"
    return _table(summary, labels)


def baseline_table(spec: str) -> list[str]:
    predictors = [from_baseline(name) for name in BASELINES]
    summary = score(predictors, open_footage(spec, "val")).summary()
    return _table(summary, {predictor.name: f"`{predictor.name}`" for predictor in predictors})


def _table(summary: Sequence[DataSetScores], labels: dict[str, str]) -> list[str]:
    heads = [
        f"{TITLES[dataset]} {name.removeprefix('teacher_').upper()}"
        for dataset, names in COLUMNS
        for name in names
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    found = {(item.predictor, item.dataset): item.scores for item in summary}
    for predictor, label in labels.items():
        cells = [
            _cell(found.get((predictor, dataset), {}).get(name))
            for dataset, names in COLUMNS
            for name in names
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    low, high = estimate.interval or (estimate.mean, estimate.mean)
    return f"{estimate.mean:.3f} ±{(high - low) / 2:.2f}"


def replace_between(page: Path, mark: str, lines: Sequence[str]) -> None:
    """Put lines between ``<!-- mark -->`` and ``<!-- /mark -->``."""
    head, start, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->")
    _, end, tail = rest.partition(f"<!-- /{mark} -->")
    if not (start and end):
        raise SystemExit(f"{page}: expected the marks <!-- {mark} --> and <!-- /{mark} -->")
    replace_file(page, "\n".join([head + start, *lines, end + tail]).encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="as of uva-edge evaluate")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--only", choices=["bundles", "baselines"])
    parser.add_argument("--write", action="store_true", help="into docs/; printed otherwise")
    options = parser.parse_args()
    tables = {
        "bundles": (DOCS / "training.md", "shipped", lambda: bundle_table(options.data, options.backend)),
        "baselines": (DOCS / "evaluation.md", "baselines", lambda: baseline_table(options.data)),
    }
    for name, (page, mark, make) in tables.items():
        if options.only in (None, name):
            lines = make()
            if options.write:
                replace_between(page, mark, lines)
            else:
                print("\n".join(lines))


if __name__ == "__main__":
    main()
