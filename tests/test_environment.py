"""What is found out about a machine, from what its kernel and its site-packages say."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uva_edge import environment, kernel_files
from uva_edge.environment import (
    CPU_FEATURES,
    ENGINES,
    Cpu,
    Package,
    installed,
    probe,
    probe_cpu,
    probe_engine,
)
from uva_edge.errors import OptionError

EPYC = """\
processor\t: 0
model name\t: AMD EPYC 7B13
flags\t\t: fpu sse4_2 avx avx2 fma avx512 avx512foo sse4_2_not

processor\t: 1
model name\t: another
flags\t\t: avx512f
"""
XEON = "model name : Xeon\nflags : fpu avx avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8\n"
CORTEX = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 atomics asimddp\nCPU part\t: 0xd0b\n"
ARM7 = "Processor : ARMv7\nFeatures : half thumb neon vfpv4\n"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The machine's files, path -> contents; none at first."""
    contents: dict[str, str] = {}
    monkeypatch.setattr(kernel_files, "read", lambda path: contents.get(path, ""))
    probe_cpu.cache_clear()
    yield contents
    probe_cpu.cache_clear()


# --- the processor --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpuinfo", "model", "processor_class", "features"),
    [
        (EPYC, "AMD EPYC 7B13", "avx2", ("sse4_2", "avx", "avx2", "fma")),
        (
            XEON,
            "Xeon",
            "avx512_vnni",
            ("avx", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
        ),
        (CORTEX, "Board 4", "neon", ("asimd", "asimddp")),
        (ARM7, "Board 4", "neon", ("neon",)),
        ("model name : old\nflags : fpu sse4_2\n", "old", "generic", ("sse4_2",)),
        ("", "Board 4", "generic", ()),
        ("flags\nmodel name\n::::\n:\n", "Board 4", "generic", ()),
    ],
    ids=["epyc", "xeon", "cortex", "armv7", "no-avx", "empty", "garbage"],
)
def test_a_processor_is_read(
    cpuinfo: str, model: str, processor_class: str, features: tuple[str, ...], files: dict[str, str]
) -> None:
    files.update({"/proc/cpuinfo": cpuinfo, "/proc/device-tree/model": "Board 4\0"})
    cpu = probe_cpu()
    assert (cpu.model, cpu.processor_class, cpu.features) == (model, processor_class, features)
    assert cpu.architecture == platform.machine()


def test_a_machine_that_says_nothing_is_named_by_its_architecture(files: dict[str, str]) -> None:
    assert probe_cpu().model == platform.machine()


@given(text=st.text(max_size=300) | st.lists(st.sampled_from(["flags", ":", "avx2", "\n"])).map(" ".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_cpuinfo_is_too_odd(text: str, files: dict[str, str]) -> None:
    files["/proc/cpuinfo"] = text
    probe_cpu.cache_clear()
    cpu = probe_cpu()
    assert set(cpu.features) <= set(CPU_FEATURES)
    assert cpu.processor_class in ("avx512_vnni", "avx512", "avx2", "neon", "generic")
    assert cpu.cores >= 1


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (("avx2", "avx512f"), "avx512"),
        (("avx2", "avx512f", "avx512_vnni"), "avx512_vnni"),
        (("avx2",), "avx2"),
        (("avx",), "generic"),
        (("neon",), "neon"),
        (("asimd",), "neon"),
        ((), "generic"),
    ],
)
def test_processor_classes(features: tuple[str, ...], expected: str) -> None:
    assert Cpu("any", "any", features, 1).processor_class == expected


# --- cores ----------------------------------------------------------------------------------------------

V2, V1 = "/sys/fs/cgroup{}/cpu.max", "/sys/fs/cgroup/cpu{}/cpu.cfs_{}_us"


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({}, 8),
        ({V2.format(""): "max 100000\n"}, 8),
        ({V2.format(""): "300000 100000\n"}, 3),
        ({V2.format(""): "350000 100000\n"}, 3),
        ({V2.format(""): "50000 100000\n"}, 1),
        ({V2.format(""): "1600000 100000\n"}, 8),
        ({V2.format(""): "100000 0\n"}, 8),
        ({V2.format(""): "-1 100000\n"}, 8),
        ({V2.format(""): "²00000 100000\n"}, 8),
        ({V2.format(""): "\n"}, 8),
        ({V2.format(""): "400000\n"}, 8),
        ({V1.format("", "quota"): "250000\n", V1.format("", "period"): "100000\n"}, 2),
        ({V1.format("", "quota"): "-1\n", V1.format("", "period"): "100000\n"}, 8),
        ({V1.format("", "quota"): "250000\n"}, 8),
        (
            {
                "/proc/self/cgroup": "0::/system.slice/uva\n",
                V2.format("/system.slice/uva"): "200000 100000",
            },
            2,
        ),
        (
            {
                "/proc/self/cgroup": "0::/a/b\n",
                V2.format("/a/b"): "400000 100000",
                V2.format("/a"): "200000 100000",
                V2.format(""): "max 100000",
            },
            2,
        ),
        (
            {
                "/proc/self/cgroup": "0::/a/b\n",
                V2.format("/a/b"): "200000 100000",
                V2.format("/a"): "400000 100000",
            },
            2,
        ),
        ({"/proc/self/cgroup": "0::/a\n", V2.format("/b"): "100000 100000"}, 8),
        (
            {
                "/proc/self/cgroup": "12:cpuset:/x\n4:cpu,cpuacct:/docker/1f\n0::/\n",
                V1.format("/docker/1f", "quota"): "300000",
                V1.format("/docker/1f", "period"): "100000",
                V1.format("/x", "quota"): "100000",
                V1.format("/x", "period"): "100000",
            },
            3,
        ),
        ({"/proc/self/cgroup": "nonsense\n:\n\n0::../..\n"}, 8),
    ],
    ids=lambda value: None
    if isinstance(value, int)
    else "; ".join(value.values()).replace("\n", " ") or "none",
)
def test_cores_are_those_that_the_process_may_use(
    contents: dict[str, str], expected: int, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    files.update(contents)
    assert environment.usable_cores() == expected


def test_cores_without_affinity(files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, expected in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert environment.usable_cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_cores_follow_the_affinity_of_this_process() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= environment.usable_cores() <= len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert environment.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


# --- engines --------------------------------------------------------------------------------------------

NAME = "uva_fake_engine"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install an engine called fake: its source (None for a folder without code), its version."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(ENGINES, "fake", Package(NAME, (f"{NAME}-gpu", NAME), "fake"))

    def _package(source: str | None, *, version: str | None = None, distribution: str = NAME) -> None:
        (tmp_path / NAME).mkdir(exist_ok=True)
        if source is not None:
            (tmp_path / NAME / "__init__.py").write_text(source)
        if version is not None:
            information = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            )
        importlib.invalidate_caches()

    yield _package
    sys.modules.pop(NAME, None)


def test_an_engine_that_is_not_installed_is_missing(package: Callable[..., None]) -> None:
    for found in (installed("fake"), probe_engine("fake")):
        assert (found.status, found.ok, found.version) == ("missing", False, None)
        assert found.reason == f"{NAME} is not installed"
        assert found.fix == "pip install 'uva-edge[fake]'"


def test_an_engine_that_works_is_ok(package: Callable[..., None]) -> None:
    package("", version="2.5")
    for found in (installed("fake"), probe_engine("fake")):
        assert (found.status, found.ok, found.version, found.reason, found.fix) == ("ok", True, "2.5", "", "")


def test_the_quick_look_imports_nothing(package: Callable[..., None]) -> None:
    package("raise OSError('imported')", version="1.0")
    assert installed("fake").ok
    assert NAME not in sys.modules
    assert probe_engine("fake").status == "broken"


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('libfake.so.1: cannot open shared object file')",
        "raise OSError('libfake.so.1: cannot open shared object file')",
        "raise RuntimeError('needs libfake.so.1: cannot open shared object file')",
        "import a_module_that_is_not_there  # libfake.so.1",
        "syntax error libfake.so.1",
    ],
)
def test_an_engine_that_cannot_be_imported_is_broken(source: str, package: Callable[..., None]) -> None:
    package(source, version="3.1")
    found = probe_engine("fake")
    assert (found.status, found.ok, found.version) == ("broken", False, "3.1")
    assert found.reason.startswith(f"{NAME} is installed but can't be imported: ")
    assert "Error: " in found.reason
    if "cannot open" in source:
        assert "libfake.so.1: cannot open shared object file" in found.reason
    assert found.fix == f"pip uninstall {NAME}-gpu {NAME}; pip install 'uva-edge[fake]'"


def test_a_folder_of_that_name_is_no_engine(package: Callable[..., None]) -> None:
    package(None)
    assert importlib.util.find_spec(NAME) is not None, "Python itself would import it"
    for found in (installed("fake"), probe_engine("fake")):
        assert found.status == "missing"


def test_an_engine_whose_files_are_gone_is_broken(package: Callable[..., None]) -> None:
    package(None, version="1.23", distribution=f"{NAME}-gpu")
    for found in (installed("fake"), probe_engine("fake")):
        assert (found.status, found.version) == ("broken", "1.23")
        assert "its files are gone" in found.reason
        assert found.fix.startswith(f"pip uninstall {NAME}-gpu {NAME};")


def test_two_distributions_over_each_other_are_told(package: Callable[..., None]) -> None:
    """They work or not, by which was installed last; the engine's own probe says which."""
    package("", version="1.20")
    assert installed("fake").reason == ""
    package(None, version="1.23", distribution=f"{NAME}-gpu")
    for found in (installed("fake"), probe_engine("fake")):
        assert (found.status, found.version) == ("ok", "1.23")
        assert found.reason.startswith(f"{NAME} and {NAME}-gpu are installed over each other")
        assert f"pip uninstall -y {NAME} {NAME}-gpu; pip install {NAME}" in found.fix


def test_a_package_of_no_list_is_looked_at_too(package: Callable[..., None]) -> None:
    package("", version="2.5")
    wanted = Package(NAME, (NAME,), "fake", afterwards="pip check")
    assert installed(wanted).version == "2.5"
    assert probe_engine(wanted).ok
    assert wanted.fix == "pip install 'uva-edge[fake]'; pip check"


def test_a_companion_is_needed_too(
    package: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    companion = "uva_fake_companion"
    monkeypatch.setitem(ENGINES, "fake", Package(NAME, (NAME,), "fake", needs=(companion,)))
    package("", version="1.0")
    for found in (installed("fake"), probe_engine("fake")):
        assert found.status == "missing"
        assert found.reason == f"{companion} is not installed, which {NAME} needs here"
        assert found.fix == "pip install 'uva-edge[fake]'"
    (tmp_path / f"{companion}.py").write_text("raise OSError('no')")
    importlib.invalidate_caches()
    assert installed("fake").ok
    found = probe_engine("fake")
    assert found.status == "broken"
    assert f"{companion} is installed but can't be imported: OSError: no" in found.reason


def test_a_version_can_come_from_the_module(
    package: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    package("__version__ = '9.9'")
    assert installed("fake").version is None
    importlib.import_module(NAME)
    assert installed("fake").version == "9.9"


def test_the_pip_lines_name_extras_that_there_are() -> None:
    extras = set(metadata("uva-edge").get_all("Provides-Extra") or ())
    for name, engine in ENGINES.items():
        assert engine.extra is None or engine.extra in extras, name
        assert engine.fix == f"pip install 'uva-edge{f'[{engine.extra}]' if engine.extra else ''}'"


def test_onnxruntime_is_here_as_in_every_installation() -> None:
    found = probe_engine("onnxruntime")
    assert found.ok, found.reason
    assert found.version


@pytest.mark.parametrize("ask", [installed, probe_engine, lambda name: probe((name,))])
def test_an_unknown_engine_is_told_the_names(ask: Callable[[str], Any]) -> None:
    with pytest.raises(OptionError, match=r"onnxruntime, openvino, torch.*got 'tensorflow'"):
        ask("tensorflow")


def test_a_picture_of_this_machine_is_json() -> None:
    found = probe(("onnxruntime",))
    data = json.loads(json.dumps(found.as_dict()))
    assert data["python"] == platform.python_version()
    assert data["cpu"]["cores"] == environment.usable_cores()
    assert data["engines"]["onnxruntime"]["status"] == "ok"
    assert set(data) == {"python", "platform", "cpu", "gpu", "engines"}
    assert set(data["gpu"]) == {"driver", "cuda", "gpus", "problem", "fix", "broken"}
