"""The golden clip through the C on every target: int8 with the bits of the reference, float32 within 1e-4 of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from fragments import PROGRAMS
from frames import fnv1a
from models import Drawn, Frames, draw
from numpy.typing import NDArray
from targets import TARGETS, ProgramError, Target, call, compile_object, missing, run

from uva_edge import Bundle
from uva_edge.runtimes.native import reference
from uva_edge.runtimes.native.source import Source

FLOAT_FRAMES: Final = 6
"""An emulated processor takes a second for a frame in floats."""
STEP: Final = 13
LEVELS: Final = {"aarch64-dotprod": "-O3"}
KERNELS: Final = {
    "aarch64": ("portable", "neon"),
    "aarch64-dotprod": ("neon_dotprod", "neon"),
}
"""Of int8 and float32; "portable" for both on the other targets that are not this machine."""


@dataclass(frozen=True)
class Found:
    """What `programs/golden_clip.c` writes."""

    kernels: str
    maps: str
    state: str
    samples: NDArray[np.float32]


@pytest.fixture(scope="module")
def network() -> Drawn:
    return draw(resolution=32)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return Bundle.shipped("uva-32").golden().frames


@pytest.fixture(scope="module")
def expected(network: Drawn, frames: Frames) -> tuple[str, str]:
    """Hashes of the maps and of the state, by the numpy reference."""
    maps, state = [], None
    for frame in frames:
        saliency, state = reference.step(network.integers, frame, state)
        maps.append(saliency)
    assert state is not None
    assert np.std(maps) > 0.01
    features = state.astype(np.float32) * np.float32(network.integers.state_scale)
    found = np.stack(maps), np.ascontiguousarray(features.transpose(2, 0, 1))
    return f"{fnv1a(found[0].tobytes()):016x}", f"{fnv1a(found[1].tobytes()):016x}"


def golden_clip(target: Target, network: Drawn, precision: str, frames: Frames, folder: Path) -> Found:
    source = network.source(precision)
    source.write(folder)
    (folder / "golden_clip.h").write_text(_header(source, network, frames), encoding="utf-8")
    files = [PROGRAMS / "golden_clip.c", folder / f"{source.stem}.c"]
    lines = run(target, files, folder, (LEVELS.get(target.name, "-O2"),)).decode().split()
    bits = np.array([int(line, 16) for line in lines[3:]], np.uint64).astype(np.uint32)
    return Found(*lines[:3], bits.view(np.float32).reshape(len(frames), -1))


def _kernels(target: Target) -> tuple[str, str]:
    return KERNELS.get(target.name, ("portable", "portable"))


def _header(source: Source, network: Drawn, frames: Frames) -> str:
    topology = network.topology
    rows = ",\n".join(f"{{{','.join(map(str, frame.reshape(-1).tolist()))}}}" for frame in frames)
    return (
        f'#include "{source.stem}.h"\n'
        f"enum {{ GOLDEN_FRAMES = {len(frames)}, GOLDEN_PIXELS = {topology.resolution**2}, GOLDEN_STEP = {STEP} }};\n"
        f"enum {{ GOLDEN_FEATURES = {topology.quarter**2 * topology.features} }};\n"
        f"static const uint8_t golden_frames[GOLDEN_FRAMES][GOLDEN_PIXELS * 3] = {{\n{rows}}};\n"
    )


def test_int8_has_the_bits_of_the_reference(
    target: Target, network: Drawn, frames: Frames, expected: tuple[str, str], tmp_path: Path
) -> None:
    found = golden_clip(target, network, "int8", frames, tmp_path)
    assert (found.maps, found.state) == expected
    assert target.tools == "" or found.kernels == _kernels(target)[0]


def test_float32_is_within_1e_4_of_torch(
    target: Target, network: Drawn, frames: Frames, tmp_path: Path
) -> None:
    frames = frames[:FLOAT_FRAMES]
    with torch.inference_mode():
        start = network.step.network.features(torch.from_numpy(frames[:1]))
        maps = network.step(torch.from_numpy(frames), start)[0].numpy()
    found = golden_clip(target, network, "fp32", frames, tmp_path)
    samples = maps.reshape(len(frames), -1)[:, ::STEP][:, : found.samples.shape[1]]
    np.testing.assert_allclose(found.samples, samples, atol=1e-4, rtol=0)
    assert samples.std() > 0.01
    assert target.tools == "" or found.kernels == _kernels(target)[1]


@pytest.mark.parametrize("name", ["aarch64", "aarch64-dotprod"])
def test_dot_products_are_where_the_kernels_say(name: str, network: Drawn, tmp_path: Path) -> None:
    target = TARGETS[name]
    if reason := missing(target):
        pytest.skip(reason)
    source = network.source("int8")
    source.write(tmp_path)
    obj = compile_object(target, tmp_path / f"{source.stem}.c", tmp_path, ("-O3",))
    listing = call([f"{target.tools}objdump", "-d", obj.name], tmp_path).decode()
    dots = len(re.findall(r"\tsdot\t", listing))
    assert (b"neon_dotprod\0" in obj.read_bytes()) == (dots > 0) == (name == "aarch64-dotprod")


@pytest.mark.parametrize(
    ("precision", "flags", "kernels"),
    [
        ("int8", ("-mavx512f", "-mavx512bw", "-mavx512vnni"), "avx512_vnni"),
        ("int8", ("-mavx512f",), "avx2"),
        ("int8", ("-mavx2", "-mavxvnni"), "avx_vnni"),
        ("int8", ("-mavx2",), "avx2"),
        ("int8", (), "portable"),
        ("fp32", ("-mavx512f",), "avx512"),
        ("fp32", ("-mavx2", "-mfma"), "avx2"),
        ("fp32", ("-mavx2", "-mno-fma"), "portable"),
    ],
)
def test_a_processor_gets_its_kernels(
    host: Target, network: Drawn, precision: str, flags: tuple[str, ...], kernels: str, tmp_path: Path
) -> None:
    try:
        call([host.compiler, "-mavxvnni", "-E", "/dev/null"], tmp_path)
    except ProgramError:
        pytest.skip(f"{host.compiler} is not for x86, or does not know AVX-VNNI")
    source = network.source(precision)
    source.write(tmp_path)
    obj = compile_object(host, tmp_path / f"{source.stem}.c", tmp_path, ("-O1", *flags))
    named = {"avx512_vnni", "avx_vnni", "avx512", "avx2", "neon_dotprod", "neon", "portable"}
    assert {name for name in named if f"\0{name}\0".encode() in obj.read_bytes()} == {kernels}
