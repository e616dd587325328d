"""Faults of files and file systems under a predictor: each a real one, in a process of its own where it might crash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import zip_bundle
from uva_edge.runtimes.native.build import probe_compiler

# --- the bundle under a running predictor ---------------------------------------------------------------------


@pytest.fixture(params=["directory", "zip"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle of the test's own."""
    shipped = Bundle.shipped("uva-32")
    if request.param == "zip":
        return zip_bundle(shipped, tmp_path / "mine.zip")
    return Path(shutil.copytree(shipped.location, tmp_path / "mine"))


UNDER_A_RUNNING_ONE = """
from pathlib import Path
place, backend, fault = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
files = [path for path in ([place] if place.is_file() else sorted(place.iterdir())) if path.name != "bundle.json"]
predictor = SaliencyPredictor(place, backend=backend)
stream = predictor.stream()
expected = [stream.push(frame).map for frame in frames]
assert str(place) not in open("/proc/self/maps").read(), "a file of the bundle is mapped"
assert not any(os.readlink(f"/proc/self/fd/{name}").startswith(str(place)) for name in os.listdir("/proc/self/fd")
               if os.path.exists(f"/proc/self/fd/{name}")), "a file of the bundle is held open"
for path in files:
    if fault == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif fault == "swapped":  # in place: the same length, other bytes
        size = path.stat().st_size
        with open(path, "r+b") as file:
            file.seek(size // 4)
            file.write(bytes(max(size // 2, size - size // 4 - 4096)))  # but for a zip's list of members
    else:
        path.unlink()
stream.reset()
np.testing.assert_array_equal([stream.push(frame).map for frame in frames], expected)
print(told(lambda: SaliencyPredictor(place, backend=backend)))
"""


@pytest.mark.parametrize("fault", ["truncated", "swapped", "deleted"])
def test_a_bundle_that_changes_under_a_running_predictor(
    fault: str, place: Path, backend: str, child: Callable[..., Any]
) -> None:
    """Nothing of it is mapped or open: the predictor goes on with the same bits, and a new one is refused."""
    ended = child(UNDER_A_RUNNING_ONE, place, backend, fault)
    assert ended.status == 0, f"{ended.status}: {ended.err}"
    kind, _, words = ended.out.partition(": ")
    kinds = {
        "truncated": {"TruncatedFileError", "BundleError"},
        "swapped": {"HashMismatchError", "BundleError", "ManifestError"},
        "deleted": {"MissingFileError", "BundleNotFoundError"},
    }
    assert kind in kinds[fault], ended.out
    assert str(place) in words


def test_a_clip_artifact_that_was_swapped_before_its_first_use(
    tmp_path: Path, child: Callable[..., Any]
) -> None:
    """It is loaded at the first clip, from what lies there then: its hash tells, and streams go on."""
    place = tmp_path / "mine"
    shutil.copytree(Bundle.shipped("uva-32").location, place)
    code = """
place = sys.argv[1]
predictor = SaliencyPredictor(place, backend="onnxruntime", precision="fp32")
plan = predictor._plan
assert plan.step != plan.clip
path = os.path.join(place, plan.clip.files[0].path)
data = bytearray(open(path, "rb").read())
data[len(data) // 2] ^= 1
open(path, "wb").write(data)
expected = predictor.predict(frames[0]).map
print(told(lambda: predictor.predict_clip(frames)))
print(told(lambda: predictor.stream_batch(2)))
np.testing.assert_array_equal(predictor.predict(frames[0]).map, expected)
data[len(data) // 2] ^= 1
open(path, "wb").write(data)
assert len(predictor.predict_clip(frames)) == len(frames)  # put right, it is taken
"""
    ended = child(code, place)
    assert ended.status == 0, ended.err
    for line in ended.out.splitlines():
        assert line.startswith("HashMismatchError: ")
        assert "expected sha256" in line
        assert "clip.onnx" in line


# --- the cache ------------------------------------------------------------------------------------------------

NATIVE = """
predictor = SaliencyPredictor("uva-32", backend=sys.argv[1])
predictor.predict(frames[0])
print(predictor.explain())
"""


@pytest.fixture
def compiler() -> None:
    if not probe_compiler().ok:
        pytest.skip(probe_compiler().reason)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where `child` keeps its cache; it is there, and empty."""
    path = tmp_path / "cache"
    path.mkdir(mode=0o700)
    return path


def mounted(namespace: tuple[str, ...], *options: str) -> tuple[str, ...]:
    """The command below which `mount` with these options comes before the child."""
    words = " ".join(options)
    return (*namespace, "sh", "-c", f'mount {words} && exec "$@"', "sh")


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("kind", ["read-only", "a file", "without room", "noexec"])
def test_a_cache_that_cannot_be_used(
    kind: str, cache: Path, namespace: tuple[str, ...], child: Callable[..., Any]
) -> None:
    """`native` by name is an error that says what to do; `auto` goes on and says why; `fastest` measures anew."""
    below: tuple[str, ...] = ()
    if kind == "a file":
        cache.rmdir()
        cache.write_text("")
    else:
        option = {"read-only": "ro", "without room": "size=16k", "noexec": "noexec,size=64m"}[kind]
        below = mounted(namespace, "-t tmpfs", f"-o {option},mode=700", "tmpfs", str(cache))
    ended = child('print(told(lambda: SaliencyPredictor("uva-32", backend="native")))', below=below)
    assert ended.status == 0, ended.err
    assert ended.out.startswith("SessionError: native can't load ")
    assert "XDG_CACHE_HOME" in ended.out
    assert str(cache) in ended.out
    for backend, chosen in (
        ("auto", r"onnxruntime.*: chosen, rank"),
        ("fastest", "chosen, .* ms a step here"),
    ):
        ended = child(NATIVE, backend, below=below)
        assert ended.status == 0, ended.err
        assert re.search(r"native.*: rejected, native can't load .*XDG_CACHE_HOME", ended.out), ended.out
        assert re.search(chosen, ended.out), ended.out


@pytest.mark.usefixtures("compiler")
def test_a_read_only_cache_that_is_filled_is_used(
    cache: Path, namespace: tuple[str, ...], child: Callable[..., Any]
) -> None:
    filled = child(NATIVE, "native")
    assert filled.status == 0, filled.err
    below = mounted(namespace, "--bind -o ro", str(cache), str(cache))
    ended = child(NATIVE, "native", below=below, CC=shutil.which("cc") or "")
    assert ended.status == 0, ended.err


@pytest.mark.usefixtures("compiler")
def test_a_cache_that_is_emptied_under_a_running_predictor(cache: Path, child: Callable[..., Any]) -> None:
    """Its library stays mapped until it is closed; the next predictor compiles anew."""
    code = """
import shutil
predictor = SaliencyPredictor("uva-32", backend="native")
expected = predictor.predict(frames[0]).map
shutil.rmtree(os.environ["XDG_CACHE_HOME"])
np.testing.assert_array_equal(predictor.predict(frames[0]).map, expected)
np.testing.assert_array_equal(SaliencyPredictor("uva-32", backend="native").predict(frames[0]).map, expected)
"""
    ended = child(code)
    assert ended.status == 0, ended.err
    assert list(cache.rglob("*.so"))


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": ' * 5000, "\0" * 100])
def test_a_damaged_record_of_what_was_fastest_is_measured_anew(
    content: str, cache: Path, child: Callable[..., Any]
) -> None:
    record = cache / "uva_edge" / "fastest.json"
    record.parent.mkdir()
    record.write_text(content)
    code = """
from uva_edge.runtimes import registry
for name in registry.PRIORITY:
    registry.PRIORITY[name] = ("onnxruntime",)
print(SaliencyPredictor("uva-32", backend="fastest").explain())
"""
    ended = child(code)
    assert ended.status == 0, ended.err
    assert "ms a step here" in ended.out


def test_no_home_and_no_cache(child: Callable[..., Any]) -> None:
    """A service's user that is a number alone: no entry in passwd, no HOME."""
    numbered = ("unshare", "--user", "--map-user=54321")
    try:
        found = subprocess.run([*numbered, "true"], capture_output=True, timeout=60).returncode
    except FileNotFoundError:
        found = 127
    if found:
        pytest.skip("needs user namespaces, and unshare of the package util-linux")
    below = (*numbered, "env", "-u", "HOME", "-u", "XDG_CACHE_HOME")
    for backend in ("auto", "fastest"):
        ended = child(NATIVE, backend, below=below)
        assert ended.status == 0, ended.err
        if probe_compiler().ok:
            assert re.search(
                "native.*: rejected, .*nowhere to keep its library.*set XDG_CACHE_HOME", ended.out
            )


# --- what else may be missing ---------------------------------------------------------------------------------

PREDICTS = """
predictor = SaliencyPredictor("uva-32", backend=sys.argv[1])
stream = predictor.stream()
pushed = np.stack([stream.push(frame).map for frame in frames])
np.testing.assert_allclose(predictor.predict_clip(frames), pushed, atol=1e-5)
try:
    open("/dev/shm/uva-edge-test", "w")
except OSError:
    print("no shared memory")
"""


NO_SHM = """
mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir /mnt/dev
for name in null zero random urandom full tty; do
    touch /mnt/dev/$name && mount --bind /dev/$name /mnt/dev/$name
done
mount --rbind /mnt/dev /dev && test ! -e /dev/shm && exec "$@"
"""


@pytest.mark.parametrize(
    "shell", ['mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"', NO_SHM], ids=["ro", "none"]
)
def test_no_shared_memory(
    shell: str, backend: str, namespace: tuple[str, ...], child: Callable[..., Any]
) -> None:
    """As in some containers: /dev/shm can't be written to, or isn't there at all."""
    ended = child(PREDICTS, backend, below=(*namespace, "sh", "-c", shell, "sh"))
    assert ended.status == 0, ended.err
    assert ended.out == "no shared memory"


def test_a_full_disk_under_outputs(tmp_path: Path, namespace: tuple[str, ...], flight: Any) -> None:
    """On a real file system without room: one message, exit code 1, and nothing left that looks like a result."""
    import cv2

    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    for index in range(60):
        assert cv2.imwrite(str(photos / f"{index:03}.png"), flight[index % len(flight)])
    shell = 'mount -t tmpfs -o size=128k tmpfs "$1"; shift; "$@"; status=$?; ls -A "$OUT" >&2; exit $status'
    words = [
        sys.executable,
        "-m",
        "uva_edge",
        "predict",
        photos,
        "-o",
        out,
        "--bundle",
        "uva-32",
        "--save",
        "npy",
    ]
    done = subprocess.run(
        [*namespace, "sh", "-c", shell, "sh", str(out), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OUT": str(out)},
    )
    assert done.returncode == 1, done.stderr
    assert "maps.npy can't be written: No space left on device" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("uva-edge: "), f"something is left: {done.stderr}"
