"""The loop: one prediction a frame, states as they are, errors in the source's own words, switches that may fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge import SaliencyPredictor
from uva_edge.errors import OptionError, UvaEdgeError
from uva_edge.runtimes.predictor import Stream
from uva_edge.runtimes.view.choices import Choice
from uva_edge.runtimes.view.loop import Look

TakenApart = Callable[[bytes], tuple[dict[str, Any], list[bytes]]]


def test_every_picture_is_of_its_frame(
    script: Any, make_loop: Any, listener: Any, taken_apart: TakenApart
) -> None:
    clip = script(frames=12, fps=20.0)
    loop = make_loop(clip, look=Look(max_width=64, peaks=2))
    assert listener.statuses[-1]["state"] == "stopped"
    loop.start()
    status = listener.wait_state("ended")
    states = [item["state"] for item in listener.statuses]
    assert list(dict.fromkeys(states)) == ["stopped", "starting", "running", "ended"]
    assert status["source"]["name"] == "script"
    assert status["engine"]["backend"] == "onnxruntime"
    assert status["engine"]["precision"] == "fp32"
    assert status["engine"]["grid"] == [32, 32]

    headers = [taken_apart(message)[0] for _, message in listener.pictures]
    assert [header["serial"] for header in headers] == list(range(1, len(headers) + 1))
    assert headers[-1]["frame"] == 11
    assert len(headers) + headers[-1]["dropped"] == 12
    assert all(len(header["peaks"]) <= 2 and header["size"] == [64, 48] for header in headers)
    assert set(headers[-1]["stages"]) == {"read", "predict", "draw", "encode"}

    _, (overlay, heat) = taken_apart(listener.pictures[-1][1])
    picture = cv2.imdecode(np.frombuffer(overlay, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    assert abs(float(np.median(picture[30:, 40:])) - 11) < 40, "the dark ground of frame 11"
    assert cv2.imdecode(np.frombuffer(heat, np.uint8), cv2.IMREAD_COLOR).shape == (96, 96, 3)  # type: ignore[union-attr]


def test_the_maps_are_those_of_a_stream_that_forgets_at_each_lap(
    script: Any,
    make_loop: Any,
    listener: Any,
    flight: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = []
    push = Stream.push

    def _push(stream: Stream, frame: Any) -> Any:
        saliency = push(stream, frame)
        pushed.append((frame, saliency.map))
        return saliency

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "push", _push)
        loop = make_loop(script(frames=3, fps=20.0, file=True, images=flight[::5]))
        loop.start()
        listener.wait_for(lambda: len(listener.pictures) >= 8)
        loop.stop()
        listener.wait_state("stopped")

    # On a busy machine some frames are dropped, so the same ones are pushed here.
    order = [next(i for i in range(3) if np.array_equal(flight[5 * i], frame)) for frame, _ in pushed]
    laps = [place for place in range(1, len(order)) if order[place] <= order[place - 1]]
    assert laps
    with SaliencyPredictor("uva-32", backend="onnxruntime", precision="fp32") as predictor:
        stream, never_reset = predictor.stream(), predictor.stream()
        others = []
        for place, (frame, got) in enumerate(pushed):
            if place in laps:
                stream.reset()
            np.testing.assert_allclose(got, stream.push(frame).map, atol=1e-6, err_msg=f"push {place}")
            others.append(np.abs(never_reset.push(frame).map - got).max())
    assert max(others) > 1e-3, "the past made no difference here, so nothing was shown"


def test_with_nobody_watching_it_predicts_and_draws_the_last_picture_only(
    script: Any, make_loop: Any, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushes = counted(monkeypatch)
    listener.watched = False
    loop = make_loop(script(frames=10, fps=30.0))
    loop.start()
    listener.wait_state("ended")
    assert 1 < len(pushes) <= 10
    assert len(listener.pictures) == 1, "for who comes later"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every push of a stream, as it happens."""
    pushes: list[int] = []
    push = Stream.push

    def _push(stream: Stream, frame: Any) -> Any:
        pushes.append(1)
        return push(stream, frame)

    monkeypatch.setattr(Stream, "push", _push)
    return pushes


def test_a_source_that_does_not_open_is_told_and_tried_again(
    script: Any, make_loop: Any, listener: Any
) -> None:
    clip = script(frames=2, refuses="camera 0 can't be opened; is it plugged in?")
    loop = make_loop(clip)
    loop.start()
    assert listener.wait_state("failed")["remark"] == clip.refuses
    clip.refuses = ""
    loop.start()
    assert listener.wait_state("ended")["remark"] == ""
    assert clip.closed == 1


def test_a_source_that_fails_later_is_told_and_its_last_picture_stays(
    script: Any, make_loop: Any, listener: Any, taken_apart: TakenApart
) -> None:
    loop = make_loop(script(frames=3, fails="frame4.png can't be decoded"))
    loop.start()
    assert listener.wait_state("failed")["remark"] == "frame4.png can't be decoded"
    assert taken_apart(listener.pictures[-1][1])[0]["frame"] == 2


def test_a_damaged_file_is_told_while_it_loops(script: Any, make_loop: Any, listener: Any) -> None:
    loop = make_loop(script(frames=2, file=True, remark="decoded 2 of 9 frames"))
    loop.start()
    listener.wait_for(lambda: listener.statuses[-1]["remark"] == "decoded 2 of 9 frames")
    assert listener.statuses[-1]["state"] == "running"
    assert listener.statuses[-1]["source"]["plays"] == "plays in a loop"


def test_an_unexpected_error_is_told_without_a_traceback(
    script: Any,
    make_loop: Any,
    listener: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = make_loop(script())

    def broken(stream: Stream, frame: Any) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Stream, "push", broken)
    loop.start()
    remark = listener.wait_state("failed")["remark"]
    assert remark.startswith("ZeroDivisionError: oh; ")
    assert "Traceback" not in remark
    assert "Traceback" in caplog.text, "for whoever looks at the board"


def test_start_and_stop_again_and_again(script: Any, make_loop: Any, listener: Any) -> None:
    clip = script(frames=10_000, live=True)
    loop = make_loop(clip)
    for run in range(3):
        loop.start()
        loop.start()  # nothing more
        listener.wait_state("running")
        loop.stop()
        loop.stop()
        listener.wait_state("stopped")
        assert clip.opened == run + 1


def test_a_source_that_holds_on_is_waited_for(script: Any, make_loop: Any, listener: Any) -> None:
    """A camera that is still open could not be opened again."""
    clip = script(live=True)
    clip.gate.clear()
    loop = make_loop(clip)
    loop.start()
    listener.wait_state("running")
    loop.stop()
    assert listener.wait_state("stopping")["remark"] == ""
    with pytest.raises(OptionError, match="has not let go yet"):
        loop.start()
    assert not loop.close(timeout=0.1), "whoever ends the process is told that a thread still runs"
    clip.gate.set()
    listener.wait_state("stopped")
    assert clip.closed == 1
    assert loop.close()


def test_a_switch_goes_on_with_the_other_network(script: Any, make_loop: Any, listener: Any) -> None:
    loop = make_loop(script(frames=100_000, live=True))
    loop.start()
    listener.wait_state("running")
    loop.switch(Choice("skd-32", "onnxruntime", "int8"))
    status = listener.statuses[-1]
    assert status["switching"] == ""
    assert status["engine"]["bundle"] == "skd-32"
    assert status["engine"]["precision"] == "int8"
    assert any(item["switching"].startswith("skd-32") for item in listener.statuses)
    before = len(listener.pictures)
    listener.wait_for(lambda: len(listener.pictures) > before + 2)
    assert listener.statuses[-1]["state"] == "running"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice("/etc", "auto", "auto"), "bundle must be one of uva-32"),
        (Choice("uva-32", "tpu", "auto"), "backend must be one of"),
        (Choice("uva-32", "auto", "fp8"), "precision must be one of"),
        (Choice("uva-32", "onnxruntime", "bf16"), "needs an artifact"),
    ],
    ids=str,
)
def test_a_switch_that_fails_leaves_what_runs(
    script: Any, make_loop: Any, listener: Any, choice: Choice, words: str
) -> None:
    loop = make_loop(script(frames=100_000, live=True))
    loop.start()
    listener.wait_state("running")
    with pytest.raises(UvaEdgeError, match=words):
        loop.switch(choice)
    assert listener.statuses[-1]["engine"]["asked"]["bundle"] == "uva-32"
    assert listener.statuses[-1]["switching"] == ""
    before = len(listener.pictures)
    listener.wait_for(lambda: len(listener.pictures) > before + 2)


def test_one_switch_at_a_time(
    script: Any, make_loop: Any, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop(script())
    begun, go_on = threading.Event(), threading.Event()
    opened = loop._choices.open

    def slow(choice: Choice) -> Any:
        begun.set()
        assert go_on.wait(30)
        return opened(choice)

    monkeypatch.setattr(loop._choices, "open", slow)
    thread = threading.Thread(target=loop.switch, args=(Choice("skd-32", "onnxruntime", "fp32"),))
    thread.start()
    assert begun.wait(30)
    with pytest.raises(OptionError, match=r"skd-32.* is under way"):
        loop.switch(Choice("uva-32"))
    go_on.set()
    thread.join()
    assert listener.statuses[-1]["engine"]["bundle"] == "skd-32"


def test_a_picture_by_itself_is_predicted_again_after_a_switch(
    tmp_path: Any, listener: Any, taken_apart: TakenApart
) -> None:
    from uva_edge.runtimes.sources import open_source
    from uva_edge.runtimes.view.choices import Choices
    from uva_edge.runtimes.view.loop import PredictionLoop

    path = tmp_path / "still.png"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8))
    loop = PredictionLoop(
        lambda: open_source(path), Choices("uva-32"), Choice("uva-32", "onnxruntime", "fp32"), listener
    )
    loop.start()
    assert listener.wait_state("ended")["source"]["plays"] == "one picture"
    loop.switch(Choice("skd-32", "onnxruntime", "fp32"))
    listener.wait_for(lambda: len(listener.pictures) == 2)
    listener.wait_state("ended")
    first, second = (taken_apart(message)[1][1] for _, message in listener.pictures)
    assert first != second
    loop.close()


def test_offers_say_why_not(script: Any, make_loop: Any, listener: Any) -> None:
    make_loop(script())
    offers = listener.statuses[-1]["offers"]
    assert offers["bundles"][0] == "uva-32"
    assert {"uva-64", "skd-32"} <= set(offers["bundles"])
    assert offers["backends"]["onnxruntime"] == ""
    assert offers["backends"]["auto"] == offers["precisions"]["auto"] == ""
    assert offers["precisions"]["int8"] == ""
    assert "needs an artifact" in offers["precisions"]["bf16"]


@pytest.mark.parametrize(
    "values", [{"max_width": 63}, {"max_width": 1921}, {"peaks": -1}, {"peaks": 21}, {"alpha": 1.1}]
)
def test_a_look_that_can_not_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(values))):
        Look(**values)


@pytest.mark.parametrize(
    ("size", "shown"), [((1920, 1080), (320, 180)), ((100, 80), (100, 80)), ((64, 6400), (6, 640))]
)
def test_pictures_are_bounded(
    script: Any,
    make_loop: Any,
    listener: Any,
    taken_apart: TakenApart,
    size: tuple[int, int],
    shown: tuple[int, int],
) -> None:
    loop = make_loop(script(frames=1, size=size), look=Look(320))
    loop.start()
    listener.wait_state("ended")
    header, (overlay, _) = taken_apart(listener.pictures[-1][1])
    picture = cv2.imdecode(np.frombuffer(overlay, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1::-1] == shown
    assert header["size"] == list(size)
