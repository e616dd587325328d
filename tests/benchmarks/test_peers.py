"""The benchmark of peers: who gets times and who does not, what is counted, and that every engine here is right."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from uva_edge.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]
CONVERTED = {"ncnn": "pnnx", "LiteRT": "litert_torch", "ExecuTorch": "executorch", "TVM": "tvm"}
"""Runner -> the module that its converter is imported as."""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("peers")
    monkeypatch.setattr(module, "COLD_STARTS", 1)
    monkeypatch.setattr(module, "TURN", 0.001)
    return module


@pytest.fixture
def rows(bench: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The rows of some runners with uva-32, by name."""

    def measure(*names: str, footage: Sequence[Any] = ()) -> dict[str, Any]:
        words = ["--only", ",".join(names), "--rounds", "2", "--bundles", "uva-32"]
        words += ["--models", str(tmp_path), "--contrib", str(tmp_path / "no-python")]
        arguments = bench.parse(words)
        place = tmp_path / "scratch"
        place.mkdir()
        runners = [bench.RUNNERS[name] for name in names]
        found = bench.measure("uva-32", runners, place, footage, arguments)
        return {row.runner.name: row for row in found}

    return measure


# --- whole runs -----------------------------------------------------------------------------------------


def test_our_backends_are_measured_beside_torch(bench: Any, rows: Callable[..., dict[str, Any]]) -> None:
    found = rows("onnxruntime", "onnxruntime int8", "torch")
    for name, row in found.items():
        assert not row.refused, name
        assert len(row.seconds) == 2, name
        assert min(row.seconds) > 0, name
        assert row.ratio > 0, name
        assert row.cold > 0, name
        assert row.memory > 20e6, name
    assert found["torch"].ratio == 1
    assert found["onnxruntime"].install == 0 < found["torch"].install
    assert float(found["onnxruntime"].golden.split(",")[0]) < 1e-4
    lines = list(bench.table(list(found.values())))
    assert [line.count("|") for line in lines] == [len(importlib.import_module("peers_table").HEADS) + 1] * 5
    assert all(line.startswith("| uva-32 ") for line in lines[2:])


@pytest.mark.parametrize("name", CONVERTED)
def test_an_engine_that_is_installed_computes_the_golden_maps(
    name: str, rows: Callable[..., dict[str, Any]]
) -> None:
    if importlib.util.find_spec(CONVERTED[name]) is None:
        pytest.skip(f"{CONVERTED[name]} is not installed; it is in the extra 'bench'")
    row = rows(name)[name]
    assert not row.refused
    error, correlation = map(float, row.golden.split(","))
    assert error < 1e-4
    assert correlation == 1


def test_maps_are_scored_as_evaluate_does(rows: Callable[..., dict[str, Any]]) -> None:
    from uva_edge.data.sources import open_footage
    from uva_edge.training.predictors import from_bundle
    from uva_edge.training.scoring import score

    flight = open_footage("synthetic:3:4", "val")
    row = rows("onnxruntime", footage=flight)["onnxruntime"]
    with from_bundle("uva-32", backend="onnxruntime", precision="fp32") as predictor:
        scores = score([predictor], flight).means(predictor.name)
    assert scores
    assert row.scores.keys() == scores.keys()
    for dataset, values in scores.items():
        assert row.scores[dataset] == pytest.approx(values, rel=1e-4), dataset


# --- who gets no times ----------------------------------------------------------------------------------


def test_a_missing_package_says_how_to_get_it(
    bench: Any, rows: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(bench.RUNNERS["ncnn"], packages=("a-package-that-nobody-has",))
    monkeypatch.setitem(bench.RUNNERS, "ncnn", absent)
    footage = SimpleNamespace(name="a still", kind="still")  # which nobody is left to be scored on
    found = rows("ncnn", "OpenCV fine-grained", footage=[footage])
    assert found["ncnn"].refused == f"a-package-that-nobody-has is not installed: {absent.fix}"
    assert "[bench]" in absent.fix
    contrib = found["OpenCV fine-grained"].refused
    assert contrib.startswith(
        "opencv-contrib-python-headless is not installed: python -m venv build/peers/contrib"
    )
    assert list(bench.table(list(found.values())))[2].startswith(
        "| uva-32 ncnn | 32x32 | not measured: a-package"
    )


def test_a_process_that_ends_gives_its_last_words(bench: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((1, 32, 32, 3), np.uint8))
    started = (bench.RUNNERS["onnxruntime"], "no-such-bundle", tmp_path / "none", tmp_path / "frames.npy")
    peer = bench.Peer(*started, Path(sys.executable), tmp_path / "log.txt")
    try:
        with pytest.raises(bench.NotMeasuredError, match=r"Error: .*no-such-bundle"):
            peer.answer()
        with pytest.raises(bench.NotMeasuredError, match=r"Error: .*no-such-bundle"):
            peer.ask("memory")
    finally:
        peer.close()


@pytest.mark.parametrize(
    ("code", "written", "words"),
    [
        (1, "Traceback\n  here\nValueError: no graph\n\n", "ValueError: no graph"),
        (7, "", "its process ended with exit code 7"),
        (-4, "compiling", "its process was ended by SIGILL"),
    ],
)
def test_last_words(bench: Any, tmp_path: Path, code: int, written: str, words: str) -> None:
    (tmp_path / "log.txt").write_text(written)
    assert importlib.import_module("peers_process").last_words(code, tmp_path / "log.txt") == words


class Answering:
    """A peer that answers what it was told to; at a time of 0 it ends."""

    ending: Exception

    def __init__(self, *, maps: Any = None, cores: float = 1.0, seconds: tuple[float, ...] = (1.0,)) -> None:
        self.maps, self.cores, self.seconds = maps, cores, iter(seconds * 3)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        if do == "maps":
            np.save(request["maps"], self.maps)
            return {}
        seconds = next(self.seconds)
        if not seconds:
            raise self.ending
        return {"seconds": seconds, "cores": self.cores}


@pytest.mark.parametrize(("precision", "error"), [("fp32", 2e-4), ("bf16", 0.2), ("int8", None)])
def test_wrong_maps_get_no_times(bench: Any, tmp_path: Path, precision: str, error: float | None) -> None:
    golden = Bundle.shipped("uva-32").golden().maps
    frames = tmp_path / "golden.npy"
    assert bench._checked(Answering(maps=golden), golden, frames, precision) == "0.0e+00, 1.0000"
    wrong = golden[:, ::-1] if error is None else golden + np.float32(error)
    with pytest.raises(bench.NotMeasuredError, match=f"wrong maps: .*; {precision} has to be within"):
        bench._checked(Answering(maps=wrong), golden, frames, precision)


def test_maps_that_are_no_numbers_are_wrong(bench: Any, tmp_path: Path) -> None:
    golden = Bundle.shipped("uva-32").golden().maps
    with pytest.raises(bench.NotMeasuredError, match="wrong maps"):
        bench._checked(Answering(maps=np.full_like(golden, np.nan)), golden, tmp_path / "golden.npy", "int8")


def test_more_than_one_core_gets_no_times(bench: Any) -> None:
    bench._expect_one_core(Answering(cores=1.02))
    with pytest.raises(bench.NotMeasuredError, match=r"it keeps 1\.9 cores busy"):
        bench._expect_one_core(Answering(cores=1.9))


# --- what is counted ------------------------------------------------------------------------------------


def test_ratios_are_medians_of_rounds(bench: Any) -> None:
    peers = {"torch": Answering(seconds=(4.0, 6.0, 100.0)), "ncnn": Answering(seconds=(2.0, 2.0, 1.0))}
    rows = {name: bench.Row(bench.RUNNERS[name], "uva-32", "32x32") for name in peers}
    bench._in_turns(peers, rows, rounds=3)
    assert rows["torch"].ratio == 1
    assert rows["ncnn"].ratio == 3
    assert rows["ncnn"].seconds == [2.0, 2.0, 1.0]


def test_a_peer_that_ends_on_the_way_stops_nobody_else(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "ending", bench.NotMeasuredError("out of memory"), raising=False)
    peers = {"torch": Answering(seconds=(4.0, 4.0)), "ncnn": Answering(seconds=(2.0, 0.0))}
    rows = {name: bench.Row(bench.RUNNERS[name], "uva-32", "32x32") for name in peers}
    bench._in_turns(peers, rows, rounds=2)
    assert list(peers) == ["torch"]
    assert rows["ncnn"].refused == "out of memory"
    assert rows["torch"].ratio == 1
    last = list(bench.table(list(rows.values())))[-1]
    assert last.startswith("| uva-32 ncnn | 32x32 | not measured: out of memory |")


def test_the_size_is_that_of_what_is_beyond_the_base(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = importlib.import_module("peers_install")
    for name, size, needs in (
        ("engine", 1000, ("numpy", "helper>=1", "docs; extra == 'docs'", "absent-here")),
        ("helper", 20, ("part; extra == 'full'", "engine")),
        ("part", 3, ()),
        ("docs", 5000, ()),
        ("numpy", 7000, ()),
    ):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "RECORD").write_text(f"{name}.py,sha256=x,{size}\n{name}-1.0.dist-info/RECORD,,\n")
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            "Version: 1.0",
            *(f"Requires-Dist: {need}" for need in needs),
        ]
        (folder / "METADATA").write_text("\n".join(lines))
    there = {item.metadata["Name"]: item for item in metadata.distributions(path=[str(tmp_path)])}
    monkeypatch.setattr(install, "_distributions", lambda python: there)
    python = Path("python")
    found = install.installed(["engine"], python, "")
    assert found.keys() == {"engine", "helper", "numpy"}
    assert install.bytes_beyond_base(found, python) == 1020
    assert install.installed(["helper[full]"], python, "").keys() >= {"part"}
    with pytest.raises(install.NotInstalledError, match=r"^other is not installed: do this"):
        install.installed(["other"], python, "do this")


def test_all_stills_are_scored_and_some_clips(bench: Any) -> None:
    footage = [
        SimpleNamespace(name=f"{kind} {index}", kind=kind)
        for kind in ("still", "video")
        for index in range(9)
    ]
    names = [item.name for item in bench.chosen(footage, 3)]
    assert names == [*(f"still {index}" for index in range(9)), "video 0", "video 4", "video 8"]
    assert len(bench.chosen(footage, 100)) == 18
    assert bench.chosen(footage[:9], 3) == footage[:9]


def test_a_page_is_written_with_the_other_models_once(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(bundle: str, runners: Sequence[Any], *_: Any) -> list[Any]:
        versions = {"engine": "1.2"}
        return [bench.Row(item, bundle, "32x32", seconds=[0.002], versions=versions) for item in runners]

    monkeypatch.setattr(bench, "measure", measure)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{bench.BEGIN}\nwhat stood there\n{bench.END}\nafter\n")
    only = "native,OpenCV fine-grained"
    bundles = "uva-64,uva-32"
    words = ["--write", str(page), "--only", only, "--bundles", bundles, "--models", str(tmp_path / "made")]
    assert bench.main(words) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{bench.BEGIN}\n\nMachine: ")
    assert "what stood there" not in text
    assert "engine 1.2" in text
    names = [line.split("|")[1].strip() for line in text.splitlines() if " | 2.000 / 2.000 | 500 |" in line]
    assert names == ["uva-32 native", "uva-64 native", "OpenCV fine-grained"]


def test_an_unknown_runner_is_refused(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(["--only", "native,nothing"])
    assert "expected some of native int8, native" in capsys.readouterr().err


def test_the_page_has_the_marks(bench: Any) -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert page.count(bench.BEGIN) == page.count(bench.END) == 1
    assert page.index(bench.BEGIN) < page.index(bench.END)
