"""The commands `train` and `evaluate` on a tiny data set."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import CliRunner

from uva_edge.cli import main


def test_train_and_evaluate_commands(data: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        words = [
            "train",
            "--data",
            data,
            "-o",
            tmp_path / "run",
            "--resolution",
            "32",
            "--steps",
            "2",
            "--eager",
        ]
        result = CliRunner().invoke(main, list(map(str, words)))
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0, result.stderr
    assert "step 2/2" in result.stderr
    checkpoint = result.stdout.strip()
    scores = CliRunner().invoke(main, ["evaluate", checkpoint, "--data", str(data)])
    assert scores.exit_code == 0, scores.stderr
    assert "osie" in scores.stdout
    missing = CliRunner().invoke(main, ["evaluate", checkpoint, "--data", str(tmp_path)])
    assert missing.exit_code == 1
    assert "fixations.csv" in missing.stderr
