"""An ensemble is the mean of densities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.errors import OptionError
from uva_edge.models.teachers.ensemble import Ensemble
from uva_edge.models.teachers.registry import build_teacher
from uva_edge.models.teachers.teacher import Size, Teacher


@dataclass
class Fixed:
    """A teacher that always gives the same map."""

    map: NDArray[np.float32]
    name: str = "fixed"

    @property
    def resolution(self) -> Size:
        return self.map.shape[0], self.map.shape[1]

    def predict(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.repeat(self.map[None], len(frames), axis=0)


FRAMES = np.zeros((3, 8, 8, 3), np.uint8)


def point(y: int, x: int, size: Size = (4, 6)) -> Fixed:
    map_ = np.zeros(size, np.float32)
    map_[y, x] = 1
    return Fixed(map_, f"at{y}{x}")


def test_densities_are_averaged_not_peaks() -> None:
    """A flat map has the same peak as a point, but at no place the same density."""
    flat = Fixed(np.ones((4, 6), np.float32), "flat")
    ensemble: Teacher = Ensemble([point(1, 2), flat])
    assert ensemble.name == "at12+flat"
    assert ensemble.resolution == (4, 6)
    maps = ensemble.predict(FRAMES)
    assert maps.dtype == np.float32
    assert maps.shape == (3, 4, 6)
    expected = np.full((4, 6), (1 / 24) / (1 + 1 / 24))
    expected[1, 2] = 1
    np.testing.assert_allclose(maps[0], expected, rtol=1e-5)


def test_weights_are_relative() -> None:
    members = [point(0, 0), point(3, 5)]
    one = Ensemble(members, [1, 3]).predict(FRAMES)
    np.testing.assert_array_equal(one, Ensemble(members, [0.5, 1.5]).predict(FRAMES))
    assert one[0, 0, 0] == pytest.approx(1 / 3)
    assert one[0, 3, 5] == 1


def test_the_finest_resolution() -> None:
    ensemble = Ensemble([point(0, 0), Fixed(np.ones((8, 12), np.float32))])
    assert ensemble.resolution == (8, 12)
    maps = ensemble.predict(FRAMES)
    assert maps.shape == (3, 8, 12)
    assert np.unravel_index(maps[0].argmax(), (8, 12)) == (0, 0)


def test_members_without_a_density() -> None:
    """A map of zeros has nothing to say; the others decide."""
    nothing = Fixed(np.zeros((4, 6), np.float32))
    np.testing.assert_array_equal(
        Ensemble([nothing, point(2, 2)]).predict(FRAMES), point(2, 2).predict(FRAMES)
    )
    assert not Ensemble([nothing]).predict(FRAMES).any()


def test_networks_as_members() -> None:
    members: list[Teacher] = [
        build_teacher(name, width=1 / 32, resolution=size)
        for name, size in (("salnet", (24, 32)), ("tsnet", (32, 48)))
    ]
    maps = Ensemble(members).predict(
        np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    )
    assert maps.shape == (3, 32, 48)
    np.testing.assert_array_equal(maps.max(axis=(1, 2)), 1)


@pytest.mark.parametrize(
    ("count", "weights", "said"),
    [
        (0, None, "got none"),
        (2, [1], "one for each of 2"),
        (2, [1, -1], "0 or more"),
        (2, [1, np.nan], "0 or more"),
        (2, [0, 0], "above 0"),
    ],
)
def test_wrong_members(count: int, weights: Sequence[Any] | None, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Ensemble([point(0, 0)] * count, weights)
