"""Every `uva-edge` line of every page is executed, in a directory that has the files it names.

What can't be done in a test stands in `NOT_RUN`, with the reason; such a line is parsed with its options.
"""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from doc_pages import PAGES, Command, commands, label

from uva_edge.cli import main

# pattern of the words after `uva-edge`: why it is not executed
NOT_RUN = {
    "predict 0 *": "wants a camera",
    "predict camera:*": "wants a camera",
    "predict rtsp://*": "wants a camera in the network",
    "predict flight.bag *": "tests/runtimes/sources/test_bags.py writes bags and reads them",
    "view *": "serves a page until it is stopped; tests/view/test_command.py",
    "soak --minutes 60 *": "an hour; tests/reliability/test_soak.py",
    "train *--paper*": "hours of training; tests/training/test_train_command.py",
    "train *--imagenet*": "hours of training, with weights of others",
    "train *--spatial-maps*": "hours of training; tests/training/test_train_command.py",
    "train *runs/two*": "hours of training in two processes; tests/training/test_parallel.py",
    "import-tinyhd *": "wants weights of others; tests/export/test_tinyhd.py imports small ones",
    "export *onnx-int8*": "minutes of calibration; tests/export/test_onnx_int8.py",
    "export *c,c-int8*": "examples/c/README.md exports C; both in tests/export/test_c.py",
    "export *tensorrt*": "minutes of building; tests/export/test_tensorrt.py",
    "build-engine *": "wants an NVIDIA GPU; tests/export/test_tensorrt.py",
    "evaluate *dhf1k:*": "wants a data set of others; tests/data/test_sources.py",
}

# What is cut down: words that are added to a line's own.
ADDED = {
    "train *": ("--eager", "--accelerator", "cpu"),
    "bench *--only speed*": ("--seconds", "0.1", "--threads", "1"),
    "bench uva-64 *": ("--seconds", "0.1", "--threads", "1", "--backend", "onnxruntime"),
    "bench --profile*": ("--seconds", "0.1"),
    "soak *": ("--minutes", "0.05", "--streams", "2"),
    "verify *": ("--threads", "1"),
}

# Speed is the machine's: a floor of a profile may be missed here.
MAY_FAIL = ("bench --profile*",)

# What writes nothing, and so needs to be run on one of the pages only.
ONCE = ("doctor", "verify uva-*")

LINES = [command for page in PAGES for command in commands(page)]
OURS = [
    command for command in LINES if {"uva-edge", "uva_edge"} & {Path(word).name for word in command.words}
]
_ran: set[str] = set()


def words_of(command: Command) -> list[str]:
    """The words after `uva-edge`, wherever it stands: `torchrun ... -m uva_edge train` runs it too."""
    names = [Path(word).name.replace("_", "-") for word in command.words]
    return list(command.words[names.index("uva-edge") + 1 :])


def reason_not_to_run(words: list[str]) -> str | None:
    line = " ".join(words)
    return next((why for pattern, why in NOT_RUN.items() if fnmatch.fnmatch(line, pattern)), None)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(command.page == page for command in OURS)], ids=label
)
def test_the_lines_of_a_page_run(page: Path, sandbox: Callable[[], Path]) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra 'train'")
    place = sandbox()
    for command in OURS:
        words = words_of(command)
        if command.page == page and reason_not_to_run(words) is None:
            line = " ".join(words)
            if line in _ran:
                continue
            added = next((more for pattern, more in ADDED.items() if fnmatch.fnmatch(line, pattern)), ())
            code, told = execute([*words, *added], place)
            allowed = (0, 1) if any(fnmatch.fnmatch(line, pattern) for pattern in MAY_FAIL) else (0,)
            assert code in allowed, f"{label(page)}: {command.line}\nexit code {code}\n{told}"
            if any(fnmatch.fnmatch(line, pattern) for pattern in ONCE):
                _ran.add(line)


def execute(words: list[str], place: Path) -> tuple[int, str]:
    """Exit code, and the end of what was told. Standard input is a second of a raw camera."""
    if "-" in words:  # reads the process's own standard input
        raw = place / "camera.raw"
        width, height = map(int, words[words.index("--size") + 1].split("x"))
        raw.write_bytes(bytes(width * height * 3 // 2 * 3))
        with raw.open("rb") as file:
            run = subprocess.run(
                [sys.executable, "-m", "uva_edge", *words], stdin=file, capture_output=True, text=True
            )
        return run.returncode, run.stderr[-2000:]
    result = CliRunner().invoke(main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output[-2000:]


@pytest.mark.parametrize(
    "command", OURS, ids=lambda command: f"{label(command.page)}: {' '.join(command.words)}"
)
def test_options_of_a_line_are_there(command: Command) -> None:
    parse(words_of(command))


def parse(words: list[str]) -> None:
    """Raises click's UsageError for an option that is not there, or a value that it does not take."""
    assert words[0] in main.commands, f"there is no command {words[0]}"
    subcommand = main.commands[words[0]]
    with click.Context(subcommand) as context:
        subcommand.make_parser(context).parse_args(words[1:])


def test_every_reason_is_of_a_line() -> None:
    lines = [" ".join(words_of(command)) for command in OURS]
    for pattern in (*NOT_RUN, *ADDED, *MAY_FAIL, *ONCE):
        assert any(fnmatch.fnmatch(line, pattern) for line in lines), f"no line of a page is {pattern!r}"


def test_most_lines_are_executed() -> None:
    """The table of exceptions must not become the rule."""
    run = [command for command in OURS if reason_not_to_run(words_of(command)) is None]
    assert len(run) > len(OURS) / 2, f"{len(run)} of {len(OURS)}"


def test_the_modules_of_the_reasons_exist() -> None:
    for why in NOT_RUN.values():
        for word in why.split():
            if word.startswith("tests/"):
                assert (Path(__file__).parents[2] / word).exists(), word
