"""The documentation is run: every Python block, every command, every public name, every link."""

from __future__ import annotations

import importlib
import os
import re
import shlex
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
import pytest
from numpy.typing import NDArray

import uva_edge
from uva_edge.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def names(flight: NDArray[np.uint8]) -> dict[str, Any]:
    """What the examples take for granted: a camera, and frames in all formats."""
    rng = np.random.default_rng(0)
    return {
        "camera": list(flight[:3]),
        "frames": list(flight[:3]),
        "frame": flight[0],
        "image": flight[0],
        "gray": flight[0, :, :, 1],
        "nv12": rng.integers(0, 256, (270, 320), dtype=np.uint8),
        "y": rng.integers(0, 256, (181, 321), dtype=np.uint8),
        "uv": rng.integers(0, 256, (91, 161, 2), dtype=np.uint8),
    }


def write_flight(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_examples_run(
    page: Path, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if any('"flight.mp4"' in block for block in blocks(page, "python")):
        write_flight(tmp_path / "flight.mp4", names["frames"])
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, python block {number}", "exec"), names)


def test_commands_in_the_pages_exist_with_these_options() -> None:
    for page in PAGES:
        for line in re.findall(r"^uva-edge .*$", "\n".join(blocks(page, "sh")), re.MULTILINE):
            words = shlex.split(line, comments=True)[1:]
            assert words[0] in main.commands, f"{page.name}: {line}"
            command = main.commands[words[0]]
            with click.Context(command) as context:
                command.make_parser(context).parse_args(words[1:])  # raises for an option that isn't there


def test_every_command_and_option_is_told() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name, command in main.commands.items():
        assert f"`uva-edge {name}" in text, name
        assert command.help, name
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help or option.show_default, (
                f"{name} {option.name}"
            )


def test_every_public_name_is_shown() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in uva_edge.__all__:
        if not name.startswith("_") and name != "errors":
            assert re.search(rf"\b{name}\b", text), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert os.path.exists(page.parent / target), f"{page.name}: {target}"


def test_every_page_is_reachable_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in text, page.name


def test_every_artifact_that_can_be_made_is_told() -> None:
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    from uva_edge.export.artifacts import MAKERS

    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    for word in MAKERS:
        assert f"`{word}`" in page, word


def test_the_table_of_artifacts_is_that_of_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by `python benchmarks/artifacts.py`."""
    pytest.importorskip("torch", reason="needs the extra 'train'")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("artifacts").artifact_table()
    assert "\n".join(table) in (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
