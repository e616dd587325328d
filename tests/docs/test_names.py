"""Every command, option, public name and artifact is told of on the page where it is looked for."""

from __future__ import annotations

import importlib
import re

import click
import pytest
from doc_pages import ROOT

import uva_edge
from uva_edge import Bundle, Saliency, SaliencyPredictor, Stream, StreamBatch
from uva_edge.cli import main


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", main.commands)
def test_every_command_is_told(name: str) -> None:
    assert f"`uva-edge {name}" in page("cli.md")
    assert main.commands[name].help


@pytest.mark.parametrize("name", main.commands)
def test_every_option_is_told(name: str) -> None:
    """By its help, and in the command's entry in the list of options, which has no others."""
    options = [option for option in main.commands[name].params if isinstance(option, click.Option)]
    for option in options:
        assert option.help or option.show_default, option.name
    words = {word for option in options for word in (*option.opts, *option.secondary_opts)}
    entry = re.search(rf"^- \*\*{name}\*\*: (.*(?:\n  .*)*)", page("cli.md"), re.MULTILINE)
    assert entry, f"'## Options' in docs/cli.md lacks {name}: {', '.join(sorted(words))}"
    assert set(re.findall(r"`(-[^`]*)`", entry[1])) == words


@pytest.mark.parametrize("name", [name for name in uva_edge.__all__ if not name.startswith("_")])
def test_every_public_name_is_shown(name: str) -> None:
    assert re.search(rf"\b{name}\b", page("api.md"))


@pytest.mark.parametrize(
    "kind", [SaliencyPredictor, Stream, StreamBatch, Saliency, Bundle], ids=lambda k: k.__name__
)
def test_every_public_member_is_shown(kind: type) -> None:
    members = {
        name for name in (*vars(kind), *getattr(kind, "__annotations__", ())) if not name.startswith("_")
    }
    assert members
    missing = sorted(name for name in members if not re.search(rf"\.{name}\b", page("api.md")))
    assert not missing, f"docs/api.md does not show {', '.join(missing)} of {kind.__name__}"


def test_every_artifact_that_can_be_made_is_told() -> None:
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    from uva_edge.export.artifacts import MAKERS

    for word in MAKERS:
        assert f"`{word}`" in page("export.md"), word


def test_the_table_of_artifacts_is_that_of_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by `python benchmarks/artifacts.py`."""
    pytest.importorskip("torch", reason="needs the extra 'train'")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("artifacts").artifact_table()
    assert "\n".join(table) in page("export.md")


def test_every_backend_is_told() -> None:
    from uva_edge.runtimes.registry import BACKENDS

    for backend in BACKENDS:
        assert f"`{backend}`" in page("backends.md"), backend
