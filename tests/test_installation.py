"""A process that predicts: what it loads, that it opens no socket and writes nothing, and what it can do without."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from uva_edge.bundle import Bundle
from uva_edge.runtimes.registry import BACKENDS

# --- a process that predicts ----------------------------------------------------------------------------

_PREDICT = """
import json, sys
import numpy as np
from uva_edge import SaliencyPredictor
location, backend = sys.argv[1:]
frames = np.random.default_rng(0).integers(0, 256, (5, 90, 160, 3), dtype=np.uint8)
with SaliencyPredictor(location, backend=backend) as predictor:
    stream = predictor.stream()
    pushed = np.stack([stream.push(frame).map for frame in frames])
    clip = predictor.predict_clip(frames)
    first = predictor.predict(frames[0])
    assert np.abs(clip - pushed).max() < 1e-5 and np.array_equal(first.map, pushed[0]) and pushed.std() > 0
    report = {"backend": predictor.backend, "decisions": [str(item) for item in predictor.decisions],
              "mean": float(pushed.mean()), "ranked": [item.backend for item in predictor.decisions]}
report["loaded"] = sorted({name.partition(".")[0] for name in sys.modules})
report["uva_edge"] = sys.modules["uva_edge"].__file__
"""


def _report(
    *arguments: str,
    before: str = "",
    after: str = "",
    command: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    **variables: str,
) -> dict[str, Any]:
    """What a fresh interpreter reports that predicts, with more to do before and after."""
    code = f"{before}\n{_PREDICT}\n{after}\nprint(json.dumps(report))"
    done = subprocess.run(
        [*command, sys.executable, *flags, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        cwd=os.sep,  # Python looks for packages in the working directory first, and a checkout holds one
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def here(bundle: Bundle) -> dict[str, Any]:
    """What a plain run with the backend that everybody has reports."""
    return _report(bundle.location, "onnxruntime")


def test_onnxruntime_loads_no_other_engine(here: dict[str, Any]) -> None:
    assert here["backend"] == "onnxruntime"
    assert "onnxruntime" in here["loaded"]
    assert not set(here["loaded"]) & {"torch", "openvino", "onnx", "onnxscript", "av", "click", "rich"}


def test_auto_loads_no_engine_that_it_did_not_need(bundle: Bundle) -> None:
    report = _report(bundle.location, "auto")
    tried = {
        name.partition(" ")[0] for name in report["ranked"][: report["ranked"].index(report["backend"]) + 1]
    }
    tried |= {"onnxruntime"} if "cuda" in tried else set()
    assert set(report["loaded"]) & {"torch", "openvino", "onnxruntime"} <= tried, report["decisions"]


_NO_SOCKETS = """
import os, socket, sys
def links():
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    return {link for link in found if link.startswith("socket:")}
inherited = links() if os.path.isdir("/proc/self/fd") else set()
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith("socket.") else None)
def refuse(*_, **__):
    raise AssertionError("a socket was opened")
for name in ("create_connection", "getaddrinfo", "socketpair", "create_server"):
    setattr(socket, name, refuse)
class Refused(socket.socket):
    def __init__(self, *_, **__):
        refuse()
socket.socket = Refused
"""

_STILL_NO_SOCKETS = """
report["events"] = events
report["opened"] = sorted(links() - inherited) if os.path.isdir("/proc/self/fd") else []
"""


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_no_socket_is_opened(backend: str, bundle: Bundle) -> None:
    if not BACKENDS[backend].installed().ok:
        pytest.skip(BACKENDS[backend].installed().reason)
    report = _report(bundle.location, backend, before=_NO_SOCKETS, after=_STILL_NO_SOCKETS)
    assert report["backend"] == backend
    assert report["events"] == []
    assert report["opened"] == []


def test_the_socket_guard_sees_sockets() -> None:
    code = f"{_NO_SOCKETS}\nimport _socket\n_socket.socket().close()\nprint(events)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "socket.__new__" in done.stdout, done.stderr


# --- installations --------------------------------------------------------------------------------------


def _install(site: Path) -> None:
    """uva_edge as a wheel would lay it out, without compiled files."""
    for package in ("uva_edge", "uva_edge.export", "uva_edge.runtimes"):
        file = import_module(package).__file__
        assert file is not None, package
        target = site.joinpath(*package.split("."))
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(file).parent, target, dirs_exist_ok=True, ignore=ignored)


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in (root, *root.rglob("*")):
        status = path.stat()
        found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


def test_a_read_only_installation_works(bundle: Bundle, here: dict[str, Any]) -> None:
    """As on a device with a read-only root file system, for a user with no home."""
    # Another user can't look into pytest's own directories.
    with tempfile.TemporaryDirectory(prefix="uva-edge-") as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        _install(root / "site")
        shutil.copytree(bundle.location, root / "bundle")
        for path in (root / "site", root / "bundle"):
            for item in (path, *path.rglob("*")):
                item.chmod(0o555 if item.is_dir() else 0o444)
        before = _listing(root)
        command: tuple[str, ...] = ()
        if os.geteuid() == 0 and shutil.which("setpriv"):  # root may write anywhere
            command = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        variables = {"PYTHONPATH": str(root / "site"), "HOME": "/nonexistent", "XDG_CACHE_HOME": ""}
        try:
            for backend in ("onnxruntime", "fastest"):
                report = _report(str(root / "bundle"), backend, command=command, **variables)
                assert report["uva_edge"].startswith(str(root)), "another copy was tested"
                if backend == "onnxruntime":
                    assert report["mean"] == pytest.approx(here["mean"], abs=1e-6)
            assert _listing(root) == before, "something was written"
        finally:
            for path in (root / "site", root / "bundle"):
                for item in (path, *path.rglob("*")):
                    if item.is_dir():
                        item.chmod(0o755)


def _requirements(distribution: str) -> list[str]:
    """What a distribution needs here without any extra."""
    requirements = map(Requirement, metadata.requires(distribution) or ())
    return [item.name for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def runtime_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install uva-edge` brings, and nothing else: no torch, no export tools, no other engine."""
    site = tmp_path_factory.mktemp("runtime") / "site"
    _install(site)
    wanted, seen = _requirements("uva-edge"), set()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        wanted += _requirements(name)
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = site / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    assert {"numpy", "onnxruntime", "opencv-python-headless", "click", "rich"} <= seen
    assert not seen & {"torch", "onnx", "onnxscript", "av", "openvino"}
    return site


_RUNTIME = """
import importlib.util
for name in ("torch", "onnx", "onnxscript", "av", "openvino", "pytest", "typing_extensions"):
    assert importlib.util.find_spec(name) is None, name
"""


def _in_runtime(site: Path, after: str, *arguments: str) -> dict[str, Any]:
    # -S leaves site-packages out: only the standard library and PYTHONPATH are left.
    return _report(*arguments, before=_RUNTIME, after=after, flags=("-S",), PYTHONPATH=str(site))


def test_a_runtime_installation_predicts_and_says_what_is_missing(
    runtime_site: Path, bundle: Bundle, here: dict[str, Any]
) -> None:
    after = """
from uva_edge import probe
from uva_edge.errors import BackendUnavailableError
report["explicit"] = {}
for name in ("openvino", "torch"):
    try:
        SaliencyPredictor(location, backend=name)
    except BackendUnavailableError as error:
        report["explicit"][name] = str(error)
report["engines"] = probe().as_dict()["engines"]
"""
    report = _in_runtime(runtime_site, after, bundle.location, "auto")
    assert report["uva_edge"].startswith(str(runtime_site)), "another copy was tested"
    assert report["backend"] in ("native", "onnxruntime")  # as there is a C compiler or not
    assert report["mean"] == pytest.approx(here["mean"], abs=1e-6)
    explained = "\n".join(report["decisions"])
    for name in ("openvino", "torch"):
        pip = f"pip install 'uva-edge[{name}]'"
        assert f"{name}: rejected, {name} is not installed ({pip})" in explained
        assert f"{name} is not installed" in report["explicit"][name]
        assert pip in report["explicit"][name]
        assert (report["engines"][name]["status"], report["engines"][name]["fix"]) == ("missing", pip)
    assert report["engines"]["onnxruntime"]["status"] == "ok"
    assert not set(report["loaded"]) & {"torch", "openvino", "onnx", "av"}


def test_a_runtime_installation_without_a_compiler(runtime_site: Path, bundle: Bundle) -> None:
    report = _report(
        bundle.location,
        "auto",
        before=_RUNTIME,
        flags=("-S",),
        PYTHONPATH=str(runtime_site),
        CC="/nowhere/cc",
    )
    assert report["backend"] == "onnxruntime"
    assert "native: rejected, CC is /nowhere/cc, which is not there" in "\n".join(report["decisions"])


def test_a_runtime_installation_verifies_its_bundle(runtime_site: Path, bundle: Bundle) -> None:
    after = """
from uva_edge.bundle import Bundle
from uva_edge.runtimes.conformance import passed, verify
outcomes = verify(Bundle.open(location))
report["passed"] = passed(outcomes)
report["outcomes"] = sorted({(item.case.backend, item.status) for item in outcomes})
"""
    report = _in_runtime(runtime_site, after, bundle.location, "onnxruntime")
    assert report["passed"]
    assert report["outcomes"] == [
        ["cuda", "SKIPPED"],
        ["native", "PASS" if BACKENDS["native"].probe().ok else "SKIPPED"],
        ["onnxruntime", "PASS"],
        ["openvino", "SKIPPED"],
        ["torch", "SKIPPED"],
    ]


def test_the_scene_needs_no_torch(runtime_site: Path, bundle: Bundle) -> None:
    """The demo of a runtime installation renders its own flight."""
    after = """
from uva_edge.data.synthetic import AerialScene
report["scene"] = float(AerialScene(seed=1, size=(64, 36)).frame(0).image.std())
"""
    report = _in_runtime(runtime_site, after, bundle.location, "onnxruntime")
    assert np.isfinite(report["scene"])
    assert report["scene"] > 1
