"""examples/web computes what Python does: inputs by the byte, maps of the golden clip within 1e-3, peaks."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from browser import ISOLATION, Browser, served
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from uva_edge import Bundle, Saliency, SaliencyPredictor
from uva_edge.preprocess import network_input

TOLERANCE: Final = 1e-3
U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

# The way of every frame that the page shows, from a picture to a map.
_STEPS: Final = """async ({ bundle, backend, width, height, frames }) => {
    const bytes = Uint8ClampedArray.from(atob(frames), (letter) => letter.charCodeAt(0));
    const { engine, loaded } = await uvaEdge.Engine.load(`bundles/${bundle}`, backend);
    const text = (array) => {
        const all = new Uint8Array(array.buffer);
        let letters = "";
        for (let i = 0; i < all.length; i += 4096) letters += String.fromCharCode(...all.subarray(i, i + 4096));
        return btoa(letters);
    };
    const inputs = [];
    const maps = [];
    const size = 4 * width * height;
    try {
        for (let at = 0; at < bytes.length; at += size) {
            const picture = new ImageData(bytes.slice(at, at + size), width, height);
            const { bitmap, input, map } = await engine.step(picture);
            bitmap.close();
            inputs.push(text(input));
            maps.push(text(map));
        }
    } finally {
        engine.close();
    }
    return { engine: loaded.engine, grid: [loaded.grid.rows, loaded.grid.columns], inputs, maps };
}"""


@dataclass(frozen=True)
class Steps:
    """What the page made of frames: uint8 [N, R, C, 3], float32 [N, R, C], and the engine in its words."""

    inputs: U8
    maps: F32
    engine: str


def steps(browser: Browser, frames: U8, bundle: str, backend: str) -> Steps:
    """The frames, RGB [N, H, W, 3], as one stream of the page's engine."""
    opaque = np.full((*frames.shape[:3], 4), 255, np.uint8)
    opaque[..., :3] = frames
    height, width = frames.shape[1:3]
    given = {"bundle": bundle, "backend": backend, "width": width, "height": height}
    made = browser.evaluate(_STEPS, {**given, "frames": base64.b64encode(opaque.tobytes()).decode()})
    inputs = [np.frombuffer(base64.b64decode(text), np.uint8) for text in made["inputs"]]
    maps = [np.frombuffer(base64.b64decode(text), "<f4") for text in made["maps"]]
    return Steps(
        np.stack(inputs).reshape(-1, *made["grid"], 3),
        np.stack(maps).reshape(-1, *made["grid"]),
        made["engine"],
    )


@pytest.fixture(scope="module")
def page(browser: Browser, site: str) -> Browser:
    """The page, not playing."""
    browser.new_page(reducedMotion="reduce")
    browser.goto(site)
    browser.wait("() => window.uvaEdge !== undefined")
    return browser


@pytest.mark.parametrize("backend", ["wasm", "wasm-threads"])
@pytest.mark.parametrize("bundle", ["uva-32", "uva-64"])
def test_the_golden_clip(page: Browser, bundle: str, backend: str) -> None:
    golden = Bundle.shipped(bundle).golden()
    made = steps(page, golden.frames, bundle, backend)
    np.testing.assert_array_equal(made.inputs, golden.frames)  # each pixel is sampled 16 times
    assert len(golden.maps) == len(golden.frames) >= 48
    np.testing.assert_allclose(made.maps, golden.maps, rtol=0, atol=TOLERANCE)
    assert made.engine.startswith("WASM with SIMD, ")
    assert ("1 thread," in made.engine) == (backend == "wasm")


def test_webgpu(chromium: str, web_project: Path) -> None:
    """On SwiftShader, a GPU in software that comes with Chromium; slow, so the clip's first frames alone."""
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    golden = Bundle.shipped("uva-32").golden()
    browser = Browser(web_project, chromium, ["--no-sandbox", *flags])
    try:
        with served(web_project / "dist", ISOLATION) as url:
            browser.new_page(reducedMotion="reduce")
            browser.goto(url)
            browser.wait("() => document.getElementById('offline').textContent.startsWith('Kept')")
            browser.goto(url)
            if not browser.evaluate("async () => (await navigator.gpu?.requestAdapter() ?? null) !== null"):
                pytest.skip("this Chromium has no GPU in software (SwiftShader) for WebGPU")
            made = steps(browser, golden.frames[:4], "uva-32", "webgpu")
        # What it takes was kept when it was used; the server is gone.
        offline = steps(browser, golden.frames[:2], "uva-32", "webgpu")
    finally:
        browser.close()
    np.testing.assert_allclose(made.maps, golden.maps[:4], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(offline.maps, golden.maps[:2], rtol=0, atol=TOLERANCE)
    assert made.engine.startswith("WebGPU, ")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_inputs_of_any_size(page: Browser, data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 300), st.integers(1, 300)), "height and width")
    frame = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)
    made = steps(page, frame[None], "uva-32", "wasm")
    np.testing.assert_array_equal(made.inputs[0], network_input(frame, 32, color="rgb"))


@pytest.mark.parametrize("size", [(1, 1), (1, 2049), (1081, 1921), (2049, 1)], ids=str)
def test_inputs_of_extreme_sizes(page: Browser, size: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    made = steps(page, frame[None], "uva-64", "wasm")
    np.testing.assert_array_equal(made.inputs[0], network_input(frame, 64, color="rgb"))


def test_a_flight_and_its_peaks(page: Browser, flight: U8) -> None:
    """Frames of a camera's size against the class that Python's users have."""
    made = steps(page, flight[..., ::-1], "uva-64", "wasm")
    height, width = flight.shape[1:3]
    with SaliencyPredictor("uva-64", backend="onnxruntime", precision="fp32") as predictor:
        stream = predictor.stream()
        for index, frame in enumerate(flight):
            saliency = stream.push(frame)
            np.testing.assert_allclose(
                made.maps[index], saliency.map, rtol=0, atol=TOLERANCE, err_msg=f"{index}"
            )
            assert_same_peaks(page, made.maps[index], (width, height))


def test_a_stream_that_starts_again(page: Browser) -> None:
    """`restart` forgets the frame before; a step without it does not."""
    script = """async () => {
        const { engine } = await uvaEdge.Engine.load("bundles/uva-32", "wasm");
        const picture = (shade) => {
            const canvas = new OffscreenCanvas(64, 64);
            const context = canvas.getContext("2d");
            context.fillStyle = "#567";
            context.fillRect(0, 0, 64, 64);
            context.fillStyle = "#fc3";
            context.fillRect(shade, 20, 12, 12);
            return canvas;
        };
        const maps = [];
        for (const [place, again] of [[10, false], [40, false], [10, false], [10, true]]) {
            if (again) await engine.restart();
            maps.push([...(await engine.step(picture(place))).map]);
        }
        engine.close();
        return maps;
    }"""
    first, _, third, again = (np.float32(values) for values in page.evaluate(script))
    np.testing.assert_array_equal(again, first)
    assert np.abs(third - first).max() > 0.01


def plateaus() -> st.SearchStrategy[F32]:
    """Maps of few levels, where neighbours are often equal."""
    shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
    levels = st.sampled_from([0.0, 0.0625, 0.25, 0.5, 1.0])
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=levels))


@settings(max_examples=200, deadline=None)
@given(values=plateaus(), width=st.integers(1, 700), height=st.integers(1, 700))
def test_peaks_of_any_map(page: Browser, values: F32, width: int, height: int) -> None:
    assert_same_peaks(page, values, (width, height))


def assert_same_peaks(page: Browser, values: F32, size: tuple[int, int]) -> None:
    script = """({ values, rows, columns, width, height }) =>
        uvaEdge.findPeaks(Float32Array.from(values), { rows, columns }, { width, height })"""
    rows, columns = values.shape
    found: list[dict[str, float]] = page.evaluate(
        script,
        {
            "values": values.ravel().tolist(),
            "rows": rows,
            "columns": columns,
            "width": size[0],
            "height": size[1],
        },
    )
    expected = Saliency(values, size).peaks(3)
    assert len(found) == len(expected), (found, expected)
    for mine, peak in zip(found, expected, strict=True):
        assert (mine["x"], mine["y"], mine["value"]) == pytest.approx((peak.x, peak.y, peak.value), abs=1e-4)
