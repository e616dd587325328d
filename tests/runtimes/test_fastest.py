"""Measuring once, remembering, and never failing because of what was remembered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uva_edge.bundle import Bundle
from uva_edge.environment import Availability, usable_cores
from uva_edge.errors import BundleError, NoBackendError, SessionError
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.backend import SessionOptions
from uva_edge.runtimes.fastest import cache_path, select_fastest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "uva_edge" / "fastest.json"


@pytest.fixture
def three(fake: Any, install: Callable[..., None]) -> dict[str, Any]:
    """Backends of different speed, the fastest ranked neither first nor last."""
    backends = {
        name: fake(name, seconds=seconds)
        for name, seconds in (("slow", 0.009), ("quick", 0.001), ("mid", 0.004))
    }
    install(*backends.values())
    return backends


def fastest(bundle: Bundle, **options: Any) -> Any:
    return select_fastest(bundle, "auto", SessionOptions(**options))


def loads(backends: dict[str, Any]) -> dict[str, int]:
    return {name: len(backend.sessions) for name, backend in backends.items()}


def test_the_quickest_is_chosen_and_the_others_are_told(fp32: Bundle, three: dict[str, Any]) -> None:
    selection = fastest(fp32)
    assert selection.plan.backend.name == "quick"
    assert [str(decision) for decision in selection.decisions] == [
        "quick: chosen, 1.000 ms a step here",
        "mid: possible, 4.000 ms a step here",
        "slow: possible, 9.000 ms a step here",
    ]
    for backend in three.values():
        assert [session.artifact.name for session in backend.sessions] == ["onnx-fp32-t1"], backend.name
        assert backend.sessions[0].closes == 1, f"{backend.name} was left open"


def test_equals_are_ranked_by_name(fp32: Bundle, fake: Any, install: Callable[..., None]) -> None:
    install(fake("beta"), fake("alpha"))
    assert fastest(fp32).plan.backend.name == "alpha"


def test_it_is_measured_once(fp32: Bundle, three: dict[str, Any], cache: Path) -> None:
    first = fastest(fp32)
    assert cache.is_file()
    assert list(cache.parent.iterdir()) == [cache], "a temporary file was left"
    measured = loads(three)
    three["quick"].seconds = 1.0
    assert fastest(fp32) == first
    assert loads(three) == measured, "the second time loads nothing"


def test_the_predictor_runs_it(fp32: Bundle, three: dict[str, Any]) -> None:
    with SaliencyPredictor(fp32.location, backend="fastest") as predictor:
        assert predictor.backend == "quick"
        assert predictor.explain().startswith("quick: chosen, 1.000 ms")
    assert loads(three) == {"slow": 1, "quick": 2, "mid": 1}


def test_a_new_version_of_an_engine_is_measured(fp32: Bundle, three: dict[str, Any]) -> None:
    fastest(fp32)
    three["mid"].availability = Availability("ok", "2.0")
    three["mid"].seconds = 0.0005
    assert fastest(fp32).plan.backend.name == "mid"
    assert loads(three) == {"slow": 2, "quick": 2, "mid": 2}


def test_what_was_measured_elsewhere_does_not_count(
    tiny: Callable[..., Bundle],
    fp32: Bundle,
    three: dict[str, Any],
    fake: Any,
    install: Callable[..., None],
    processor: Callable[..., None],
    cache: Path,
) -> None:
    def keys() -> int:
        return len(json.loads(cache.read_text()))

    fastest(fp32)
    assert keys() == 1
    if usable_cores() > 1:
        fastest(fp32, threads=2)
        assert keys() == 2, "threads"
    before = keys()
    fastest(tiny(("onnx-fp32", "onnx", "fp32", None), name="other", seed=2))
    assert keys() == before + 1, "bundle"
    processor(model="another processor")
    fastest(fp32)
    assert keys() == before + 2, "processor"
    install(*three.values(), fake("newcomer", seconds=0.0001))
    assert fastest(fp32).plan.backend.name == "newcomer"
    assert keys() == before + 3, "backends"


def test_what_cannot_run_is_told_every_time(
    fp32: Bundle, fake: Any, install: Callable[..., None], missing: Callable[[str], Availability]
) -> None:
    install(fake("gone", availability=missing("gone")), fake("alpha"))
    for attempt in ("measured", "remembered"):
        selection = fastest(fp32)
        assert selection.plan.backend.name == "alpha", attempt
        assert "pip install 'uva-edge[gone]'" in str(selection.decisions[-1]), attempt


@pytest.mark.parametrize("how", ["refuses", "fails"])
def test_an_engine_that_fails_is_passed_over_and_tried_again(
    how: str, fp32: Bundle, three: dict[str, Any]
) -> None:
    setattr(three["quick"], how, "out of memory")
    selection = fastest(fp32)
    assert selection.plan.backend.name == "mid"
    assert str(selection.decisions[-1]) == "quick: rejected, out of memory"
    assert all(session.closes for backend in three.values() for session in backend.sessions)
    setattr(three["quick"], how, "")
    assert fastest(fp32).plan.backend.name == "quick"


def test_nothing_left_lists_every_reason(
    fp32: Bundle, fake: Any, install: Callable[..., None], missing: Callable[[str], Availability]
) -> None:
    install(fake("gone", availability=missing("gone")), fake("weak", fails="no memory"))
    for _ in range(2):
        with pytest.raises(NoBackendError) as raised:
            fastest(fp32)
        assert "pip install 'uva-edge[gone]'" in str(raised.value)
        assert "weak: rejected, no memory" in str(raised.value)


def test_an_engine_that_refuses_after_it_was_measured_is_an_error(
    fp32: Bundle, three: dict[str, Any]
) -> None:
    fastest(fp32)
    three["quick"].refuses = "no memory"
    with pytest.raises(SessionError, match="no memory"):
        SaliencyPredictor(fp32.location, backend="fastest")


def test_a_damaged_bundle_is_told_as_such(fp32: Bundle, three: dict[str, Any]) -> None:
    (Path(fp32.location) / "golden.npz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"golden\.npz"):
        fastest(fp32)


def test_a_corrupt_cache_is_measured_anew(fp32: Bundle, three: dict[str, Any], cache: Path) -> None:
    fastest(fp32)
    whole = cache.read_text()
    (key,) = json.loads(whole)
    corrupt = {
        "empty": "",
        "cut": whole[: len(whole) // 2],
        "binary": "\0\1\2",
        "a list": "[]",
        "nested without end": "[" * 200_000,
        "too long": "[" + " " * (1 << 20) + "]",
        "no table": json.dumps({key: 3}),
        "no figures": json.dumps({key: {}}),
        "a backend short": json.dumps({key: {"slow": 0.001, "mid": 0.001}}),
        "an unknown backend": json.dumps({key: {"slow": 1.0, "mid": 1.0, "quick": 1.0, "rm -rf": 0.001}}),
    }
    for value in ("0.001", None, True, [], float("nan"), float("inf"), -0.1, 0.0, {"s": 1}):
        corrupt[f"value {value!r}"] = json.dumps({key: {"slow": 0.001, "mid": 0.1, "quick": value}})
    for title, text in corrupt.items():
        cache.write_text(text)
        assert fastest(fp32).plan.backend.name == "quick", title
        assert json.loads(cache.read_text())[key]["quick"] == pytest.approx(0.001), f"{title}: not replaced"


def test_other_entries_stay(fp32: Bundle, three: dict[str, Any], cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({"another": {"alpha": 0.5}}))
    fastest(fp32)
    assert json.loads(cache.read_text())["another"] == {"alpha": 0.5}


@pytest.mark.parametrize("obstacle", ["a file", "a directory", "a dangling link", "no home"])
def test_a_cache_that_cannot_be_written_does_no_harm(
    obstacle: str, fp32: Bundle, three: dict[str, Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = cache.parent.parent
    if obstacle == "a file":
        root.write_text("in the way")
    elif obstacle == "a directory":
        (cache / "in the way").mkdir(parents=True)
    elif obstacle == "a dangling link":
        root.symlink_to("/proc/nowhere")
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", _homeless)
    for _ in range(2):
        assert fastest(fp32).plan.backend.name == "quick"
    assert loads(three) == {"slow": 2, "quick": 2, "mid": 2}, "measured twice, for want of a memory"
    if obstacle == "a directory":
        assert list(cache.parent.iterdir()) == [cache], "a temporary file was left"


def _homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_path() == tmp_path / "cache" / "uva_edge" / "fastest.json"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    at_home = tmp_path / "home" / ".cache" / "uva_edge" / "fastest.json"
    for value in ("", "relative", f".{os.sep}"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_path() == at_home, value
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_path() == at_home


def test_real_backends_are_measured(bundle: Bundle, cache: Path) -> None:
    with SaliencyPredictor(bundle.location, backend="fastest") as predictor:
        figures = [decision for decision in predictor.decisions if decision.reason.endswith("ms a step here")]
        assert figures, predictor.explain()
        assert figures[0].backend == predictor.backend
        milliseconds = [float(decision.reason.split()[0]) for decision in figures]
        assert milliseconds == sorted(milliseconds)
        assert milliseconds[0] > 0
    (remembered,) = json.loads(cache.read_text()).values()
    assert set(remembered) == {decision.backend for decision in figures}


@pytest.mark.parametrize(
    ("milliseconds", "gate", "winner"), [(1, 0.999, "int8"), (3, 0.999, "fp32"), (1, 0.98, "fp32")]
)
def test_int8_is_measured_where_it_passed_its_gate(
    milliseconds: int,
    gate: float,
    winner: str,
    tiny: Callable[..., Bundle],
    fake: Any,
    install: Callable[..., None],
) -> None:
    install(fake("alpha", seconds=0.002), fake("beta", formats=("openvino",), seconds=milliseconds / 1000))
    parity = {"cc_stills": gate, "cc_clips": gate, "cc_golden": gate, "nss_loss": 0.0}
    both = tiny(
        ("onnx-fp32", "onnx", "fp32", None), ("ir-int8", "openvino", "int8", None, parity), name="both"
    )
    selection = select_fastest(both, "auto", SessionOptions())
    assert selection.plan.step.precision == winner
    labels = {decision.backend: decision.verdict for decision in selection.decisions}
    assert ("beta (int8)" in labels) == (gate > 0.99)
