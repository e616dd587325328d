"""The promise itself: every backend computes what the bundle's golden data says; and whatever does not is caught."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uva_edge.bundle import Bundle, shipped_bundles
from uva_edge.bundle_writer import ArtifactSource, write_bundle
from uva_edge.environment import Availability
from uva_edge.errors import BundleError, OptionError, SessionError
from uva_edge.golden import Golden
from uva_edge.manifest import Artifact
from uva_edge.preprocess import network_input
from uva_edge.runtimes.agreement import TOLERANCES, compare, limits
from uva_edge.runtimes.backend import SessionInfo, SessionOptions
from uva_edge.runtimes.camera_formats import FORMATS, camera_frames, is_exact
from uva_edge.runtimes.chaining import run_abreast, run_chained
from uva_edge.runtimes.conformance import (
    Outcome,
    cases,
    default_threads,
    passed,
    run_cases,
    tolerance,
    verify,
)
from uva_edge.runtimes.registry import BACKENDS


class Player:
    """A backend that plays back the golden clip, as a test has it spoilt."""

    name = "player"
    formats = ("onnx",)

    def __init__(self, golden: Golden, spoil: Callable[..., Any] | None = None) -> None:
        self.golden, self._spoil = golden, spoil
        self._clip = golden.frames.astype(np.float32)
        self.availability = Availability("ok", "1.0")
        self.closes = 0

    def installed(self) -> Availability:
        return self.availability

    def probe(self) -> Availability:
        return self.availability

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> Player:
        self.info = SessionInfo(self.name, "player 1.0", artifact.name, "CPU", "fp32", options.threads)
        return self

    def run(self, frames: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The nearest: frames that came as YUV are a little different.
        places = np.array([np.abs(self._clip - frame).mean(axis=(1, 2, 3)).argmin() for frame in frames])
        maps, last = self.golden.maps[places], np.repeat(self.golden.state, len(state), axis=0)
        return self._spoil(maps, last, places) if self._spoil else (maps, last)

    def close(self) -> None:
        self.closes += 1


def play(bundle: Bundle, spoil: Callable[..., Any] | None = None) -> list[Outcome]:
    return verify(bundle, backends=[Player(bundle.golden(), spoil)])


def without_numbers(outcome: Outcome) -> str:
    return f"{outcome.case}: {outcome.status}, {outcome.message}"


# --- this machine ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=["exported", *shipped_bundles()])
def promised(request: pytest.FixtureRequest) -> Bundle:
    if request.param == "exported":
        return request.getfixturevalue("bundle")
    return Bundle.shipped(request.param)


def test_every_case_passes_here(promised: Bundle) -> None:
    threads = (
        default_threads() if promised.manifest.contract.resolution <= 64 else (1,)
    )  # for the time it takes
    ran = []
    for outcome in run_cases(promised, cases(promised, threads=threads)):
        if outcome.status == "SKIPPED":
            assert not BACKENDS[outcome.case.backend].probe().ok, without_numbers(outcome)
            continue
        assert outcome.status == "PASS", f"{promised.name}: {without_numbers(outcome)}"
        ran.append(outcome)
    assert any(outcome.case.backend == "onnxruntime" for outcome in ran)
    for outcome in ran:
        errors = outcome.errors
        assert errors is not None, outcome.case
        figures = errors.figures()
        for name, bound in limits(tolerance(promised.artifact(outcome.case.artifact), outcome.case)).items():
            within = bound <= figures[name] <= 1 + 1e-9 if name == "min_cc" else figures[name] <= bound
            assert within, f"{name}: {without_numbers(outcome)}"
        assert len(errors.per_frame) == len(promised.golden().maps)
        assert max(errors.per_frame) == errors.max_abs_map
        assert (errors.per_frame[0], errors.per_frame[-1]) == (errors.first_frame, errors.last_frame)


@pytest.mark.parametrize("color", FORMATS)
def test_the_clip_in_every_frame_format_is_the_clip(color: Any, bundle: Bundle) -> None:
    frames, grid = bundle.golden().frames, bundle.manifest.contract.grid
    inputs = np.stack([network_input(frame, grid, color=color) for frame in camera_frames(frames, color)])
    lost = np.abs(inputs.astype(int) - frames).max()
    assert lost == 0 if is_exact(color) else 0 < lost <= 2


def test_the_clip_shows_whether_the_state_is_passed_on(bundle: Bundle) -> None:
    """Or the cases would prove nothing of the chain: without the state the maps must be others."""
    golden, backend = bundle.golden(), BACKENDS["onnxruntime"]
    (case, *_) = (case for case in cases(bundle, [backend]) if case.length == 1)
    session = backend.load(bundle, bundle.artifact(case.artifact), SessionOptions())
    chained, _ = run_chained(session.run, bundle.manifest.contract, golden.frames, 1)
    blank = np.zeros_like(golden.state)
    alone = np.concatenate([session.run(frame[None], blank)[0] for frame in golden.frames])
    differs = np.abs(chained - alone).max(axis=(1, 2)) > 100 * TOLERANCES["fp32"].max_abs
    assert differs.mean() > 0.9


def test_the_table(bundle: Bundle) -> None:
    table = [str(case) for case in cases(bundle)]
    assert len(set(table)) == len(table)
    for artifact in bundle.manifest.artifacts:
        for name, backend in BACKENDS.items():
            if artifact.format in backend.formats:
                lengths = {"1"} if artifact.frames == 1 else {"1", "16", "all", "1/S=4", "16/S=4"}
                for length in lengths:
                    assert f"{name}/{artifact.name}/T={length}" in table
                for color in FORMATS:
                    assert f"{name}/{artifact.name}/T=1/{color}" in table
            else:
                assert not any(line.startswith(f"{name}/{artifact.name}/") for line in table)


def test_the_table_has_every_number_of_threads_once(bundle: Bundle) -> None:
    backend = BACKENDS["onnxruntime"]
    one, both = (cases(bundle, [backend], threads) for threads in ((1,), (1, 2, 2)))
    more = set(both) - set(one)
    assert len(both) == len(set(both)) == len(one) + len(more)
    assert more
    assert {(case.threads, case.streams, case.color) for case in more} == {(2, 1, None)}


def test_streams_that_are_mixed_up_fail(bundle: Bundle) -> None:
    """An engine that takes frames for one stream's where they are of four."""
    golden, contract = bundle.golden(), bundle.manifest.contract
    backend = BACKENDS["onnxruntime"]
    session = backend.load(bundle, bundle.artifact("onnx-fp32"), SessionOptions())

    def one_clip(frames: np.ndarray, state: np.ndarray) -> Any:
        maps, last = session.run(frames, state[:1])
        return maps, np.repeat(last, len(state), axis=0)

    for run, right in ((session.run, True), (one_clip, False)):
        for length in (1, 16):
            maps, state = run_abreast(run, contract, golden.frames, length, 4)
            _, problems = compare(golden, maps, state, TOLERANCES["fp32"])
            assert (not problems) == right, (length, problems)


@pytest.mark.parametrize("streams", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 11, 12])
def test_pieces_of_a_clip_cover_it(bundle: Bundle, count: int, streams: int) -> None:
    """Whatever the number of frames comes to, every map and the last state are there, once, in their places."""
    frames = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 32, 32, 3), np.uint8)

    def run(frames: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A map is the frame's number, and half of that of the frame before it; the state is the number."""
        numbers = frames[:, 0, 0, 0].astype(np.float32)
        before = np.concatenate((state[:, 0, 0, 0], numbers[: -len(state)]))
        maps = np.broadcast_to((numbers + before / 2)[:, None, None], frames.shape[:3])
        return maps, np.broadcast_to(numbers[-len(state) :, None, None, None], state.shape)

    for length in (1, 2, 16):
        maps, state = run_abreast(run, bundle.manifest.contract, frames, length, streams)
        expected = np.arange(count) + np.maximum(np.arange(count) - 1, 0) / 2
        np.testing.assert_array_equal(maps[:, 0, 0], expected, err_msg=f"T = {length}")
        assert (state == count - 1).all()
        assert state.shape == bundle.manifest.contract.state_shape


def test_every_precision_has_a_tolerance() -> None:
    assert set(TOLERANCES) == {"fp32", "fp16", "bf16", "int8"}
    assert TOLERANCES["fp32"].max_abs == 1e-4
    assert (TOLERANCES["fp16"].max_abs, TOLERANCES["fp16"].min_cc) == (2e-2, 0.999)
    assert TOLERANCES["int8"].min_cc == 0.99


# --- what must not pass ---------------------------------------------------------------------------------


def test_the_player_plays(bundle: Bundle) -> None:
    outcomes = play(bundle)
    assert {outcome.status for outcome in outcomes} == {"PASS"}
    assert passed(outcomes)
    for outcome in outcomes:
        assert outcome.errors is not None
        assert outcome.errors.max_abs_map == outcome.errors.max_abs_state == 0


def _at(index: int, maps: np.ndarray, places: np.ndarray, value: float) -> np.ndarray:
    maps[places == index, 3, 4] = value
    return maps


SPOILT: dict[str, tuple[Callable[..., Any], str]] = {
    "zeros": (lambda maps, state, _: (maps * 0, state * 0), "max_abs_map"),
    "zeros for a map": (lambda maps, state, _: (maps * 0, state), "max_abs_map"),
    "zeros for a state": (lambda maps, state, _: (maps, state * 0), "max_abs_state"),
    "one NaN": (lambda maps, state, places: (_at(20, maps, places, np.nan), state), "NaN or infinity"),
    "one infinity": (lambda maps, state, places: (_at(20, maps, places, np.inf), state), "NaN or infinity"),
    "NaN in the state": (lambda maps, state, _: (maps, state * np.nan), "NaN or infinity"),
    "one number": (lambda maps, state, start: (_at(33, maps, start, 3.0), state), "max_abs_map"),
    "a little more": (lambda maps, state, _: (maps + np.float32(2e-4), state), "max_abs_map"),
    "mirrored": (lambda maps, state, _: (maps[:, :, ::-1], state), "CC"),
    "a constant": (lambda maps, state, _: (np.full_like(maps, 0.5), state), "CC 0.00000"),
    "one map too many": (
        lambda maps, state, _: (np.concatenate((maps, maps[:1])), state),
        "expected float32",
    ),
    "one axis too many": (lambda maps, state, _: (maps[:, None], state), "expected float32"),
    "double precision": (lambda maps, state, _: (maps.astype(np.float64), state), "got float64"),
    "a state of another shape": (lambda maps, state, _: (maps, state[:, :1]), "state: expected float32"),
}


@pytest.mark.parametrize("kind", list(SPOILT))
def test_a_wrong_result_fails(kind: str, bundle: Bundle) -> None:
    spoil, words = SPOILT[kind]
    outcomes = play(bundle, spoil)
    assert not passed(outcomes)
    strict = [item for item in outcomes if item.case.color is None or is_exact(item.case.color)]
    assert strict
    for outcome in strict:
        assert outcome.status == "FAIL", f"{outcome.case}: {outcome.message}"
        assert words in outcome.message, outcome.case


@pytest.mark.parametrize("kind", sorted(set(SPOILT) - {"a little more", "zeros for a state"}))
def test_what_yuv_loses_hides_no_wrong_result(kind: str, bundle: Bundle) -> None:
    outcomes = [item for item in play(bundle, SPOILT[kind][0]) if item.case.color in ("nv12", "i420", "yuyv")]
    assert {outcome.status for outcome in outcomes} == {"FAIL"}


def test_a_wrong_conversion_fails(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red for blue, on the way to an input that is otherwise right."""
    from uva_edge.runtimes import conformance

    def swapped(*arguments: Any, **options: Any) -> np.ndarray:
        return network_input(*arguments, **options)[..., ::-1].copy()

    monkeypatch.setattr(conformance, "network_input", swapped)
    outcomes = [outcome for outcome in play(bundle) if outcome.case.color]
    assert len(outcomes) >= len(FORMATS)
    for outcome in outcomes:
        assert outcome.status == "FAIL", without_numbers(outcome)
        assert "to input" in outcome.message


def test_a_peak_elsewhere_fails_where_it_is_less_salient(bundle: Bundle) -> None:
    """One pixel in a corner: the maps are within the tolerance of int8, and their peaks are wrong."""
    golden = bundle.golden()
    maps = golden.maps.copy()
    maps[:, 0, 0] = maps.max() + 0.05
    errors, problems = compare(golden, maps, golden.state, replace(TOLERANCES["int8"], min_cc=0))
    assert errors is not None
    assert errors.argmax_shift_px > 1
    assert [problem.split()[0] for problem in problems if "peak" in problem] == ["peak_loss"]


def test_more_threads_than_there_are_is_told(bundle: Bundle) -> None:
    player = Player(bundle.golden())
    table = [replace(case, threads=10_000) for case in cases(bundle, [player])]
    outcomes = list(run_cases(bundle, table, {"player": player}))
    assert {outcome.status for outcome in outcomes} == {"UNSUPPORTED"}
    assert "not 10000" in outcomes[0].message
    assert not passed(outcomes)


def test_an_error_that_grows_is_seen_as_drift(bundle: Bundle) -> None:
    def drifting(maps: np.ndarray, state: np.ndarray, places: np.ndarray) -> Any:
        step = 1e-6 * places.astype(np.float32)[:, None, None]
        return np.abs(maps - step), state

    for outcome in play(bundle, drifting):
        errors = outcome.errors
        assert errors is not None
        assert errors.first_frame == 0
        assert errors.last_frame == pytest.approx(1e-6 * (len(bundle.golden().frames) - 1), rel=0.1)
        assert errors.max_abs_map == errors.last_frame == errors.drift


def test_the_network_of_another_bundle_fails(bundle: Bundle, tmp_path: Path) -> None:
    """A well-formed bundle whose ONNX computes something else: every hash is right, and every number wrong."""
    (artifact, *_) = (item for item in bundle.manifest.artifacts if item.format == "onnx" and not item.frames)
    model = bytearray(bundle.read(artifact.files[0]))
    other = _with_other_weights(bytes(model))
    wrong = write_bundle(
        tmp_path / "wrong",
        name="wrong",
        network=bundle.manifest.network,
        contract=bundle.manifest.contract,
        artifacts=[ArtifactSource("onnx-fp32", "onnx", "fp32", None, {"clip.onnx": other}, {}, {})],
        golden=bundle.golden(),
        accuracy={},
        lineage=bundle.manifest.lineage,
    )
    outcomes = verify(wrong)
    ran = [outcome for outcome in outcomes if outcome.status != "SKIPPED"]
    assert ran
    for outcome in ran:
        assert outcome.status == "FAIL", without_numbers(outcome)
        assert "max_abs_map" in outcome.message
        assert outcome.errors is not None
    assert not passed(outcomes)


def _with_other_weights(model: bytes) -> bytes:
    onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
    graph = onnx.load_from_string(model)
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim == 4:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.ascontiguousarray(values[..., ::-1]), tensor.name)
            )
    return bytes(graph.SerializeToString())


def test_a_constant_clip_is_judged_by_its_values(bundle: Bundle, tmp_path: Path) -> None:
    """Where nothing stands out the correlation has no say: equal constants are equal."""
    golden = bundle.golden()
    flat = replace(golden, maps=np.full_like(golden.maps, 0.3))
    (artifact, *_) = (item for item in bundle.manifest.artifacts if item.format == "onnx")
    files = {"clip.onnx": bundle.read(artifact.files[0])}
    constant = write_bundle(
        tmp_path / "constant",
        name="constant",
        network=bundle.manifest.network,
        contract=bundle.manifest.contract,
        artifacts=[ArtifactSource("onnx-fp32", "onnx", "fp32", None, files, {}, {})],
        golden=flat,
        accuracy={},
        lineage=bundle.manifest.lineage,
    )
    assert {outcome.status for outcome in play(constant)} == {"PASS"}
    for outcome in play(constant, lambda maps, state, _: (maps + np.float32(0.1), state)):
        assert outcome.status == "FAIL"
        assert outcome.errors is not None
        assert outcome.errors.max_abs_map == pytest.approx(0.1)
        assert outcome.errors.min_cc == 1


# --- engines that don't run -----------------------------------------------------------------------------


def test_a_missing_backend_is_skipped_with_the_reason(bundle: Bundle) -> None:
    player = Player(bundle.golden())
    player.availability = Availability(
        "missing", reason="player is not installed", fix="pip install 'uva-edge[player]'"
    )
    outcomes = verify(bundle, backends=[player])
    assert outcomes
    for outcome in outcomes:
        assert outcome.status == "SKIPPED", outcome.case
        assert outcome.message == "player is not installed; pip install 'uva-edge[player]'"
        assert outcome.errors is None
    assert not passed(outcomes), "nothing was checked"


def test_a_broken_backend_fails(bundle: Bundle) -> None:
    player = Player(bundle.golden())
    player.availability = Availability("broken", "1.0", "libplayer.so.1 is not there", "pip uninstall player")
    outcomes = verify(bundle, backends=[player])
    assert {(outcome.status, outcome.message) for outcome in outcomes} == {
        ("FAIL", "libplayer.so.1 is not there; pip uninstall player")
    }


@pytest.mark.parametrize("error", [SessionError("no memory"), BundleError("clip.onnx: cut short")])
@pytest.mark.parametrize("when", ["load", "run"])
def test_an_engine_that_fails_is_a_failure_in_its_words(
    when: str, error: Exception, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(bundle.golden())

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(player, when, fail)
    for outcome in verify(bundle, backends=[player]):
        assert (outcome.status, outcome.message) == ("FAIL", str(error))
    assert bool(player.closes) == (when == "run"), "a session that was opened is closed"


def test_nothing_checked_is_no_success(bundle: Bundle) -> None:
    assert not passed([])
    outcomes = verify(bundle, backends=[])
    assert outcomes == []
    assert not passed(outcomes)


def test_one_failure_spoils_the_rest(bundle: Bundle) -> None:
    good, bad = play(bundle), play(bundle, SPOILT["zeros"][0])
    assert passed(good)
    assert not passed([*good, bad[0]])


def test_a_damaged_file_stops_everything(bundle: Bundle, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(bundle.location, tmp_path / "copied"))
    path = copied / bundle.manifest.artifacts[0].files[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=path.name):
        verify(Bundle.open(copied))


@pytest.mark.parametrize("threads", [0, 10_000])
def test_threads_that_there_are_not(threads: int, bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="threads must be from 1"):
        verify(bundle, threads=threads)


def test_outcomes_are_json(bundle: Bundle) -> None:
    for outcome in play(bundle):
        data = json.loads(json.dumps(outcome.as_dict()))
        assert data["case"]["backend"] == "player"
        assert data["status"] == "PASS"
        assert len(data["errors"]["per_frame"]) == len(bundle.golden().maps)
