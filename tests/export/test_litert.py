"""LiteRT models: where its converter is installed, the golden clip comes out of them; where it isn't, it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.errors import MissingPackageError
from uva_edge.export.bundles import export_bundle


def test_a_bundle_gets_tflite(tmp_path: Path) -> None:
    pytest.importorskip(
        "litert_torch", reason="needs the extra 'litert', which is not part of 'test': it is large"
    )
    bundle = export_bundle("uva-32", tmp_path / "lite", name="lite", to=["onnx", "tflite"])
    artifact = bundle.artifact("tflite-fp32-t1")
    assert (artifact.format, artifact.frames) == ("tflite", 1)
    assert bundle.read(artifact.files[0])[4:8] == b"TFL3"
    assert artifact.parity["max_abs_map"] < 1e-4


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "litert_torch", None)
    with pytest.raises(
        MissingPackageError, match=r"litert_torch, which is not installed; pip install 'uva-edge\[litert\]'"
    ):
        export_bundle("uva-32", tmp_path / "lite", name="lite", to=["tflite"])
    assert not (tmp_path / "lite").exists()
