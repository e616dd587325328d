"""Scores to read and to keep: tables, and files with every still and video, the intervals, and both as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from uva_edge.training.scoring import METRICS, DataSetScores, Estimate, Scores
from uva_edge.whole_files import replace_file

ROW_COLUMNS: Final = ("predictor", "dataset", "name", "kind", "frames", *METRICS)
SUMMARY_COLUMNS: Final = ("predictor", "dataset", "metric", "mean", "low", "high", "count")
_NAME_WIDTH: Final = 24


def summary_document(summary: Sequence[DataSetScores]) -> list[dict[str, Any]]:
    """One object for each predictor, data set and metric, of JSON values, with the names of `SUMMARY_COLUMNS`.

    ``low`` and ``high`` are null where there is no interval.
    """
    document = []
    for item in summary:
        for metric, estimate in item.scores.items():
            low, high = estimate.interval or (None, None)
            values = (item.predictor, item.dataset, metric, estimate.mean, low, high, estimate.count)
            document.append(dict(zip(SUMMARY_COLUMNS, values, strict=True)))
    return document


def summary_tables(summary: Sequence[DataSetScores]) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """To be read: for each data set a header (its name and count, the metrics) and a row for each predictor.

    A cell has the mean, and half the width of its interval.
    """
    tables = []
    for dataset in dict.fromkeys(item.dataset for item in summary):
        items = [item for item in summary if item.dataset == dataset]
        found = [name for name in METRICS if any(name in item.scores for item in items)]
        count = max((estimate.count for item in items for estimate in item.scores.values()), default=0)
        rows = [
            (_folded(item.predictor), *(_cell(item.scores.get(name)) for name in found)) for item in items
        ]
        tables.append(((f"{dataset} ({count})", *found), rows))
    return tables


def _folded(name: str) -> str:
    """Cut into lines, or the path of a checkpoint would leave no room for its scores."""
    return "\n".join(name[start : start + _NAME_WIDTH] for start in range(0, len(name), _NAME_WIDTH))


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if estimate.interval is None:
        return f"{estimate.mean:.3f}"
    low, high = estimate.interval
    return f"{estimate.mean:.3f} ±{(high - low) / 2:.2f}"


def write_scores(folder: Path, scores: Scores, settings: Mapping[str, Any]) -> list[Path]:
    """Write ``scores.csv`` (a row for each predictor and still or video), ``summary.csv`` and ``scores.json``.

    `settings` (JSON values: what was scored, and how) are kept in the document. Returns the paths.

    Raises:
        OutputError: a file can't be written; one that stood there is as it was.
    """
    summary = summary_document(scores.summary())
    rows = [asdict(row) for row in scores.rows]
    document = {"settings": dict(settings), "summary": summary, "rows": rows, "damaged": scores.damaged}
    flat = [{**{key: row[key] for key in ROW_COLUMNS if key in row}, **row["scores"]} for row in rows]
    contents = {
        "scores.csv": _as_csv(ROW_COLUMNS, flat),
        "summary.csv": _as_csv(SUMMARY_COLUMNS, summary),
        "scores.json": json.dumps(document, indent=2, allow_nan=False).encode(),
    }
    for name, data in contents.items():
        replace_file(folder / name, data)
    return [folder / name for name in contents]


def _as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """What a row lacks stays empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
