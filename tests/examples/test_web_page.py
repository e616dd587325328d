"""The page of examples/web as its user sees it: it plays, works offline, and says in words what is wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pytest
from browser import ISOLATION, Browser, served
from numpy.typing import NDArray

from uva_edge import SaliencyPredictor
from uva_edge.preprocess import network_input

U8 = NDArray[np.uint8]
PLAYS: Final = "() => Number(document.getElementById('fps').textContent) > 0"
PROBLEM: Final = """() => !document.getElementById("problem").hidden
    && document.getElementById("problem-words").textContent"""


def text(browser: Browser, element: str) -> str:
    words: str = browser.evaluate("(id) => document.getElementById(id).textContent", element)
    return words


def click(browser: Browser, element: str) -> None:
    browser.evaluate("(id) => document.getElementById(id).click()", element)


def choose(browser: Browser, element: str, value: str) -> None:
    script = """([id, value]) => {
        const select = document.getElementById(id);
        select.value = value;
        select.dispatchEvent(new Event("change"));
    }"""
    browser.evaluate(script, [element, value])


def numbers(browser: Browser, body: str) -> list[list[float]]:
    """The cells of a table after the first of each row."""
    script = """(id) => [...document.querySelectorAll(`#${id} tr`)].map((row) =>
        [...row.cells].slice(1).map((cell) => Number(cell.textContent)))"""
    rows: list[list[float]] = browser.evaluate(script, body)
    return rows


@contextmanager
def changed(web_project: Path, folder: Path, name: str, contents: bytes | None) -> Iterator[str]:
    """The URL of the page with another file in the place of one, or none."""
    copy = folder / "dist"
    shutil.copytree(web_project / "dist", copy, copy_function=os.link)
    (copy / name).unlink()
    if contents is not None:
        (copy / name).write_bytes(contents)
    with served(copy, ISOLATION) as url:
        yield url


# --- it plays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["wasm", "wasm-threads"])
def test_it_plays_the_scene_and_tells_its_speed(browser: Browser, site: str, backend: str) -> None:
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32&backend={backend}")
    browser.wait(PLAYS)
    browser.wait("() => document.querySelectorAll('#peak-rows tr').length > 0")
    assert text(browser, "picture-words") == "synthetic scene, 640x360 pixels"
    assert text(browser, "engine").startswith(
        "WASM with SIMD, 1 t" if backend == "wasm" else "WASM with SIMD, "
    )
    medians = [row[0] for row in numbers(browser, "stages")]
    read, make, run, draw, total = medians
    assert min(read, run, total) > 0
    assert total >= max(read, make, run, draw)
    assert browser.said() == []
    assert [url for url in browser.asked() if not url.startswith((site, "data:", f"blob:{site}"))] == []


def test_another_network_and_a_pause(browser: Browser, site: str) -> None:
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait("() => document.querySelector('.grid').textContent === '32x32'")
    choose(browser, "bundle", "uva-64")
    browser.wait("() => document.querySelector('.grid').textContent === '64x64'")
    browser.wait(PLAYS)
    still = """async () => {
        const picture = () => document.getElementById("picture").toDataURL();
        const frames = (count) => new Promise((resolve) => {
            const next = () => (count-- > 0 ? requestAnimationFrame(next) : resolve());
            next();
        });
        await frames(30);
        const before = picture();
        await frames(30);
        return picture() === before;
    }"""
    assert not browser.evaluate(still)
    click(browser, "pause")
    assert browser.evaluate(still)
    click(browser, "pause")
    browser.wait(PLAYS)


def test_it_works_without_a_network(browser: Browser, web_project: Path) -> None:
    browser.new_page()
    with served(web_project, ISOLATION) as root:
        url = f"{root}/dist"
        browser.goto(f"{url}/")
        browser.wait("() => document.getElementById('offline').textContent.startsWith('Kept')")
    # Now nobody is there. What was never chosen before has been kept as well.
    browser.goto(f"{url}/?bundle=uva-32&backend=wasm-threads")
    browser.wait(PLAYS)
    assert text(browser, "engine").startswith("WASM with SIMD, ")
    assert browser.said() == []


# --- sources ----------------------------------------------------------------------------------------------


def test_a_camera(browser: Browser, site: str) -> None:
    browser.new_page(permissions=["camera"])
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait(PLAYS)
    click(browser, "camera")
    browser.wait("() => document.getElementById('picture-words').textContent.startsWith('fake_device')")
    browser.wait(PLAYS)
    click(browser, "scene")
    browser.wait("() => document.getElementById('picture-words').textContent.startsWith('synthetic')")
    assert browser.said() == []


def test_a_camera_that_is_not_allowed(browser: Browser, site: str) -> None:
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait(PLAYS)
    click(browser, "camera")
    assert "camera was not allowed" in browser.wait(PROBLEM)
    browser.wait(PLAYS)  # what was there before goes on


def test_a_picture(browser: Browser, site: str, flight: U8, tmp_path: Path) -> None:
    """From the file to the numbers on the page, against Python on the same file."""
    assert cv2.imwrite(str(tmp_path / "frame.png"), flight[5])
    browser.new_page()
    browser.goto(site)
    browser.wait(PLAYS)
    browser.choose("#file-input", tmp_path / "frame.png")
    browser.wait("() => document.getElementById('picture-words').textContent === 'frame.png, 320x180 pixels'")
    seen = browser.evaluate("""() => {
        const canvas = document.getElementById("input");
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
    }""")
    rgb = np.array(seen, np.uint8).reshape(64, 64, 4)[..., :3]
    np.testing.assert_array_equal(rgb, network_input(flight[5], 64))
    with SaliencyPredictor("uva-64", backend="onnxruntime", precision="fp32") as predictor:
        peaks = predictor.predict(flight[5]).peaks(3)
    shown = numbers(browser, "peak-rows")
    expected = [[peak.x, peak.y, peak.value] for peak in peaks]
    np.testing.assert_allclose(shown, expected, rtol=0, atol=0.51)  # shown without decimals


def test_the_overlay_of_a_picture_that_stands(
    browser: Browser, site: str, flight: U8, tmp_path: Path
) -> None:
    assert cv2.imwrite(str(tmp_path / "frame.png"), flight[5])
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait(PLAYS)
    browser.choose("#file-input", tmp_path / "frame.png")
    browser.wait("() => document.getElementById('picture-words').textContent.startsWith('frame.png')")
    click(browser, "overlay")
    seen = browser.evaluate("""() => {
        const canvas = document.getElementById("picture");
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
    }""")
    bare = np.array(seen, np.uint8).reshape(180, 320, 4)
    np.testing.assert_array_equal(bare[..., 2::-1], flight[5])
    click(browser, "overlay")
    assert browser.evaluate("() => document.getElementById('overlay').checked")
    with_heat = browser.evaluate("() => document.getElementById('picture').toDataURL()")
    click(browser, "overlay")
    assert browser.evaluate("() => document.getElementById('picture').toDataURL()") != with_heat


def test_a_video(browser: Browser, site: str, flight: U8, tmp_path: Path) -> None:
    path = tmp_path / "flight.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"VP80"), 25, (320, 180))  # type: ignore[attr-defined]
    if not writer.isOpened():
        pytest.skip("this OpenCV can't write VP8")
    for frame in flight:
        writer.write(frame)
    writer.release()
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait(PLAYS)
    browser.choose("#file-input", path)
    browser.wait(
        "() => document.getElementById('picture-words').textContent === 'flight.webm, 320x180 pixels'"
    )
    browser.wait(PLAYS)  # twelve frames are half a second: it begins again
    assert browser.said() == []


@pytest.mark.parametrize(("name", "words"), [("a.txt", "is not a video"), ("a.png", "is not a picture")])
def test_a_file_that_is_neither(browser: Browser, site: str, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_text("words alone")
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait(PLAYS)
    browser.choose("#file-input", tmp_path / name)
    assert f"{name} {words}" in browser.wait(PROBLEM)
    browser.wait(PLAYS)


# --- what can't run says so -------------------------------------------------------------------------------


def test_no_webgpu_is_said_and_wasm_offered(browser: Browser, site: str) -> None:
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32&backend=webgpu")
    assert "WebGPU" in browser.wait(PROBLEM)
    assert text(browser, "engine") == text(browser, "fps") == "–"  # nothing took its place
    click(browser, "scene")
    assert "WebGPU" in browser.wait(PROBLEM)  # still so
    click(browser, "use-wasm")
    browser.wait(PLAYS)
    assert text(browser, "engine").startswith("WASM with SIMD, 1 thread")
    assert browser.evaluate("() => document.getElementById('problem').hidden")


def test_threads_without_isolation(browser: Browser, web_project: Path) -> None:
    with served(web_project / "dist", {}) as url:
        browser.new_page()
        browser.goto(f"{url}/?bundle=uva-32&backend=wasm-threads")
        assert "Cross-Origin-Opener-Policy: same-origin" in browser.wait(PROBLEM)
        assert text(browser, "engine") == "–"
        choose(browser, "backend", "wasm")
        browser.wait(PLAYS)


@pytest.mark.parametrize("damage", ["a bit", "an end"])
def test_a_damaged_model(browser: Browser, web_project: Path, tmp_path: Path, damage: str) -> None:
    name = "bundles/uva-32/step.onnx"
    model = bytearray((web_project / "dist" / name).read_bytes())
    if damage == "a bit":
        model[len(model) // 2] ^= 1
    else:
        del model[-1]
    with changed(web_project, tmp_path, name, bytes(model)) as url:
        browser.new_page()
        browser.goto(f"{url}/?bundle=uva-32")
        words = browser.wait(PROBLEM)
        assert words.startswith("The model file step.onnx is damaged: expected ")
        assert ("SHA-256" in words) == (damage == "a bit")
        assert text(browser, "engine") == text(browser, "fps") == "–"
        choose(browser, "bundle", "uva-64")  # the other one is whole
        browser.wait(PLAYS)


def test_a_damaged_model_is_not_kept(browser: Browser, web_project: Path, tmp_path: Path) -> None:
    """The service worker has it; when the server's is whole again, a reload gets that one."""
    name = "bundles/uva-32/step.onnx"
    model = (web_project / "dist" / name).read_bytes()
    with changed(web_project, tmp_path, name, model[:-1] + b"x") as url:
        browser.new_page()
        browser.goto(f"{url}/?bundle=uva-32")
        browser.wait("() => document.getElementById('offline').textContent.startsWith('Kept')")
        (tmp_path / "dist" / name).write_bytes(model)
        browser.goto(f"{url}/?bundle=uva-32")
        assert "Reload the page" in browser.wait(PROBLEM)
        browser.goto(f"{url}/?bundle=uva-32")
        browser.wait(PLAYS)


def test_a_page_that_browsers_do_not_trust(browser: Browser, site: str) -> None:
    browser.new_page()
    browser.goto(f"{site.replace('localhost', 'insecure.test')}/?bundle=uva-32")
    assert "https or localhost" in browser.wait(PROBLEM)
    assert text(browser, "offline").startswith("Not kept")
    click(browser, "camera")
    browser.wait("() => document.getElementById('problem-words').textContent.includes('lend a camera')")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "expected schema_version 1, got 2"),
        ({"contract": {"pairing": "lookahead"}}, "each frame with the one before it"),
        ({"artifacts": []}, "a float32 ONNX artifact for one frame"),
        (None, "bundle.json is no JSON"),
    ],
    ids=["schema", "lookahead", "artifacts", "no json"],
)
def test_a_manifest_that_can_not_be_used(
    browser: Browser, web_project: Path, tmp_path: Path, change: dict[str, object] | None, words: str
) -> None:
    name = "bundles/uva-32/bundle.json"
    manifest = json.loads((web_project / "dist" / name).read_bytes())
    contents = b"{" if change is None else json.dumps({**manifest, **change}).encode()
    with changed(web_project, tmp_path, name, contents) as url:
        browser.new_page()
        browser.goto(f"{url}/?bundle=uva-32")
        assert words in browser.wait(PROBLEM)


@pytest.mark.parametrize("name", ["step.onnx", "bundle.json"])
def test_a_file_that_is_not_there(browser: Browser, web_project: Path, tmp_path: Path, name: str) -> None:
    with changed(web_project, tmp_path, f"bundles/uva-32/{name}", None) as url:
        browser.new_page()
        browser.goto(f"{url}/?bundle=uva-32")
        words = browser.wait(PROBLEM)
        assert f"/bundles/uva-32/{name}: the server answers 404" in words


# --- anybody can use it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_the_screen(browser: Browser, site: str, tmp_path: Path, width: int, scheme: str) -> None:
    browser.new_page(colorScheme=scheme, viewport={"width": width, "height": 800})
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait(PLAYS)
    assert browser.evaluate("() => document.scrollingElement.scrollWidth") <= width
    ground = browser.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 3 * 128) == (scheme == "dark")


def test_the_keyboard_reaches_every_control(browser: Browser, site: str) -> None:
    browser.new_page()
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait(PLAYS)
    reached = []
    for _ in range(7):
        browser.press("Tab")
        reached.append(browser.evaluate("() => document.activeElement.id"))
    assert reached == ["scene", "camera", "file", "bundle", "backend", "overlay", "pause"]
    browser.press("Space")
    assert browser.evaluate("() => document.getElementById('pause').getAttribute('aria-pressed')") == "true"


def test_those_who_want_little_motion_are_asked(browser: Browser, site: str) -> None:
    browser.new_page(reducedMotion="reduce")
    browser.goto(f"{site}/?bundle=uva-32")
    browser.wait("() => document.getElementById('engine').textContent !== '–'")
    assert browser.evaluate("() => document.getElementById('pause').getAttribute('aria-pressed')") == "true"
    click(browser, "pause")
    browser.wait(PLAYS)
