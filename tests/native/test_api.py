"""Every function of the header, by what it promises: states, arenas, errors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import numpy as np
import pytest
from models import Drawn, Guarded, Library, Stream, compile_library, draw, moving
from numpy.typing import NDArray
from targets import STRICT

from uva_edge.runtimes.native.compiled import Info
from uva_edge.runtimes.native.source import ABI_VERSION, Facts

NULL, SIZE, STRIDE, RANGE, ARENA, STATE, ALIGN = range(-1, -8, -1)
SIDE: Final = 32
FRAMES: Final = moving(SIDE, 6)


@pytest.fixture(scope="module")
def network() -> Drawn:
    return draw(resolution=SIDE)


@pytest.fixture(scope="module")
def compiled(network: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Library]:
    @cache
    def made(precision: str) -> Library:
        folder = tmp_path_factory.mktemp(precision)
        return compile_library(
            network.source(precision), network.topology, folder, ("gcc", *STRICT, "-O2", "-march=native")
        )

    return made


@pytest.fixture(params=["int8", "fp32"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def library(compiled: Callable[[str], Library], precision: str) -> Library:
    return compiled(precision)


@pytest.fixture
def stream(library: Library) -> Stream:
    return library.stream()


@pytest.fixture(scope="module")
def expected(compiled: Callable[[str], Library]) -> Callable[[str], NDArray[np.float32]]:
    """Maps of `FRAMES` by a stream that nothing happens to."""
    return cache(lambda precision: compiled(precision).clip(FRAMES))


def step_of(stream: Stream, frame: NDArray[np.uint8]) -> int:
    """The status of a step, for states that are no streams."""
    rgb = Guarded(frame.size)
    rgb.bytes[:] = frame.reshape(-1)
    status: int = stream.library.function("step")(stream.state.pointer, rgb.pointer, stream.map.pointer)
    return status


def calls_with(stream: Stream, state: ctypes.c_void_p) -> dict[str, Callable[[], int]]:
    """All functions that take a state, called with this one and otherwise rightly."""
    function, arena = stream.library.function, stream.arena.pointer
    size = ctypes.c_size_t(stream.library.arena_bytes)
    rgb, features = Guarded(SIDE * SIDE * 3), Guarded(int(np.prod(stream.library.features)) * 4)
    return {
        "init": lambda: function("init")(state, arena, size),
        "reset": lambda: function("reset")(state),
        "move": lambda: function("move")(state, arena, size),
        "step": lambda: function("step")(state, rgb.pointer, stream.map.pointer),
        "save": lambda: function("save")(state, features.pointer),
        "restore": lambda: function("restore")(state, features.pointer),
    }


# --- what a model is ----------------------------------------------------------------------------------------


def test_a_model_says_what_it_is(network: Drawn, library: Library, precision: str) -> None:
    function = library.function("model_info")
    function.restype = ctypes.POINTER(Info)
    info: Any = function().contents
    topology = network.topology
    assert (info.bundle, info.sha256, info.precision) == (b"drawn", b"0" * 64, precision.encode())
    assert (info.rows, info.columns) == (SIDE, SIDE)
    assert (info.features, info.state_rows, info.state_columns) == library.features
    assert library.function("abi_version")() == ABI_VERSION == 1

    constants = network.integers if precision == "int8" else (topology, network.parameters)
    facts = Facts.of(constants)
    assert info.macs == facts.macs
    assert library.state_bytes == facts.state_bytes
    assert facts.arena_bytes - 64 <= library.arena_bytes <= facts.arena_bytes


def test_every_status_has_words_of_its_own(library: Library) -> None:
    strerror = library.function("strerror")
    words = [strerror(status) for status in range(0, -8, -1)]
    assert len(set(words)) == len(words)
    assert {strerror(status) for status in (1, -8, 2**31 - 1, -(2**31))} == {b"unknown status"}
    assert b"unknown status" not in words


# --- what is refused ----------------------------------------------------------------------------------------


def test_null(library: Library, stream: Stream) -> None:
    size = ctypes.c_size_t(library.arena_bytes)
    state, memory = stream.state.pointer, Guarded(SIDE * SIDE * 4).pointer
    for name, call in calls_with(stream, ctypes.c_void_p(None)).items():
        assert call() == NULL, name
    for name in ("init", "move"):
        assert library.function(name)(state, None, size) == NULL, name
    assert library.function("step")(state, None, memory) == NULL
    assert library.function("step")(state, memory, None) == NULL
    step_of(stream, FRAMES[0])
    assert library.function("save")(state, None) == NULL
    assert library.function("restore")(state, None) == NULL


@pytest.mark.parametrize("offset", [1, 4, 8])
def test_misaligned_memory(library: Library, stream: Stream, offset: int) -> None:
    moved = ctypes.c_void_p(stream.state.bytes.ctypes.data + offset)
    for name, call in calls_with(stream, moved).items():
        assert call() == ALIGN, name
    size = ctypes.c_size_t(library.arena_bytes)
    arena = ctypes.c_void_p(stream.arena.bytes.ctypes.data + offset)
    for name in ("init", "move"):
        assert library.function(name)(stream.state.pointer, arena, size) == ALIGN, name


@pytest.mark.parametrize("missing", [1, 16, None])
def test_a_small_arena(library: Library, stream: Stream, missing: int | None) -> None:
    size = 0 if missing is None else library.arena_bytes - missing
    first = stream.step(FRAMES[0])
    before = stream.state.bytes.copy()
    for name in ("init", "move"):
        function = library.function(name)
        assert function(stream.state.pointer, stream.arena.pointer, ctypes.c_size_t(size)) == ARENA, name
    np.testing.assert_array_equal(stream.state.bytes, before)
    stream.library.function("reset")(stream.state.pointer)
    np.testing.assert_array_equal(stream.step(FRAMES[0]), first)


@pytest.mark.parametrize("content", ["zeros", "ones", "noise"])
def test_a_state_that_was_not_initialised(stream: Stream, content: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, stream.library.state_bytes)
    stream.state.bytes[:] = {"zeros": 0, "ones": 255, "noise": noise}[content]
    before = stream.state.bytes.copy()
    for name, call in calls_with(stream, stream.state.pointer).items():
        if name != "init":
            assert call() == STATE, name
    np.testing.assert_array_equal(stream.state.bytes, before)


def test_there_is_nothing_to_save_before_the_first_frame(library: Library, stream: Stream) -> None:
    features = Guarded(int(np.prod(library.features)) * 4)
    before = features.bytes.copy()
    for _ in range(2):
        assert library.function("save")(stream.state.pointer, features.pointer) == STATE
        np.testing.assert_array_equal(features.bytes, before)
        stream.step(FRAMES[0])
        assert library.function("reset")(stream.state.pointer) == 0


# --- what a stream remembers --------------------------------------------------------------------------------


def test_the_past_matters(stream: Stream) -> None:
    """Without which the tests below would pass for a model that remembers nothing."""
    alone = stream.library.stream().step(FRAMES[3])
    stream.step(FRAMES[0])
    assert np.abs(stream.step(FRAMES[3]) - alone).max() > 1e-3


def test_reset_is_fresh(
    stream: Stream, expected: Callable[[str], NDArray[np.float32]], precision: str
) -> None:
    for frame in FRAMES[::-1]:
        stream.step(frame)
    assert stream.library.function("reset")(stream.state.pointer) == 0
    np.testing.assert_array_equal([stream.step(frame) for frame in FRAMES], expected(precision))


def test_init_is_fresh(
    stream: Stream, expected: Callable[[str], NDArray[np.float32]], precision: str
) -> None:
    stream.step(FRAMES[5])
    size = ctypes.c_size_t(stream.library.arena_bytes)
    assert stream.library.function("init")(stream.state.pointer, stream.arena.pointer, size) == 0
    np.testing.assert_array_equal([stream.step(frame) for frame in FRAMES], expected(precision))


def test_move_keeps_the_past(
    stream: Stream, expected: Callable[[str], NDArray[np.float32]], precision: str
) -> None:
    move, maps = stream.library.function("move"), []
    for index, frame in enumerate(FRAMES):
        arena = Guarded(stream.library.arena_bytes)
        arena.bytes[:] = 255 * (index % 2)  # what lies in an arena is nothing to anyone
        assert move(stream.state.pointer, arena.pointer, ctypes.c_size_t(arena.bytes.size)) == 0
        stream.arena.bytes[:] = 0xEE
        maps.append(stream.step(frame))
        arena.check()
        assert (stream.arena.bytes == 0xEE).all(), "the old arena was written"
        stream.arena = arena
    np.testing.assert_array_equal(maps, expected(precision))


def test_one_arena_serves_streams_in_turn(
    library: Library, expected: Callable[[str], NDArray[np.float32]], precision: str
) -> None:
    one, two = library.stream(), library.stream()
    size = ctypes.c_size_t(library.arena_bytes)
    assert library.function("move")(two.state.pointer, one.arena.pointer, size) == 0
    other = library.clip(FRAMES[::-1])
    for index, frame in enumerate(FRAMES):
        np.testing.assert_array_equal(one.step(frame), expected(precision)[index])
        np.testing.assert_array_equal(two.step(FRAMES[::-1][index]), other[index])


def test_a_restored_stream_goes_on(
    stream: Stream, expected: Callable[[str], NDArray[np.float32]], precision: str
) -> None:
    for frame in FRAMES[:3]:
        stream.step(frame)
    saved, other = stream.save(), stream.library.stream()
    other.step(FRAMES[5])
    other.restore(saved)
    np.testing.assert_array_equal(other.save(), saved)
    tolerance = 0 if precision == "int8" else 1e-6
    maps = [other.step(frame) for frame in FRAMES[3:]]
    np.testing.assert_allclose(maps, expected(precision)[3:], atol=tolerance, rtol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_any_state_can_be_restored(
    stream: Stream, value: float, expected: Callable[[str], NDArray[np.float32]], precision: str
) -> None:
    """Maps stay within [0, 1], and two frames later there is nothing left of it."""
    stream.restore(np.full(stream.library.features, value, np.float32))
    found = stream.step(FRAMES[0])
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_array_equal([stream.step(frame) for frame in FRAMES[1:]], expected(precision)[1:])


def test_int8_saturates_what_is_restored(network: Drawn, compiled: Callable[[str], Library]) -> None:
    stream = compiled("int8").stream()
    scale = np.float32(network.integers.state_scale)
    values = np.zeros(stream.library.features, np.float32)
    given = np.array([np.nan, np.inf, -np.inf, 1.4 * scale, -1.6 * scale, 1e9], np.float32)
    values.reshape(-1)[:6] = given
    stream.restore(values)
    found = stream.save().reshape(-1) / scale
    np.testing.assert_allclose(found[:6], [32767, 32767, -32768, 1, -2, 32767], rtol=1e-6)
    assert not found[6:].any()


def test_streams_run_in_threads(compiled: Callable[[str], Library], precision: str) -> None:
    """ctypes lets go of Python's lock during a call."""
    library = compiled(precision)
    clips = [moving(SIDE, 12, seed=seed) for seed in range(4)]
    expected = [library.clip(clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, maps in zip(pool.map(library.clip, clips), expected, strict=True):
                np.testing.assert_array_equal(found, maps)


def test_a_clip_is_frame_after_frame(
    library: Library, stream: Stream, precision: str, expected: Callable[[str], NDArray[np.float32]]
) -> None:
    maps = Guarded(len(FRAMES) * SIDE**2 * 4)
    rgb = np.ascontiguousarray(FRAMES)
    pointer, clip = ctypes.c_void_p(rgb.ctypes.data), library.function("clip")
    assert clip(stream.state.pointer, pointer, ctypes.c_int32(len(FRAMES)), maps.pointer) == 0
    maps.check()
    np.testing.assert_array_equal(maps.bytes.view(np.float32).reshape(-1, SIDE, SIDE), expected(precision))
    for frames in (0, -1):
        assert clip(stream.state.pointer, pointer, ctypes.c_int32(frames), maps.pointer) == SIZE
    assert clip(stream.state.pointer, None, ctypes.c_int32(1), maps.pointer) == NULL
    assert clip(stream.state.pointer, pointer, ctypes.c_int32(1), None) == NULL
    assert clip(None, pointer, ctypes.c_int32(1), maps.pointer) == NULL
