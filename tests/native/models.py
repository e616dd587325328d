"""Networks with drawn weights, their C, and the C as functions that take arrays."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from targets import call

from uva_edge.export.bundles import contract_of
from uva_edge.export.native_int8 import Setting, quantise
from uva_edge.export.native_ranges import ranges_of
from uva_edge.manifest import Network
from uva_edge.models.checkpoint import checkpoint_bytes
from uva_edge.models.clip_step import ClipStep, folded
from uva_edge.models.uva_net import UvaNet, UvaNetConfig
from uva_edge.runtimes.native.constants import Constants
from uva_edge.runtimes.native.integers import Integers
from uva_edge.runtimes.native.parameters import read_parameters
from uva_edge.runtimes.native.source import Origin, Source, generate
from uva_edge.runtimes.native.topology import Topology

ORIGIN: Final = Origin("drawn", "0" * 64, ("A network with drawn weights.",))
Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Drawn:
    """A network and what its C is made of."""

    step: ClipStep
    topology: Topology
    parameters: dict[str, NDArray[np.float32]]
    integers: Integers

    def source(self, precision: str) -> Source:
        constants: Constants = self.integers if precision == "int8" else (self.topology, self.parameters)
        return generate(constants, ORIGIN)


def draw(seed: int = 0, **options: Any) -> Drawn:
    """A network of such a configuration, quantised on a clip like those it is tested with."""
    torch.manual_seed(seed)
    network = UvaNet(UvaNetConfig(**options))
    _normalise(network)
    contract = contract_of(network)
    topology = Topology.of(Network("uva-net", dict(network.config.options()), 1, 1), contract)
    parameters = read_parameters(checkpoint_bytes(network, {}), topology)
    ranges = ranges_of(folded(network), topology, [moving(contract.resolution, 6, seed=99)])
    integers = quantise(topology, parameters, ranges, Setting(1.0))
    return Drawn(ClipStep(network).eval(), topology, parameters, integers)


def _normalise(network: UvaNet) -> None:
    """Leaves batch norms what they see, and a little else: with statistics that are drawn too, every layer is weaker
    than the one before it, and a map hardly depends on its frame."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of all that it sees
    clip = torch.from_numpy(moving(network.config.resolution, 8, seed=98))
    with torch.no_grad():
        network.train()
        ClipStep(network).train()(clip, network.features(clip[:1]))
        network.eval()
        for norm in norms:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean += 0.1 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt()
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 1.5)


def moving(side: int, count: int, seed: int = 0) -> Frames:
    """A smooth picture that drifts, and noise: uint8 [T, R, R, 3]."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (side // 4 + count, side // 4 + count, 3))
    large = np.kron(coarse, np.ones((4, 4, 1), np.int64))
    clip = np.stack([large[t : t + side, 2 * t : 2 * t + side] for t in range(count)])
    return np.clip(clip + draw.integers(-9, 10, clip.shape), 0, 255).astype(np.uint8)


class Library:
    """A compiled model; memory around everything that it writes is watched."""

    def __init__(self, path: Path, stem: str, topology: Topology) -> None:
        library = ctypes.CDLL(str(path))
        self.side = topology.resolution
        self.features = (topology.features, topology.quarter, topology.quarter)
        self._library, self._stem = library, stem
        for name in ("state_size", "arena_size"):
            self.function(name).restype = ctypes.c_size_t
        self.function("strerror").restype = ctypes.c_char_p
        self.state_bytes = self.function("state_size")()
        self.arena_bytes = self.function("arena_size")()

    def function(self, name: str) -> Any:
        return getattr(self._library, f"{self._stem}_{name}")

    def clip(self, frames: Frames) -> NDArray[np.float32]:
        """Maps of a stream, one frame after the other."""
        stream = self.stream()
        return np.stack([stream.step(frame) for frame in frames])

    def stream(self) -> Stream:
        return Stream(self)


class Guarded:
    """An array with 64 bytes on each side that nobody may write."""

    def __init__(self, size: int) -> None:
        self._memory = np.full(size + 256, 0xA5, np.uint8)
        start = 64 + (-(self._memory.ctypes.data + 64)) % 64
        self._start, self._size = start, size
        self.bytes = self._memory[start : start + size]

    @property
    def pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.bytes.ctypes.data)

    def check(self) -> None:
        before, after = self._memory[: self._start], self._memory[self._start + self._size :]
        assert (before == 0xA5).all(), "written in front of a buffer"
        assert (after == 0xA5).all(), "written behind a buffer"


class Stream:
    """One state of a library, with an arena of its own."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.state, self.arena = Guarded(library.state_bytes), Guarded(library.arena_bytes)
        self.map = Guarded(library.side**2 * 4)
        size = ctypes.c_size_t(library.arena_bytes)
        assert library.function("init")(self.state.pointer, self.arena.pointer, size) == 0

    def step(self, frame: Frames) -> NDArray[np.float32]:
        rgb = Guarded(frame.size)
        rgb.bytes[:] = frame.reshape(-1)
        assert self.library.function("step")(self.state.pointer, rgb.pointer, self.map.pointer) == 0
        for buffer in (self.state, self.arena, self.map, rgb):
            buffer.check()
        assert (rgb.bytes == frame.reshape(-1)).all()
        side = self.library.side
        return self.map.bytes.view(np.float32).reshape(side, side).copy()

    def save(self) -> NDArray[np.float32]:
        features = Guarded(int(np.prod(self.library.features)) * 4)
        assert self.library.function("save")(self.state.pointer, features.pointer) == 0
        features.check()
        return features.bytes.view(np.float32).reshape(self.library.features).copy()

    def restore(self, features: NDArray[np.float32]) -> None:
        values = np.ascontiguousarray(features)
        pointer = ctypes.c_void_p(values.ctypes.data)
        assert self.library.function("restore")(self.state.pointer, pointer) == 0


def compile_library(source: Source, topology: Topology, folder: Path, command: tuple[str, ...]) -> Library:
    """The shared library of a model by a compiler with its flags."""
    folder.mkdir(parents=True, exist_ok=True)
    source.write(folder)
    built = folder / "model.so"
    call([*command, "-fPIC", "-shared", f"{source.stem}.c", "-o", str(built)], folder)
    return Library(built, source.stem, topology)
