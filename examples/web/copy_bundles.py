"""Copy what the page needs of bundles into a folder: the manifest, and the float32 ONNX of one frame.

    python3 copy_bundles.py public/bundles uva-32 uva-64 path/to/my-bundle

Every file is read through `uva_edge.Bundle`, so that what is damaged is refused here already.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

try:
    from uva_edge import Bundle
    from uva_edge.errors import OptionError, UvaEdgeError
    from uva_edge.manifest import MANIFEST_NAME, Artifact
except ImportError as error:
    sys.exit(f"copy_bundles: {error}; activate the environment that uva_edge is installed in, such as .venv")

INDEX: Final = "index.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Copy what the page needs of bundles.")
    parser.add_argument("folder", type=Path, help="new, empty, or made by this script: it is replaced")
    parser.add_argument("bundles", nargs="+", help="names of shipped bundles, or paths")
    arguments = parser.parse_args()
    try:
        copy(arguments.folder, [Bundle.open(reference) for reference in arguments.bundles])
    except UvaEdgeError as error:
        sys.exit(f"copy_bundles: {error}")


def copy(folder: Path, bundles: list[Bundle]) -> None:
    """Make `folder` hold these bundles and `index.json`, the list of their names.

    Raises OptionError where two have one name, or where the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise OptionError(f"{folder} would be replaced, and was not made by this script; name another folder")
    names = [bundle.name for bundle in bundles]
    if len(set(names)) != len(names):
        raise OptionError(f"expected bundles of different names, got {', '.join(names)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        built = Path(scratch) / folder.name
        for bundle in bundles:
            place = built / bundle.name
            place.mkdir(parents=True)
            (place / MANIFEST_NAME).write_bytes(bundle.manifest_bytes)
            for file in page_artifact(bundle).files:
                (place / file.path).parent.mkdir(parents=True, exist_ok=True)
                (place / file.path).write_bytes(bundle.read(file))
        (built / INDEX).write_text(json.dumps(names) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        built.rename(folder)


def page_artifact(bundle: Bundle) -> Artifact:
    """The artifact that the page runs: float32 ONNX that takes one frame a call."""
    for artifact in bundle.manifest.artifacts:
        if (artifact.format, artifact.precision, artifact.frames) == ("onnx", "fp32", 1):
            return artifact
    raise OptionError(f"{bundle.location} has no float32 ONNX for one frame: export it with --to onnx")


if __name__ == "__main__":
    main()
