"""Device profiles: what a file may say, and what it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from uva_edge.errors import DataError
from uva_edge.runtimes.bench.profile import Floors, read_profile
from uva_edge.runtimes.bench.speed import missed_floors

SHIPPED = sorted((Path(__file__).parents[2] / "profiles").glob("*.toml"))


def profile(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "device.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_examples_can_be_read(path: Path) -> None:
    found = read_profile(path)
    assert found.name
    assert found.floors.bounds()


def test_there_are_examples() -> None:
    assert SHIPPED


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    found = read_profile(profile(tmp_path, 'name = "board"'))
    assert (found.bundle, found.backend, found.precision, found.threads) == ("uva-64", "auto", "auto", 1)
    assert found.floors == Floors()
    assert found.floors.bounds() == {}


def test_floors_are_bounds_of_figures(tmp_path: Path) -> None:
    text = (
        'name = "board"\n[floors]\nmin_fps = 30\nmax_p99_ms = 20.5\nmax_joules_per_frame = 0.1\nmin_nss = 1\n'
    )
    floors = read_profile(profile(tmp_path, text)).floors
    assert floors.bounds() == {
        "fps": (">=", 30.0),
        "total_p99_ms": ("<=", 20.5),
        "joules_per_frame": ("<=", 0.1),
    }
    assert floors.min_nss == 1
    assert missed_floors({"fps": 30, "total_p99_ms": 20.5, "joules_per_frame": 0.1}, floors.bounds()) == []
    missed = missed_floors({"fps": 29.9, "total_p99_ms": 21}, floors.bounds())
    assert [line.split()[0] for line in missed] == ["fps", "total_p99_ms", "joules_per_frame"]
    assert "can't be measured here" in missed[2], "what was not measured is not kept"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "name"),
        ('name = "board"\nthread = 1', "thread"),
        ('name = "board"\nthreads = 0', "threads"),
        ('name = "board"\ncolor = "cmyk"', "color: expected one of bgr"),
        ('name = "board"\nsize = [1920]', "size"),
        ('name = "board"\n[floors]\nmin_fps = 0', "floors.min_fps: expected a number above 0"),
        ('name = "board"\n[floors]\nmin_fps = nan', "floors.min_fps"),
        ('name = "board"\n[floors]\nmax_fps = 3', "max_fps"),
        ("name = ", "in TOML"),
    ],
)
def test_what_is_no_profile(text: str, words: str, tmp_path: Path) -> None:
    path = profile(tmp_path, text)
    with pytest.raises(DataError, match=r"device\.toml") as raised:
        read_profile(path)
    assert words in str(raised.value)


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a device profile in TOML"):
        read_profile(tmp_path / "none.toml")
