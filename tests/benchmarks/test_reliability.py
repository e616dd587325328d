"""The table of docs/reliability.md is made of what `uva-edge soak --json` prints."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from uva_edge.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    words = [
        "soak",
        "--minutes",
        "0.05",
        "--bundle",
        "uva-32",
        "--backend",
        "onnxruntime",
        "--streams",
        "2",
        "--json",
    ]
    report = json.loads(CliRunner().invoke(main, words).stdout)
    table = importlib.import_module("reliability").soak_table(report)
    rows = dict(line.strip("| ").split(" | ", 1) for line in table[2:])
    assert rows["frames, each by two twins"] == f"{report['done']['frames']:,}"
    assert rows["command"] == "`uva-edge soak --minutes 0.05 --streams 2 --seed 0 --bundle uva-32`"
    assert {"memory", "descriptors", "threads"} <= set(rows)
    assert rows["verdict"] == ("PASS" if report["passed"] else f"FAIL: {'; '.join(report['problems'])}")


def test_the_page_has_a_place_for_it() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert page.index("<!-- soak -->") < page.index("<!-- /soak -->")
