"""Fixtures that several rooms share: a real bundle of an untrained network, and the synthetic scene."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.data.synthetic import AerialScene

# OpenCV reads this once, when it opens the first video of the process, which any test may be. What a source
# prints of its own would otherwise depend on the order of the tests.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@pytest.fixture(scope="session")
def scene() -> AerialScene:
    """A flight at 320x180; building one takes a second or two, so everybody shares it."""
    return AerialScene(seed=3, size=(320, 180))


@pytest.fixture(scope="session")
def flight(scene: AerialScene) -> NDArray[np.uint8]:
    """Twelve consecutive BGR frames, [12, 180, 320, 3]."""
    return np.stack([frame.image for frame in scene.frames(12, start=40)])


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint at R = 32 of random weights and random batch statistics, so that no layer is an identity.

    The weights are drawn so that signals keep their size through the layers. With torch's own start they fade,
    and a map would hardly depend on the frame before: a backend could lose the state, and no test would see it.
    """
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    from uva_edge.models.checkpoint import save_checkpoint
    from uva_edge.models.uva_net import UvaNet, UvaNetConfig

    torch.manual_seed(5)
    network = UvaNet(UvaNetConfig(resolution=32))
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 1.5)
    network.decoder[-1].weight.data.mul_(0.25)  # maps with more than one bright spot
    path = tmp_path_factory.mktemp("untrained") / "checkpoint.safetensors"
    save_checkpoint(path, network, {"recipe": {"name": "none"}, "data": [], "teacher": ""})
    return path


@pytest.fixture(scope="session")
def tinyhd_widths() -> Any:
    """Narrow channels that fit each other: every scale of the encoder comes to six."""
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from uva_edge.models.tinyhd import Widths

    adapters = [(6, 24)] * 37
    adapters[1:4] = [(24, 24), (6, 6), (6, 1)]
    adapters[5:8] = [(6, 24), (6, 6), (6, 1)]
    adapters[11], adapters[15] = (6, 1), (6, 1)
    adapters[18], adapters[20:24] = (6, 6), [(6, 6), (6, 6), (6, 6), (6, 1)]
    adapters[24:27] = [(6, 6)] * 3
    adapters[27:33] = [(6, 8), (6, 32), (6, 64), (6, 2), (6, 8), (6, 16)]
    adapters[33:37] = [(2, 2), (8, 4), (2, 1), (1, 1)]
    return Widths((4, 4, 4, 4, 8, 8, 8, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 8), tuple(adapters))


@pytest.fixture(scope="session")
def tinyhd(tinyhd_widths: Any) -> Callable[[str], Any]:
    """A narrow TinyHD of that variant, in eval mode, random in its weights and batch statistics."""
    import torch

    from uva_edge.models.tinyhd import TinyHD

    def _tinyhd(variant: str) -> Any:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(6)
            network = TinyHD(variant, tinyhd_widths)  # type: ignore[arg-type]
            for module in network.modules():
                if isinstance(module, torch.nn.Conv3d):
                    # Less would hide the frames' part in a map, more would show the rounding of every sum.
                    torch.nn.init.kaiming_normal_(module.weight)
                    module.weight.data.mul_(0.8)
                elif isinstance(module, torch.nn.BatchNorm3d):
                    module.running_mean.normal_(0, 0.3)
                    module.running_var.uniform_(0.5, 1.5)
        return network.eval()

    return _tinyhd


@pytest.fixture(scope="session")
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of `untrained`, exported with all its gates; a runtime install takes the one that ships."""
    if importlib.util.find_spec("onnxscript") is None:
        return Bundle.shipped("uva-32")
    from uva_edge.export.bundles import export_bundle

    untrained = request.getfixturevalue("untrained")
    return export_bundle(untrained, tmp_path_factory.mktemp("bundles") / "small-32", name="small-32")


@pytest.fixture(scope="session")
def windowed(tinyhd: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of a narrow TinyHD-M at 32x64, imported with all its gates."""
    torch = pytest.importorskip("torch", reason="needs the extra 'export'")
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    from uva_edge.export.tinyhd import import_tinyhd

    root = tmp_path_factory.mktemp("windowed")
    torch.save({"student_model": tinyhd("m").state_dict()}, root / "tiny.pth")
    return import_tinyhd(root / "tiny.pth", root / "tiny-m", name="tiny-m", grid=(32, 64))
