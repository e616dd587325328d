"""Forks, pools, signals, quotas: other processes around a predictor, and what a process may use."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.environment import usable_cores
from uva_edge.errors import OptionError, ProcessError
from uva_edge.runtimes import SaliencyPredictor

Clip = NDArray[np.uint8]

FORK = """
import gc
backend, threads = sys.argv[1], int(sys.argv[2])
before = SaliencyPredictor("uva-32", backend=backend, threads=threads)
stream, batch = before.stream(), before.stream_batch(2)
expected = before.predict(frames[0]).map, before.predict_clip(frames)
stream.push(frames[0])
process = os.fork()
if not process:
    for call in (
        lambda: before.predict(frames[0]), lambda: before.predict_clip(frames), before.stream,
        lambda: before.stream_batch(2), lambda: stream.push(frames[0]), stream.reset,
        lambda: batch.push(list(frames[:2])), batch.reset,
    ):
        print(told(call))
    stream.close(), batch.close(), before.close()
    try:
        with SaliencyPredictor("uva-32", backend=backend, threads=threads) as after:
            np.testing.assert_array_equal(after.predict(frames[0]).map, expected[0])
            np.testing.assert_array_equal(after.predict_clip(frames), expected[1])
        print("a new one predicts")
    except UvaEdgeError as error:
        print(f"{type(error).__name__}: {error}")
    del before, stream, batch
    gc.collect()
    sys.exit(0)  # with all that the end of an interpreter frees
status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
np.testing.assert_array_equal(before.predict(frames[0]).map, expected[0])
stream.push(frames[1]), before.close()
sys.exit(status)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_fork_after_load(backend: str, threads: int, child: Callable[..., Any]) -> None:
    """The child is told, can make its own where the engine allows it, and ends; the parent goes on."""
    if threads > usable_cores():
        pytest.skip("this process may use one core")
    ended = child(FORK, backend, str(threads))
    assert ended.status == 0, ended.err
    *refused, last = ended.out.splitlines()
    assert len(refused) == 8
    for line in refused:
        assert line.startswith("ProcessError: this predictor or stream is of process "), line
        assert "make a new SaliencyPredictor in each process" in line
    if backend == "torch":
        assert last.startswith("ProcessError: torch was loaded by process ")
    else:
        assert last == "a new one predicts"


def test_auto_passes_over_an_engine_that_does_not_survive_a_fork(child: Callable[..., Any]) -> None:
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    code = """
from uva_edge.runtimes import registry
SaliencyPredictor("uva-32", backend="torch")
for name in registry.PRIORITY:
    registry.PRIORITY[name] = ("torch", "onnxruntime")
registry.INT8_FASTER.clear()
process = os.fork()
if not process:
    predictor = SaliencyPredictor("uva-32")
    predictor.predict(frames[0])
    print(predictor.explain())
    sys.exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""
    ended = child(code)
    assert ended.status == 0, ended.err
    assert "torch: rejected, torch was loaded by process" in ended.out
    assert "onnxruntime: chosen" in ended.out


@pytest.mark.parametrize("send", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_nothing_of_a_predictor_can_be_sent(send: Callable[[Any], Any]) -> None:
    with SaliencyPredictor("uva-32", backend="onnxruntime") as predictor:
        for what in (predictor, predictor.stream(), predictor.stream_batch(2)):
            with pytest.raises(
                ProcessError, match=r"can't be pickled or copied.*make a new SaliencyPredictor"
            ):
                send(what)


POOL = """
import multiprocessing
def begin():
    global own
    own = SaliencyPredictor("uva-32", backend="onnxruntime")
def work(index):
    return own.predict(frames[index]).map
if __name__ == "__main__":
    with SaliencyPredictor("uva-32", backend="onnxruntime") as here:
        expected = [here.predict(frame).map for frame in frames]
        with multiprocessing.get_context(sys.argv[1]).Pool(2, begin) as pool:
            np.testing.assert_array_equal(pool.map(work, range(len(frames))), expected)
            print(told(lambda: pool.apply(print, (here,))))
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_pools_of_processes(method: str, child: Callable[..., Any]) -> None:
    """Each process makes its own; one that is sent is refused with the way to do it."""
    ended = child(POOL, method)
    assert ended.status == 0, ended.err
    assert ended.out.startswith("ProcessError: a predictor or stream can't be pickled or copied")


def test_a_pool_of_threads(flight: Clip) -> None:
    with SaliencyPredictor("uva-32") as predictor:
        expected = [predictor.predict(frame).map for frame in flight]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                found = pool.map(lambda frame: predictor.predict(frame).map, flight)
                np.testing.assert_array_equal(list(found), expected)


# --- signals --------------------------------------------------------------------------------------------------

PREDICTS = """
import threading
def main():
    with SaliencyPredictor("uva-32", backend=sys.argv[1]) as predictor:
        stream = predictor.stream()
        print("predicts", flush=True)
        while True:
            for frame in frames:
                stream.push(frame)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_that_predicts(
    number: signal.Signals, backend: str, tmp_path: Path, child: Callable[..., Any]
) -> None:
    """By the signal itself or by KeyboardInterrupt, at once: no engine swallows it, none crashes."""
    child("pass")  # writes the script's head
    script = tmp_path / "child.py"
    script.write_text(script.read_text().removesuffix("pass") + PREDICTS)
    command = [sys.executable, "-I", str(script), backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "predicts\n", process.stderr and process.stderr.read()
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)


def test_sigterm_ends_a_command_with_complete_outputs(tmp_path: Path, flight: Clip) -> None:
    """As a service manager stops it: what was predicted until then is there, and nothing of a temporary name."""
    (tmp_path / "photos").mkdir()
    for index in range(100):
        assert cv2.imwrite(str(tmp_path / "photos" / f"{index:03}.png"), flight[index % len(flight)])
    out = tmp_path / "out"
    code = """
import itertools, os, signal, sys
from uva_edge.cli import main
from uva_edge.runtimes import SaliencyPredictor
prepare, count = SaliencyPredictor._input, itertools.count()
def prepare_and_be_stopped(*arguments):
    if next(count) == 20:
        os.kill(os.getpid(), signal.SIGTERM)
    return prepare(*arguments)
SaliencyPredictor._input = prepare_and_be_stopped
main(sys.argv[1:])
"""
    words = ["predict", tmp_path / "photos", "-o", out, "--bundle", "uva-32", "--save", "csv,npy"]
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 130, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["maps.npy", "peaks.csv"]
    assert 0 < len(np.load(out / "maps.npy", allow_pickle=False)) < 100


# --- what a process may use -----------------------------------------------------------------------------------


@pytest.fixture
def quota() -> Iterator[Callable[[float], Path]]:
    """A real control group with a quota of so many CPUs; it needs root, and controllers that can be written to."""
    made: list[Path] = []

    def _quota(cpus: float) -> Path:
        v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        root = Path("/sys/fs/cgroup") if v2 else Path("/sys/fs/cgroup/cpu")
        group = root / f"uva-edge-test-{os.getpid()}"
        try:
            group.mkdir()
            made.append(group)
            if v2:
                (group / "cpu.max").write_text(f"{int(cpus * 100_000)} 100000")
            else:
                (group / "cpu.cfs_period_us").write_text("100000")
                (group / "cpu.cfs_quota_us").write_text(str(int(cpus * 100_000)))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        return group

    yield _quota
    for group in made:
        group.rmdir()


def test_threads_follow_the_quota_of_a_control_group(
    quota: Callable[[float], Path], child: Callable[..., Any]
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process may use one core")
    group = quota(1.5)
    code = """
from uva_edge.environment import usable_cores
print(usable_cores())
open(sys.argv[1], "w").write(str(os.getpid()))
print(usable_cores())
predictor = SaliencyPredictor("uva-32", backend="onnxruntime")
predictor.predict(frames[0])
print(predictor.info.threads)
print(told(lambda: SaliencyPredictor("uva-32", threads=2)))
"""
    ended = child(code, group / "cgroup.procs")
    assert ended.status == 0, ended.err
    before, within, threads, refused = ended.out.splitlines()
    assert (int(before), int(within), int(threads)) == (usable_cores(), 1, 1)
    assert refused.startswith(
        f"{OptionError.__name__}: threads must be from 1 to 1, the cores that this process may use"
    )
