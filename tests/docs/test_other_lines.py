"""Shell lines that are not of `uva-edge`: the files, targets, extras and options that they name exist."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, Command, commands, label

from uva_edge.toml_files import read_toml

# Programs that are not this project's, and what of their lines is checked all the same: files that they name.
OTHERS = {
    ".": "the shell's own",
    "cd": "the shell's own",
    "export": "the shell's own",
    "ffmpeg": "feeds a pipe; the other end is executed",
    "head": "feeds a pipe",
    "fabric": "starts `uva-edge train`, which is parsed in test_commands.py",
    "torchrun": "starts `uva-edge train`, which is parsed in test_commands.py",
    "gst-inspect-1.0": "tests/examples/test_gstreamer.py runs the element",
    "gst-launch-1.0": "tests/examples/test_gstreamer.py runs the element",
    "npx": "builds the page of examples/web",
    "ovms": "a model server, which comes as a container image",
    "tritonserver": "a model server, which comes as a container image",
    "ssh": "another machine",
    "uva-edge": "executed in test_commands.py",
}

LINES = [command for page in PAGES for command in commands(page)]


def of(*programs: str) -> list[Command]:
    return [command for command in LINES if program(command) in programs]


def program(command: Command) -> str:
    name = Path(command.words[0]).name or command.words[0]
    if name == "sudo":
        name = command.words[1]
    if name.startswith("python"):
        name = command.words[2] if command.words[1] == "-m" else "script"
    return name


def folder(command: Command) -> Path:
    """Where the line is run: at the root, or where a `cd` of the same page went."""
    moves = [other.words[1] for other in LINES if other.page == command.page and other.words[0] == "cd"]
    return ROOT / moves[0] if moves else ROOT


def ids(command: Command) -> str:
    return f"{label(command.page)}: {' '.join(command.words)}"


def test_every_program_is_known() -> None:
    ours = {"make", "pip", "script", "venv", "pytest", "apt", "apt-get", "npm", "camera"}
    seen = {program(command) for command in LINES}
    assert seen <= ours | OTHERS.keys(), seen - ours - OTHERS.keys()
    assert OTHERS.keys() <= seen, OTHERS.keys() - seen


@pytest.mark.parametrize("command", of("make"), ids=ids)
def test_make_has_the_targets(command: Command) -> None:
    words = list(command.words[1:])
    place = ROOT / words[words.index("-C") + 1] if "-C" in words else ROOT
    targets = re.findall(
        r"^([\w./-]+)\s*:(?!=)", (place / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert targets
    after_c = words[words.index("-C") + 1] if "-C" in words else None
    asked = [word for word in words if not word.startswith("-") and "=" not in word and word != after_c]
    assert set(asked) <= set(targets)


@pytest.mark.parametrize("command", of("pip"), ids=ids)
def test_pip_has_the_extras_and_files(command: Command) -> None:
    extras = read_toml(ROOT / "pyproject.toml", "a project")["project"]["optional-dependencies"]
    for word in command.words:
        if found := re.fullmatch(r"(?:\.|uva-edge)\[([\w,-]+)\]", word):
            assert set(found[1].split(",")) <= extras.keys(), word
    for option, word in zip(command.words, command.words[1:], strict=False):
        if option in ("-c", "-r"):
            assert (ROOT / word).is_file(), word


@pytest.mark.parametrize("command", of("script"), ids=ids)
def test_scripts_have_the_options(command: Command) -> None:
    path = folder(command) / command.words[1]
    assert path.is_file(), path
    if command.options:
        told = usage(path)
        for option in command.options:
            assert re.search(rf"{option}(?![\w-])", told), f"{path.name} has no {option}"


@functools.cache
def usage(path: Path) -> str:
    run = subprocess.run(
        [sys.executable, str(path), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    return run.stdout


@pytest.mark.parametrize("command", of("pytest", "apt", "apt-get"), ids=ids)
def test_tests_and_lists_of_packages_exist(command: Command) -> None:
    for word in command.words:
        if word.startswith("tests/"):
            assert (ROOT / word.rstrip(")")).exists(), word


@pytest.mark.parametrize("command", of("npm"), ids=ids)
def test_npm_has_the_scripts(command: Command) -> None:
    package = json.loads((folder(command) / "package.json").read_text(encoding="utf-8"))
    if command.words[1] == "run":
        assert command.words[2] in package["scripts"]
    else:
        assert command.words[1] == "ci"
        assert (folder(command) / "package-lock.json").is_file()
