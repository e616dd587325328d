"""SaliencyPredictor: the same numbers on every backend, and what it says when it can't have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import zip_bundle
from uva_edge.environment import usable_cores
from uva_edge.errors import BundleNotFoundError, ClosedError, FrameError, OptionError
from uva_edge.preprocess import network_input
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes import predictor as predictor_module
from uva_edge.runtimes.registry import BACKENDS

Clip = NDArray[np.uint8]


def pushed(predictor: SaliencyPredictor, frames: Any, **options: Any) -> NDArray[np.float32]:
    with predictor.stream(**options) as stream:
        return np.stack([stream.push(frame).map for frame in frames])


# --- the numbers ----------------------------------------------------------------------------------------


def test_a_flight_is_what_the_network_makes_of_it(
    predictor: SaliencyPredictor, bundle: Bundle, flight: Clip
) -> None:
    """Against the network itself, pair by pair: no state, no folding, none of the code that exports or runs."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    from uva_edge.models.checkpoint import load_checkpoint
    from uva_edge.models.uva_net import to_map

    (weights,) = (artifact for artifact in bundle.manifest.artifacts if artifact.format == "torch")
    network, _ = load_checkpoint(bundle.read(weights.files[0]))
    inputs = torch.tensor(np.stack([network_input(frame, predictor.resolution) for frame in flight]))
    with torch.inference_mode():
        logits = network(inputs, torch.cat((inputs[:1], inputs[:-1])))
    expected = to_map(logits, network.config.output).numpy()
    assert expected.std(axis=(1, 2)).min() > 0.01
    np.testing.assert_allclose(predictor.predict_clip(flight), expected, atol=1e-4)
    np.testing.assert_allclose(pushed(predictor, flight), expected, atol=1e-4)


def test_every_backend_agrees_with_torch(
    predictor: SaliencyPredictor, bundle: Bundle, flight: Clip, able: Callable[[str], str]
) -> None:
    with SaliencyPredictor(bundle.location, backend=able("torch")) as reference:
        expected = reference.predict_clip(flight)
    np.testing.assert_allclose(predictor.predict_clip(flight), expected, atol=1e-4)


def test_pushing_equals_the_clip_and_starts_with_predict(predictor: SaliencyPredictor, flight: Clip) -> None:
    maps = pushed(predictor, flight)
    assert maps.shape == (12, predictor.resolution, predictor.resolution)
    assert maps.std(axis=(1, 2)).min() > 0.01
    np.testing.assert_allclose(predictor.predict_clip(flight), maps, atol=1e-5)
    np.testing.assert_array_equal(predictor.predict(flight[0]).map, maps[0])
    assert np.abs(predictor.predict(flight[5]).map - maps[5]).max() > 1e-3, "the frame before plays no part"


def test_the_batch_does_not_matter(predictor: SaliencyPredictor, flight: Clip) -> None:
    maps = predictor.predict_clip(flight, batch=1)
    for batch in (5, 11, 12, 32):
        np.testing.assert_allclose(
            predictor.predict_clip(flight, batch=batch), maps, atol=1e-5, err_msg=f"batch {batch}"
        )


def test_a_saliency_is_of_its_frame(onnx: SaliencyPredictor, flight: Clip) -> None:
    saliency = onnx.predict(flight[0])
    assert saliency.size == (320, 180)
    assert saliency.map.dtype == np.float32
    assert saliency.resized().shape == (180, 320)
    assert onnx.stream().push(flight[0]).size == (320, 180)


def test_a_clip_may_come_from_anywhere(onnx: SaliencyPredictor, flight: Clip) -> None:
    expected = onnx.predict_clip(flight)
    for clip in (list(flight), tuple(flight), iter(flight), (frame for frame in flight)):
        np.testing.assert_array_equal(onnx.predict_clip(clip), expected, err_msg=type(clip).__name__)


@pytest.mark.parametrize("cores", [1, 2])
def test_a_generator_is_drawn_batch_by_batch(
    cores: int, fake: Any, install: Callable[..., None], fp32: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most one batch ahead of the engine, and none where the engine has all cores."""
    monkeypatch.setattr(predictor_module, "usable_cores", lambda: cores)
    frames, drawn = fp32.golden().frames, 0
    seen: list[tuple[int, int]] = []
    alpha = fake("alpha")
    install(alpha)

    def draw() -> Iterator[Clip]:
        nonlocal drawn
        for index in range(10):
            drawn += 1
            yield frames[index % 4]

    with SaliencyPredictor(fp32.location) as predictor:
        session = predictor._session_for_clips()
        run = session.run

        def watched(clip: Clip, state: Any) -> Any:
            seen.append((len(clip), drawn))
            return run(clip, state)

        monkeypatch.setattr(session, "run", watched)
        assert len(predictor.predict_clip(draw(), color="rgb", batch=4)) == 10
    needed = [(1, 4), (4, 4), (4, 8), (2, 10)]  # (frames, drawn so far) of each run
    assert [count for count, _ in seen] == [count for count, _ in needed]
    for (_, found), (_, least) in zip(seen, needed, strict=True):
        assert least <= found <= least + 4 * (cores - 1)


# --- closing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(BACKENDS))
def test_whatever_was_closed_says_so(
    name: str, bundle: Bundle, flight: Clip, able: Callable[[str], str]
) -> None:
    with SaliencyPredictor(bundle.location, backend=able(name)) as predictor:
        stream, ended = predictor.stream(), predictor.stream()
        stream.push(flight[0])
        predictor.predict_clip(flight[:2])
        with ended:
            ended.push(flight[0])
        with pytest.raises(ClosedError, match=r"predictor\.stream\(\)"):
            ended.push(flight[0])
        stream.push(flight[1])  # the others go on
    uses: list[Callable[[], Any]] = [
        lambda: predictor.predict(flight[0]),
        lambda: predictor.predict_clip(flight[:2]),
        lambda: predictor.stream(),
        lambda: stream.push(flight[2]),
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="closed"):
            use()
    for _ in range(2):
        predictor.close()
        stream.close()
    assert predictor.backend == name
    assert predictor.explain()


def test_closed_in_the_middle_of_a_clip(bundle: Bundle, flight: Clip) -> None:
    predictor = SaliencyPredictor(bundle.location, backend="onnxruntime")

    def frames() -> Iterator[Clip]:
        yield from flight[:4]
        predictor.close()
        yield from flight[4:]

    with pytest.raises(ClosedError):
        predictor.predict_clip(frames(), batch=2)


def test_every_session_is_closed(fp32: Bundle, fake: Any, install: Callable[..., None]) -> None:
    alpha = fake("alpha")
    install(alpha)
    with SaliencyPredictor(fp32.location) as predictor:
        predictor.predict_clip(fp32.golden().frames, color="rgb")
        assert [session.closes for session in alpha.sessions] == [0, 0]
    assert [session.closes for session in alpha.sessions] == [1, 1]


# --- options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, -1, usable_cores() + 1, True, 1.0, "1", None])
def test_threads_that_there_are_not(threads: Any, bundle: Bundle) -> None:
    with pytest.raises(OptionError, match=f"from 1 to {usable_cores()}, the cores that this process may use"):
        SaliencyPredictor(bundle.location, threads=threads)


def test_the_threads_that_were_asked_for(predictor: SaliencyPredictor, bundle: Bundle, flight: Clip) -> None:
    assert predictor.info.threads == 1
    cores = min(2, usable_cores())
    with SaliencyPredictor(bundle.location, backend=predictor.backend, threads=cores) as more:
        assert more.info.threads == cores
        np.testing.assert_allclose(
            more.predict_clip(flight[:3]), predictor.predict_clip(flight[:3]), atol=1e-5
        )


@pytest.mark.parametrize("batch", [0, -1, True, 2.5, "2", None])
def test_a_batch_is_a_count(batch: Any, onnx: SaliencyPredictor, flight: Clip) -> None:
    with pytest.raises(OptionError, match="batch must be an integer of at least 1") as raised:
        onnx.predict_clip(flight, batch=batch)
    assert repr(batch) in str(raised.value)


@pytest.mark.parametrize("options", [{"color": "argb"}, {"color": None}, {"yuv_range": "tv"}])
def test_unknown_colors_and_ranges(options: Any, onnx: SaliencyPredictor, flight: Clip) -> None:
    (wrong,) = options.values()
    for use in (
        lambda: onnx.predict(flight[0], **options),
        lambda: onnx.predict_clip(flight[:2], **options),
        lambda: onnx.stream(**options).push(flight[0]),
    ):
        with pytest.raises(OptionError, match=repr(wrong)):
            use()


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        ([], "at least one frame"),
        (iter(()), "at least one frame"),
        (np.zeros((0, 4, 4, 3), np.uint8), "at least one frame"),
        ("video.mp4", "got str"),
        (b"video.mp4", "got bytes"),
        (None, "got NoneType"),
        (3, "got int"),
        (np.zeros((8, 8, 3), np.uint8), r"got shape \(8, 3\)"),
        ({"frame": 1}, "got str"),
    ],
)
def test_what_is_no_clip(clip: Any, words: str, onnx: SaliencyPredictor) -> None:
    with pytest.raises(FrameError, match=words):
        onnx.predict_clip(clip)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no-such-bundle"):
        SaliencyPredictor(tmp_path / "no-such-bundle")


def test_a_zip_of_a_bundle(bundle: Bundle, tmp_path: Path, onnx: SaliencyPredictor, flight: Clip) -> None:
    packed = zip_bundle(bundle, tmp_path / "bundle.zip")
    with SaliencyPredictor(packed, backend="onnxruntime") as predictor:
        np.testing.assert_array_equal(predictor.predict_clip(flight[:2]), onnx.predict_clip(flight[:2]))


# --- what it says of itself -----------------------------------------------------------------------------


def test_it_says_what_it_is(predictor: SaliencyPredictor, bundle: Bundle) -> None:
    info = predictor.info
    name = info.backend
    assert predictor.backend == name
    assert predictor.resolution == bundle.manifest.contract.resolution
    assert predictor.bundle.sha256 == bundle.sha256
    assert repr(predictor) == (
        f"SaliencyPredictor({bundle.name!r}, backend={name!r}, precision='fp32', threads=1)"
    )
    assert predictor.explain() == f"{name}: chosen, asked for by name"
    assert info.artifact in {artifact.name for artifact in bundle.manifest.artifacts}
    assert bundle.artifact(info.artifact).precision == info.precision
    assert json.loads(json.dumps(info.as_dict())) == info.as_dict()


def test_auto_explains_itself(bundle: Bundle, flight: Clip) -> None:
    with SaliencyPredictor(bundle.location) as predictor:
        lines = predictor.explain().splitlines()
        assert len(lines) == len(BACKENDS)
        chosen = [line for line in lines if ": chosen, " in line]
        assert len(chosen) == 1
        assert chosen[0].startswith(f"{predictor.backend}: ")
        assert predictor.predict(flight[0]).peaks()
