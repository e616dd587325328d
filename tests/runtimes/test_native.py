"""What the backend native does beside the contract of all backends: it compiles, caches, shares out and refuses."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from uva_edge.bundle import Bundle
from uva_edge.environment import usable_cores
from uva_edge.errors import BackendUnavailableError, SessionError
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.backend import SessionOptions
from uva_edge.runtimes.native import build
from uva_edge.runtimes.native.backend import NativeBackend
from uva_edge.runtimes.native.session import NativeSession, source_of

pytestmark = pytest.mark.skipif(not build.probe_compiler().ok, reason="there is no C compiler here")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "uva_edge" / "native"


def load(bundle: Bundle, threads: int = 1) -> NativeSession:
    return NativeBackend().load(bundle, bundle.artifact("torch-fp32"), SessionOptions(threads=threads))


def test_a_library_is_compiled_once(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(bundle).close()
    (library,) = cache.iterdir()
    assert library.suffix == ".so"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    load(bundle).close()


def test_other_flags_make_another_library(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(bundle).close()
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-DNOTHING"))
    load(bundle).close()
    assert len(list(cache.iterdir())) == 2


def test_a_directory_that_others_can_write_to_is_refused(bundle: Bundle, cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(SessionError, match="others can write to"):
        load(bundle)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.25, 0.5, 0.999])
def test_a_library_that_was_cut_short_is_compiled_anew(part: float, bundle: Bundle, cache: Path) -> None:
    """The loader would map it all the same, and the first step beyond its end would be the end of the process."""
    library = build.library_of(source_of(bundle, bundle.artifact("torch-fp32")), cache)
    whole = library.read_bytes()
    library.write_bytes(whole[: int(part * len(whole))])
    load(bundle).close()
    assert len(library.read_bytes()) > len(whole) // 2


def test_a_library_with_a_changed_byte_is_compiled_anew(bundle: Bundle, cache: Path) -> None:
    library = build.library_of(source_of(bundle, bundle.artifact("torch-fp32")), cache)
    whole = library.read_bytes()
    library.write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    load(bundle).close()
    assert library.read_bytes()[9000] == whole[9000]


def test_a_library_that_the_loader_refuses_is_an_error(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_library(source: object, compiler: object, flags: object, output: Path) -> None:
        output.write_bytes(b"no library")

    monkeypatch.setattr(build, "compile_source", no_library)
    with pytest.raises(SessionError, match=r"(invalid ELF header|file too short).*XDG_CACHE_HOME"):
        load(bundle)


def test_a_user_without_a_home(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("uva_edge.runtimes.native.compiled.cache_root", no_home)
    with pytest.raises(SessionError, match=r"Could not determine home directory\.; set XDG_CACHE_HOME"):
        load(bundle)


def test_a_compiler_that_fails_is_an_error_with_its_words(
    bundle: Bundle, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "broken-cc"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo broken 1.0 && exit 0\necho no such flag >&2\nexit 1\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(SessionError, match="no such flag"):
        load(bundle)
    assert list(cache.iterdir()) == []


def test_without_a_compiler_auto_goes_on_and_says_why(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    with SaliencyPredictor(bundle.location) as predictor:
        assert predictor.backend != "native"
        assert "native: rejected, CC is /nowhere/cc, which is not there" in predictor.explain()
    with pytest.raises(BackendUnavailableError, match="install a C compiler"):
        SaliencyPredictor(bundle.location, backend="native")


def test_threads_share_a_clip_and_change_nothing(bundle: Bundle) -> None:
    if usable_cores() < 2:
        pytest.skip("this process may use one core")
    golden = bundle.golden()
    one, two = load(bundle), load(bundle, threads=2)
    for count in (1, 7, 8, 9, 33, len(golden.frames)):
        expected = one.run(golden.frames[:count], golden.state)
        found = two.run(golden.frames[:count], golden.state)
        for name, got, wanted in zip(("maps", "state"), found, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted), f"{name} of {count} frames")
    one.close(), two.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_several_streams_in_one_step(bundle: Bundle, threads: int) -> None:
    if usable_cores() < threads:
        pytest.skip("this process may use one core")
    golden = bundle.golden()
    session = load(bundle, threads)
    clips = [golden.frames[start : start + 4] for start in (0, 9, 20)]
    states = np.concatenate([golden.state, golden.state * 0.5, golden.state * -1])
    maps, after = session.run(np.stack(clips, axis=1).reshape(-1, *clips[0].shape[1:]), states)
    for index, clip in enumerate(clips):
        expected, state = session.run(clip, states[index : index + 1])
        np.testing.assert_array_equal(maps[index::3], expected, f"stream {index}")
        np.testing.assert_array_equal(np.asarray(after)[index : index + 1], np.asarray(state))
    with pytest.raises(SessionError, match="as many frames"):
        session.run(golden.frames[:4], states)
    session.close()


def test_states_of_other_sessions_are_taken(bundle: Bundle) -> None:
    """In whatever form they come: another library keeps its own elsewhere."""
    golden = bundle.golden()
    first, second = load(bundle), load(bundle)
    _, kept = first.run(golden.frames[:1], golden.state)
    expected = first.run(golden.frames[1:2], kept)[0]
    np.testing.assert_array_equal(second.run(golden.frames[1:2], kept)[0], expected)
    np.testing.assert_array_equal(second.run(golden.frames[1:2], np.asarray(kept))[0], expected)
    first.close(), second.close()


def test_many_threads_on_one_session(bundle: Bundle) -> None:
    golden = bundle.golden()
    session = load(bundle)
    expected = session.run(golden.frames, golden.state)[0]
    found: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        state, maps = golden.state, []
        for frame in golden.frames:
            saliency, state = session.run(frame[None], state)
            maps.append(saliency)
        found[index] = np.concatenate(maps)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for index, maps in found.items():
        np.testing.assert_array_equal(maps, expected, f"thread {index}")
    session.close()


def test_nothing_is_left_of_a_build(bundle: Bundle, cache: Path) -> None:
    load(bundle).close()
    assert [path.suffix for path in cache.iterdir()] == [".so"]
    assert not [name for name in os.listdir(cache) if name.startswith(".")]
