"""A small bundle that is sound, and copies of it to damage."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, write_bundle
from uva_edge.golden import Golden
from uva_edge.manifest import Contract, Lineage, Network, TensorSpec

SIDE = 8
STATE = (1, 64, 2, 2)


@pytest.fixture(scope="session")
def golden() -> Golden:
    random = np.random.default_rng(1)
    return Golden(
        frames=random.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8),
        maps=random.random((4, SIDE, SIDE), dtype=np.float32),
        state=random.standard_normal(STATE, dtype=np.float32),
    )


@pytest.fixture(scope="session")
def ingredients(golden: Golden) -> dict[str, Any]:
    """The arguments of write_bundle: a model of 2048 bytes, one of two files, and a model card."""
    model = bytes(range(256)) * 8
    parts = {"ov/fp32.xml": b"<net/>", "ov/fp32.bin": model[:99]}
    return {
        "name": "tiny",
        "network": Network("uva-net", {"block": "ca_res"}, 165_337, 1_000_000),
        "contract": Contract(
            resolution=SIDE,
            pairing="causal",
            output="peak",
            frames=TensorSpec("frames", "uint8", ("T", SIDE, SIDE, 3)),
            state_in=TensorSpec("state_in", "float32", STATE),
            maps=TensorSpec("maps", "float32", ("T", SIDE, SIDE)),
            state_out=TensorSpec("state_out", "float32", STATE),
        ),
        "artifacts": [
            ArtifactSource("onnx-fp32", "onnx", "fp32", None, {"fp32.onnx": model}, {"opset": "18"}, {}),
            ArtifactSource("openvino-fp32", "openvino", "fp32", 1, parts, {}, {}, {"trials": [1, 2]}),
        ],
        "golden": golden,
        "accuracy": {"osie": {"NSS": 2.0}},
        "lineage": Lineage({}, {"mu": 0.5}, ("OSIE",), "", None, "0" * 64, "Apache-2.0"),
        "documents": {"README.md": b"# tiny\n"},
    }


@pytest.fixture(scope="session")
def original(ingredients: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("original") / "tiny", **ingredients)


@pytest.fixture
def root(original: Bundle, tmp_path: Path) -> Path:
    """A copy of the bundle, free to be damaged."""
    return Path(shutil.copytree(original.location, tmp_path / "tiny"))


def _zip(root: Path, folder: str) -> Path:
    path = root.parent / f"{root.name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(item for item in root.rglob("*") if item.is_file()):
            archive.write(file, folder + file.relative_to(root).as_posix())
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "directory": lambda root: root,
    "zip": lambda root: _zip(root, ""),
    "zip of the folder": lambda root: _zip(root, "any name/"),
}


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> Callable[[Path], Path]:
    """Each form that a bundle may have: a function from its directory to its place in that form."""
    return FORMS[request.param]


@pytest.fixture(scope="session")
def zip_of() -> Callable[[Path], Path]:
    return FORMS["zip"]
