"""Scores as files: a table of all stills and videos, a summary with intervals, and both as one JSON document."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uva_edge.models.checkpoint import replace_file
from uva_edge.training.scoring import METRICS, DataSetScores, Scores

ROW_COLUMNS = ("predictor", "dataset", "name", "kind", "frames", *METRICS)
SUMMARY_COLUMNS = ("predictor", "dataset", "metric", "mean", "low", "high", "count")


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
