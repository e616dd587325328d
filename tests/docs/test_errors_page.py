"""docs/errors.md has the words of the sources, and for many of them the error is really raised."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from doc_pages import ROOT
from error_literals import given_by, of_page, templates, tokens

import uva_edge
from uva_edge import Bundle, SaliencyPredictor, network_input
from uva_edge.cli import main
from uva_edge.runtimes.sources import open_source

PAGE = ROOT / "docs" / "errors.md"
LITERALS = [
    " ".join(literal.split())
    for literal in re.findall(r"\*\*`([^`]+)`\*\*", PAGE.read_text(encoding="utf-8"))
]
FRAME = np.zeros((48, 64, 3), np.uint8)


def command(*words: str) -> str:
    """What a command that fails says, without the name in front."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1, result.output
    return result.stderr.splitlines()[-1].removeprefix("uva-edge: ")


def predictor(**options: Any) -> SaliencyPredictor:
    return SaliencyPredictor("uva-32", **{"backend": "onnxruntime", **options})


def closed_predictor() -> None:
    opened = predictor()
    opened.close()
    opened.predict(FRAME)


def closed_stream() -> None:
    with predictor() as opened:
        stream = opened.stream()
        stream.close()
        stream.push(FRAME)


def batch_of_another_length() -> None:
    with predictor() as opened:
        opened.stream_batch(3).push([FRAME])


# the literal: what raises it, in a directory that has a bundle `own` and a video `flight.mp4`
RAISED: dict[str, Callable[[], object]] = {
    "a bgr frame has dtype uint8; got float32": lambda: network_input(FRAME.astype(np.float32), 32),
    "a bgr frame is a numpy array of uint8; got NoneType...": lambda: network_input(None, 32),  # type: ignore[arg-type]
    "a bgr frame is uint8 [H, W, 3]; got shape ...": lambda: network_input(FRAME[..., :2], 32),
    "a ... frame has at least one pixel; got shape ...": lambda: network_input(FRAME[:0], 32),
    "a ... frame in one array is uint8 ...; got shape ...": lambda: network_input(
        np.zeros((9, 5), np.uint8), 32, color="nv12"
    ),
    "yuyv packs two pixels in four bytes, so W is even; got shape ...": lambda: network_input(
        np.zeros((4, 5, 2), np.uint8), 32, color="yuyv"
    ),
    "push takes one frame for each of the ... streams, None for one that has none; got ...": batch_of_another_length,
    "threads must be from 1 to ..., the cores that this process may use; got ...": lambda: predictor(
        threads=10**6
    ),
    "backend must be one of auto, fastest, ...; got ...": lambda: predictor(backend="cudnn"),
    "precision must be one of ...; got ...": lambda: predictor(precision="fp8"),
    "color must be one of ...; got ...": lambda: network_input(FRAME, 32, color="hsv"),  # type: ignore[arg-type]
    '"..." is a bundle that ships with uva_edge and a directory here; ...': lambda: (
        Path("own").rename("uva-32"),
        Bundle.open("uva-32"),
    ),
    "--size must be WIDTHxHEIGHT, such as 960x540; got ...": lambda: command("demo", "--size", "12"),
    "--save takes ..., separated by commas; got ...": lambda: command(
        "predict", "flight.mp4", "--save", "gif"
    ),
    "raw video needs both --format and --size, ...": lambda: command("predict", "-", "--format", "nv12"),
    "standard input has no header; ...": lambda: command("predict", "-"),
    "--resume is for a folder of videos; ... is none": lambda: command("predict", "flight.mp4", "--resume"),
    "... is for one source; ... is a folder of videos": lambda: command("predict", ".", "--latest"),
    "fps is for images and raw video, which have no clock; ...": lambda: open_source("flight.mp4", fps=5),
    "the latest frame is of what is live; ... is a file, whose frames all count": lambda: open_source(
        "flight.mp4", latest=True
    ),
    "... does not exist; check the path": lambda: open_source("absent.mp4"),
    "... can't be decoded; ...": lambda: (
        Path("garbage.mp4").write_bytes(b"no video" * 99),
        open_source("garbage.mp4"),
    ),
    "... is empty (0 bytes); copy or record it again": lambda: (
        Path("empty.mp4").touch(),
        open_source("empty.mp4"),
    ),
    "... is a folder without images; expected files ending in ...": lambda: open_source("own"),
    "... holds neither images nor videos; expected files ending in ...": lambda: command("predict", "own"),
    "...: the scheme ... is not supported; expected one of ...": lambda: open_source("gopher://host/clip"),
    "...: the directory can't be made: ...; choose another -o": lambda: command(
        "predict", "flight.mp4", "-o", "flight.mp4"
    ),
    "...; expected a directory, a .zip, or a bundle that ships: ...": lambda: Bundle.open("uva-65"),
    "expected sha256 ..., got ...; ...": lambda: damaged(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "expected ... bytes, got ...; ...": lambda: damaged(lambda data: data[:-1]),
    "expected a file, got none; ...": lambda: (
        Path("own/network.safetensors").unlink(),
        Bundle.open("./own").verify(),
    ),
    "...: missing; expected ...": lambda: manifest(r'"name": "[^"]*",', ""),
    "...: unknown field; expected only ...": lambda: manifest(r'"name":', '"nickname": 1, "name":'),
    "path: expected a relative path inside the bundle, ...": lambda: manifest(
        r'"path": "network.safetensors"', '"path": "../network.safetensors"'
    ),
    "schema_version: the bundle is of version ..., this uva_edge reads version ...; ...": lambda: manifest(
        r'"schema_version": \d+', '"schema_version": 999'
    ),
    "this SaliencyPredictor was closed; make a new one": closed_predictor,
    "this Stream was closed; ...": closed_stream,
    "no backend can run bundle ... at precision ... here:...": lambda: SaliencyPredictor(
        "uva-32", precision="bf16"
    ),
}


def damaged(change: Callable[[bytes], bytes]) -> None:
    path = Path("own/network.safetensors")
    path.write_bytes(change(path.read_bytes()))
    Bundle.open("./own").verify()


def manifest(pattern: str, new: str) -> None:
    path = Path("own/bundle.json")
    text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"), count=1)
    assert count == 1, pattern
    path.write_text(text, encoding="utf-8")
    Bundle.open("./own").verify()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = Path(Bundle.shipped("uva-32").location)
    (tmp_path / "own").mkdir()
    for path in shipped.rglob("*"):
        if path.is_file():
            target = tmp_path / "own" / path.relative_to(shipped)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    writer = cv2.VideoWriter("flight.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 48))
    for _ in range(3):
        writer.write(FRAME)
    writer.release()


@pytest.mark.parametrize("literal", LITERALS)
def test_the_words_are_those_of_the_sources(literal: str) -> None:
    asked = of_page(literal)
    assert any(given_by(asked, template) for template in templates()), f"no source says {literal!r}"


def test_other_words_are_not_found() -> None:
    for literal in ("a bgr frame has another dtype", "threads must be many, got ...", "... was eaten by ..."):
        asked = of_page(literal)
        assert not any(given_by(asked, template) for template in templates()), literal


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("literal", RAISED)
def test_the_error_is_raised(literal: str) -> None:
    assert literal in LITERALS, f"docs/errors.md does not tell of {literal!r}"
    try:
        message = RAISED[literal]()
    except uva_edge.UvaEdgeError as error:
        message = str(error)
    assert isinstance(message, str), "nothing was raised"
    pattern = ".*?".join(re.escape(part) for part in literal.split("..."))
    assert re.search(pattern, " ".join(message.split()), re.DOTALL), message


def test_there_are_enough_of_them() -> None:
    assert len(LITERALS) >= 40
    assert len(RAISED) >= len(LITERALS) / 3


def test_every_entry_says_what_to_do() -> None:
    for entry in re.split(r"\n(?=\*\*`)", PAGE.read_text(encoding="utf-8"))[1:]:
        told = entry.split("\n\n")[0].partition("**:")[2] or entry.rpartition("): ")[2]
        assert len(tokens(told)) >= 5, entry


def test_the_classes_that_are_named_exist() -> None:
    for name in re.findall(r"`(\w+Error)`", PAGE.read_text(encoding="utf-8")):
        assert issubclass(getattr(uva_edge.errors, name), uva_edge.UvaEdgeError), name
