"""What exports are tried with: the shipped uva-32, and a flight to calibrate with and to be judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.data.synthetic import AerialScene
from uva_edge.runtimes import SaliencyPredictor

if TYPE_CHECKING:
    from uva_edge.data.footage import Footage
    from uva_edge.export.artifacts import Material, Splits


@pytest.fixture(scope="session")
def footage(scene: AerialScene) -> Callable[..., Footage]:
    """Pieces of the flight; people look at a still as the float network says that they do."""
    from uva_edge.data.footage import Footage, LabelledFrame

    def piece(kind: Any, frames: int, start: int, *, moves: bool = True) -> Footage:
        def read() -> Iterator[LabelledFrame]:
            for index in range(frames):
                image = scene.frame(start + (index if moves else 0)).image
                yield LabelledFrame(image, fixations=_looked_at(image) if kind == "still" else None)

        return Footage(f"{kind}-{start}", "flight", kind, (), read)

    return piece


def _looked_at(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """200 fixations of its density: its peaks alone would be lost by whatever moves them a little."""
    with SaliencyPredictor("uva-32", backend="onnxruntime") as predictor:
        density = predictor.predict(image).map.astype(np.float64).ravel()
    cells = np.random.default_rng(0).choice(density.size, 200, p=density / density.sum())
    return np.stack([cells % 32 + 0.5, cells // 32 + 0.5], axis=1).astype(np.float32) / 32


@pytest.fixture(scope="session")
def splits(footage: Callable[..., Footage]) -> Splits:
    from uva_edge.export.artifacts import Splits

    train = [footage("video", 20, 100 * index) for index in range(5)]
    train += [footage("still", 1, 100 * index + 50) for index in range(3)]
    val = [footage("video", 24, 1000 + 100 * index) for index in range(3)]
    val += [footage("still", 1, 1050 + 40 * index) for index in range(6)]
    return Splits(lambda: train, lambda: val)


@pytest.fixture(scope="session")
def material(splits: Splits) -> Material:
    """The shipped uva-32 on its way into a bundle; what several tests need is made once."""
    from uva_edge.export.artifacts import Material
    from uva_edge.export.bundles import exportable

    return Material(exportable("uva-32"), splits)


@pytest.fixture(scope="session")
def contract(material: Material) -> Any:
    return material.subject.contract
