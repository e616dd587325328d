"""The command `evaluate`: predictors, baselines and stored maps in one table, as files and as JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch", reason="needs the extra 'train'")

from uva_edge.bundle import Bundle
from uva_edge.cli import main
from uva_edge.training.baselines import BASELINES


def evaluate(*words: Any) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, words)])


def summary_of(result: Result) -> dict[tuple[str, str, str], dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    return {(item["predictor"], item["dataset"], item["metric"]): item for item in document["summary"]}


def test_a_checkpoint_beside_all_baselines(data: Path, untrained: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores"
    result = evaluate(untrained, "--data", data, "--baselines", "all", "-o", output)
    assert result.exit_code == 0, result.stderr
    for word in ("osie (1)", "sun500 (1)", "clips (1)", "teacher_cc", *BASELINES):
        assert word in result.stdout
    assert result.stdout.splitlines()[-1] == str(output / "scores.json")
    with (output / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["predictor"] for row in rows} == {str(untrained), *BASELINES}
    assert {(row["dataset"], row["name"], row["frames"]) for row in rows} == {
        ("osie", "still_4", "1"),
        ("sun500", "still_5", "1"),
        ("clips", "val", "6"),
    }


def test_json_is_one_document_with_everything(data: Path) -> None:
    result = evaluate("--baseline", "centre", "--data", f"stills:{data}", "--split", "train", "--json")
    summary = summary_of(result)
    assert {(dataset, metric) for _, dataset, metric in summary} == {
        (dataset, metric)
        for dataset in ("osie", "sun500")
        for metric in ("auc", "sauc", "nss", "cc", "sim", "kld")
    }
    nss = summary["centre", "osie", "nss"]
    assert nss["count"] == 2
    assert nss["low"] <= nss["mean"] <= nss["high"]
    document = json.loads(result.stdout)
    assert document["split"] == "train"
    assert document["data"] == [f"stills:{data}"]
    assert document["damaged"] == {}


def test_several_sets_of_data_are_scored_together(data: Path) -> None:
    both = summary_of(
        evaluate("--baseline", "hft", "--data", f"stills:{data}", "--data", f"clips:{data}", "--json")
    )
    assert {dataset for _, dataset, _ in both} == {"osie", "sun500", "clips"}
    assert both == summary_of(evaluate("--baseline", "hft", "--data", data, "--json"))


def test_a_shipped_bundle_in_two_backends(data: Path) -> None:
    words = ("uva-32", "--backend", "onnxruntime", "--backend", "torch", "--precision", "fp32")
    summary = summary_of(evaluate(*words, "--data", data, "--json"))
    one, other = (summary[f"uva-32 {name} fp32", "clips", "teacher_cc"] for name in ("onnxruntime", "torch"))
    assert one["mean"] == pytest.approx(other["mean"], abs=1e-3)
    assert one["mean"] != 0


def test_maps_from_elsewhere(data: Path, tmp_path: Path) -> None:
    """The teacher's own maps agree with the teacher."""
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "val.npz").write_bytes((data / "teacher_maps" / "clips" / "val.npz").read_bytes())
    summary = summary_of(evaluate("--maps", maps, "--data", f"clips:{data}", "--json"))
    assert summary[str(maps), "clips", "teacher_cc"]["mean"] == pytest.approx(1)
    missing = evaluate("--maps", maps, "--data", f"stills:{data}")
    assert missing.exit_code == 1
    assert "still_4" in missing.stderr


def test_a_damaged_still_is_told_and_counted(data: Path) -> None:
    """More than 1 % of this little data; what a skip looks like is scoring's to test."""
    (data / "images" / "still_4.jpg").write_bytes(b"nonsense")
    result = evaluate("--baseline", "centre", "--data", f"stills:{data}")
    assert result.exit_code == 1
    assert "still_4.jpg" in result.stderr


def test_damage_that_is_skipped_shows_in_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    names = [f"s{number:03d}" for number in range(101)]
    for name in names:
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.full((8, 8, 3), 90, np.uint8))
    (tmp_path / "images" / "s050.jpg").write_bytes(b"nonsense")
    (tmp_path / "images.csv").write_text("name,dataset,split\n" + "".join(f"{n},osie,val\n" for n in names))
    (tmp_path / "fixations.csv").write_text("name,x,y\n" + "".join(f"{n},0.5,0.5\n" for n in names))
    result = evaluate("--baseline", "centre", "--data", tmp_path, "--json")
    assert result.exit_code == 3
    assert "skipped osie/s050" in result.stderr
    assert list(json.loads(result.stdout)["damaged"]) == ["osie/s050"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "nothing to score"),
        (("--baseline", "itti"), 1, "spectral-residual"),
        (("no-such-bundle",), 1, "no-such-bundle"),
        (("no-such.safetensors",), 1, "no-such.safetensors"),
        (("--maps", "no-such-folder"), 1, "no-such-folder"),
        (("--baseline", "hft", "--baseline", "hft"), 1, "two predictors are called 'hft'"),
        (("--baseline", "hft", "--split", "validation"), 1, "'validation'"),
        (("uva-32", "--backend", "onnxruntime", "--precision", "fp8"), 1, "fp8"),
        (("--baseline", "hft", "--backend", "torch"), 1, "none is named"),
    ],
)
def test_wrong_usage_is_told(data: Path, words: tuple[str, ...], code: int, says: str) -> None:
    result = evaluate(*words, "--data", data)
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_data_are_needed() -> None:
    assert evaluate("uva-32").exit_code == 2
    missing = evaluate("uva-32", "--data", "no-such-place")
    assert missing.exit_code == 1
    assert "no-such-place" in missing.stderr


def test_export_stores_what_evaluate_finds(data: Path, untrained: Path, tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    exported = CliRunner().invoke(main, ["export", str(untrained), "-o", str(place), "--data", str(data)])
    assert exported.exit_code == 0, exported.stderr
    summary = summary_of(evaluate(untrained, "--data", data, "--json"))
    stored = Bundle.open(str(place)).manifest.accuracy
    found = {(dataset, metric) for dataset, scores in stored.items() for metric in scores}
    assert found == {(dataset, metric) for _, dataset, metric in summary}
    for (_, dataset, metric), item in summary.items():
        assert stored[dataset][metric] == pytest.approx(item["mean"]), (dataset, metric)
