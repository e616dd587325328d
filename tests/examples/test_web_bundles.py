"""examples/web/copy_bundles.py: what the page gets of bundles."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from uva_edge import Bundle

SCRIPT: Final = Path(__file__).resolve().parents[2] / "examples" / "web" / "copy_bundles.py"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_manifest_and_one_model_of_each(tmp_path: Path) -> None:
    folder = tmp_path / "public" / "bundles"
    for names in (["uva-32", "uva-64"], ["uva-32"]):  # the second replaces the first
        done = run(str(folder), *names)
        assert (done.returncode, done.stderr) == (0, "")
        made = contents(folder)
        assert json.loads(made.pop("index.json")) == names
        assert sorted(made) == sorted(
            f"{name}/{file}" for name in names for file in ("bundle.json", "step.onnx")
        )
        for name in names:
            bundle = Bundle.shipped(name)
            assert made[f"{name}/bundle.json"] == bundle.manifest_bytes
            (file,) = bundle.artifact("onnx-fp32-t1").files
            assert made[f"{name}/step.onnx"] == bundle.read(file)
    assert list(folder.parent.iterdir()) == [folder]


def test_refusals_leave_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    assert run(str(folder), "uva-32").returncode == 0
    before = contents(folder)
    damaged = tmp_path / "damaged"
    shutil.copytree(Bundle.shipped("uva-64").location, damaged)
    (damaged / "step.onnx").write_bytes(b"")
    for words, said in {
        ("uva-32", "uva-32"): "different names",
        ("uva-33",): "uva-33",
        (str(damaged),): "step.onnx: expected",
    }.items():
        done = run(str(folder), *words)
        assert done.returncode == 1, words
        assert done.stderr.startswith("copy_bundles: "), words
        assert said in done.stderr, words
        assert contents(folder) == before, words


@pytest.mark.parametrize("name", ["notes.txt", ".git"])
def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    done = run(str(tmp_path), "uva-32")
    assert done.returncode == 1
    assert "was not made by this script" in done.stderr
    assert contents(tmp_path) == {name: b"mine"}
