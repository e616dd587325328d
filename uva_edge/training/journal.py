"""What a run tells of itself: a row for each validation in log.csv, and the same as TensorBoard scalars."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from uva_edge.errors import OutputError
from uva_edge.training.validation import Scores
from uva_edge.whole_files import replace_file


class Journal:
    """Rows of stage, step, loss and scores (``DATASET/METRIC``); `rows` of a run that goes on come first.

    With `write` false (all processes but one) nothing is written.

    Raises OutputError where either can't be written.
    """

    def __init__(self, directory: Path, rows: list[dict[str, Any]], *, write: bool) -> None:
        self.rows = list(rows)
        self._path = directory / "log.csv"
        self._events: SummaryWriter | None = None
        if write:
            place = directory / "tensorboard"
            try:
                self._events = SummaryWriter(str(place))
            except OSError as error:
                raise OutputError(f"{place}: expected a directory to write to; {error.strerror}") from error
        for number, row in enumerate(self.rows):
            self._record(number, row)

    def add(self, stage: str, step: int, loss: float, scores: Scores) -> None:
        """One validation; log.csv is complete after it."""
        flat = {
            f"{dataset}/{metric}": value
            for dataset, found in scores.items()
            for metric, value in found.items()
        }
        self.rows.append({"stage": stage, "step": step, "loss": loss, **flat})
        if self._events is not None:
            self._record(len(self.rows) - 1, self.rows[-1])
            replace_file(self._path, self._csv())

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _record(self, number: int, row: dict[str, Any]) -> None:
        if self._events is not None:
            for name, value in row.items():
                if name not in ("stage", "step"):
                    self._events.add_scalar(f"{row['stage']}/{name}", value, row["step"])

    def _csv(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in self.rows for name in row)))
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()
