"""Results as tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from .shared import make_console, table

if TYPE_CHECKING:
    from uva_edge.runtimes.bench.report import Kind, Result


class _Column(NamedTuple):
    heading: str
    figure: str
    form: str


_COLUMNS: Final[dict[Kind, tuple[_Column, ...]]] = {
    "golden": (
        _Column("map error", "max_abs_map", ".1e"),
        _Column("CC", "min_cc", ".5f"),
        _Column("drift", "drift", ".0e"),
    ),
    "task": (
        _Column("NSS", "nss", ".3f"),
        _Column("of float32", "nss_reference", ".3f"),
        _Column("CC", "cc", ".3f"),
        _Column("AUC", "auc", ".3f"),
    ),
    "speed": (
        _Column("FPS", "fps", ".0f"),
        _Column("p50 ms", "total_p50_ms", ".2f"),
        _Column("p99 ms", "total_p99_ms", ".2f"),
    ),
}


_YUV: Final = ("nv12", "i420", "yuyv")


def print_results(results: Sequence[Result]) -> None:
    """A table for each bundle and kind, then why cases failed, were skipped or are not supported.

    Of the golden clip there are a dozen cases of an artifact: they share a line with the worst of their figures.
    """
    console = make_console()
    for bundle, kind in dict.fromkeys((row.bundle, row.kind) for row in results):
        rows = [row for row in results if (row.bundle, row.kind) == (bundle, kind)]
        measured = [row for row in rows if row.figures]
        if measured:
            lines = _by_artifact(measured) if kind == "golden" else [_line(row) for row in measured]
            headings = [column.heading for column in _COLUMNS[kind]]
            console.print(table((f"{bundle}, {kind}", "status", *headings), lines))
        for row in measured:
            if row.status == "FAIL":
                console.print(f"{row.case}: FAIL, {row.message}", markup=False)
        # Whole backends are skipped, or artifacts for another device: their cases have one reason.
        for line in dict.fromkeys(map(_told, (row for row in rows if not row.figures))):
            console.print(line, markup=False)


def _told(row: Result) -> str:
    name = row.case if row.status == "FAIL" else row.case.partition("/")[0]
    return f"{name}: {row.status}, {row.message}"


def _line(row: Result) -> list[str]:
    name, _, camera = row.case.rpartition("/")  # the camera is the same for all
    return [name if " " in camera else row.case, row.status, *_cells(row.kind, [row])]


def _by_artifact(rows: Iterable[Result]) -> list[list[str]]:
    groups: dict[str, list[Result]] = {}
    for row in rows:
        backend, artifact, *how = row.case.split("/")
        yuv = " (YUV)" if how[-1] in _YUV else ""  # what it loses would hide what the backend does
        groups.setdefault(f"{backend}/{artifact}{yuv}", []).append(row)
    lines = []
    for name, cases in groups.items():
        failed = sum(case.status == "FAIL" for case in cases)
        status = f"{failed} of {len(cases)} FAIL" if failed else f"{len(cases)} PASS"
        lines.append([name, status, *_cells("golden", cases)])
    return lines


def _cells(kind: Kind, rows: Sequence[Result]) -> list[str]:
    """The worst of the rows' figures."""
    cells = []
    for column in _COLUMNS[kind]:
        values = [row.figures[column.figure] for row in rows if column.figure in row.figures]
        worst = min if column.figure == "min_cc" else max
        cells.append(format(worst(values), column.form) if values else "")
    return cells
