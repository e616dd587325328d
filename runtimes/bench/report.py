"""The report of a run: what was checked and measured, on which machine, of which bundle, and the verdicts.

One list of rows, whatever was checked: JSON, JUnit XML, CSV, the HTML page and the comparison of two runs all read
it, and a new kind of check needs no change in any of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from uva_edge.errors import DataError, ManifestError
from uva_edge.strict_json import between, decode, encode, parse
from uva_edge.whole_files import read_bytes

SCHEMA: Final = 1
MAX_REPORT_BYTES: Final = 64 << 20

Status: TypeAlias = Literal["PASS", "FAIL", "UNSUPPORTED", "SKIPPED"]
Bound: TypeAlias = Literal["<=", ">="]
Kind: TypeAlias = Literal["golden", "task", "speed"]
"""The golden clip against its reference; scores on labelled footage; time, memory and energy."""

STATUSES: Final[tuple[Status, ...]] = get_args(Status)


@dataclass(frozen=True)
class Result:
    """One row.

    Attributes:
        kind: what was checked.
        bundle: name of the bundle.
        case: name of the case, unique among the rows of its kind and bundle: ``onnxruntime/onnx-fp32/T=1``.
        status: PASS and FAIL were checked. UNSUPPORTED: the backend is here and can't do it; SKIPPED: it was not
            tried. `message` says why, in every case.
        message: one line.
        figures: what was measured, by name; the unit is the name's end (_ms, _mb, _px), or there is none.
        limits: bounds that decided the verdict: a figure's name to its ("<=" or ">=", bound).
        series: values in their order: ``error`` (largest absolute error of each frame), ``total_ms`` (times).
    """

    kind: Kind
    bundle: str
    case: str
    status: Status
    message: str
    figures: dict[str, float]
    limits: dict[str, tuple[Bound, float]]
    series: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class BundleFacts:
    """Which bundle: `sha256` is of the manifest, which holds the hash of every file; `artifacts` are name, format,
    precision, bytes and sha256 each."""

    name: str
    sha256: str
    artifacts: tuple[dict[str, Any], ...]


@dataclass(frozen=True, eq=False)
class WorstFrame:
    """The frame that a case got most wrong: uint8 [R, C, 3] RGB and float32 [R, C] twice. For pictures; not in JSON."""

    bundle: str
    case: str
    index: int
    frame: NDArray[np.uint8]
    reference: NDArray[np.float32]
    found: NDArray[np.float32]


@dataclass(frozen=True)
class Report:
    """A whole run.

    Attributes:
        schema: version of this form.
        passed: the verdict over all rows, as `succeeded` gives it.
        created: UTC, ISO 8601.
        uva_edge: its version.
        machine: what `uva-edge doctor --json` tells of it: python, platform, cpu, gpu, engines.
        conditions: what could have disturbed the times: governor, load, throttling; each with its value in words.
        remarks: what a reader must know before the figures are believed, a sentence each.
        options: what was asked for.
    """

    schema: Annotated[int, between(SCHEMA, SCHEMA)]
    passed: bool
    created: str
    uva_edge: str
    machine: dict[str, Any]
    conditions: dict[str, str]
    remarks: tuple[str, ...]
    options: dict[str, Any]
    bundles: tuple[BundleFacts, ...]
    results: tuple[Result, ...]

    def to_json(self) -> str:
        """What `read_report` reads."""
        return json.dumps(encode(self), indent=1, allow_nan=False)


def succeeded(statuses: Iterable[str]) -> bool:
    """A run in which nothing was checked has failed."""
    found = set(statuses)
    return "FAIL" not in found and "PASS" in found


def read_report(path: Path) -> Report:
    """Read what `Report.to_json` wrote.

    Raises:
        DataError: there is no such file, it is larger than `MAX_REPORT_BYTES`, or not a report of this schema.
    """
    try:
        report: Report = decode(Report, parse(read_bytes(path, MAX_REPORT_BYTES, "the JSON of a report")))
    except ManifestError as error:
        raise DataError(f"{path}: {error}; make it again with `uva-edge bench --report`") from None
    return report
