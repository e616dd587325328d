"""The page: whole, self-contained, and nothing that a report says is markup."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_reports import report, reports, result, run_on_a_small_machine, worst_frame
from numpy.typing import NDArray

from uva_edge.runtimes.bench.html.page import html_page
from uva_edge.runtimes.bench.html.pictures import data_uri, difference
from uva_edge.runtimes.bench.report import BundleFacts, Report, WorstFrame

_VOID = {"meta", "img"}
_TAGS = {
    *(
        "html",
        "head",
        "title",
        "style",
        "body",
        "main",
        "header",
        "section",
        "article",
        "meta",
        "img",
        "figure",
    ),
    *(
        "figcaption",
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "div",
        "span",
        "small",
        "code",
        "pre",
    ),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("svg", "rect", "line", "text", "path", "polyline"),
}
_ATTRIBUTES = {
    *(
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "id",
        "class",
        "title",
        "scope",
        "tabindex",
        "role",
    ),
    *(
        "aria-label",
        "aria-hidden",
        "src",
        "alt",
        "width",
        "height",
        "data-column",
        "viewbox",
        "x",
        "y",
        "x1",
        "x2",
    ),
    *("y1", "y2", "d", "points", "dy", "text-anchor", "preserveaspectratio"),
}


class _Page(HTMLParser):
    """What a browser makes of it: the words of each section, and every address."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.words: dict[str, list[str]] = {"": []}
        self.section = ""
        self.addresses: list[str] = []
        self.metas: dict[str, str] = {}
        self.images = 0
        self.styles: list[str] = []
        self.title = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS, tag
        assert {name for name, _ in attrs} <= _ATTRIBUTES, (tag, attrs)
        values = {name: value or "" for name, value in attrs}
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = values["id"]
            self.words[self.section] = []
        if tag == "meta":
            self.metas[values.get("http-equiv", values.get("name", "charset"))] = values.get("content", "")
        if tag == "img":
            self.images += 1
            assert values["alt"]
            self.addresses.append(values["src"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
        elif self.open and self.open[-1] == "title":
            self.title = data
        else:
            self.words[self.section].append(data)

    def text(self, section: str) -> str:
        return " ".join(" ".join(self.words[section]).split())


@pytest.fixture(scope="module")
def whole() -> str:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    reference = rng.random((32, 32), dtype=np.float32)
    made = run_on_a_small_machine()
    cases = [
        row.case for row in made.results if row.kind == "golden" and row.bundle == "uva-32" and row.series
    ]
    worst = [worst_frame(frame, reference, case) for case in cases]
    return html_page(made, worst)


@pytest.fixture(scope="module")
def page(whole: str) -> _Page:
    return _Page(whole)


def test_what_matters_comes_first(page: _Page) -> None:
    order = ["", "glance", "failed", "remarks", "unchecked", "speed", "golden", "task", "worst"]
    assert list(page.words) == [*order, "terms", "machine", "bundles", "again"]
    assert page.text("").startswith("FAIL 2 of 48 checks failed; 14 cases could not be checked here.")
    assert page.title == "FAIL: uva-32, uva-64"


def test_what_failed_is_told_with_figure_and_limit(page: _Page) -> None:
    failed = page.text("failed")
    assert "uva-64: openvino/openvino-int8/T=1" in failed
    assert "CC 0.98173 < 0.99 at frame 37" in failed
    assert "smallest CC 0.981730 ≥ 0.99" in failed
    assert "FPS 366 ≥ 400" in failed
    assert "map error" not in failed, "a limit that was kept"


def test_cases_that_share_a_reason_are_told_together(page: _Page) -> None:
    assert page.text("unchecked").count("torch is not installed; pip install 'uva-edge[torch]'") == 1
    assert "12 cases" in page.text("unchecked")


def test_every_case_has_its_figures(page: _Page) -> None:
    made = run_on_a_small_machine()
    for row in made.results:
        if row.figures:
            assert row.case in page.text(row.kind), row.case
    assert "p50 / p95 / p99" in page.text("speed")
    assert "reference 1.8789" in page.text("task")
    for fact in ("Cortex-A76", "1.23.2", "ondemand", "torch is not installed"):
        assert fact in page.text("machine"), fact
    assert "5e" * 32 in page.text("bundles")
    assert "uva-edge bench uva-32 uva-64" in page.text("again")


def test_terms_are_those_of_the_page(page: _Page) -> None:
    assert "p50, p95, p99" in page.text("terms")
    assert "NSS saliency where people looked" in page.text("terms")
    assert "KLD" not in page.text("terms")
    only_speed = _Page(html_page(report(result(figures={"fps": 12.0}))))
    assert "NSS" not in only_speed.text("terms")


def test_the_command_of_the_run_is_repeated() -> None:
    command = "uva-edge bench uva-32 --threads 2"
    text = _Page(html_page(report(result(), options={"command": command}))).text("again")
    assert text.count(command) == 2  # as what was asked for, and as the line to type


def test_nothing_leaves_the_page(whole: str, page: _Page) -> None:
    assert not re.search(
        r"https?:|//|@import|url\(|<script|<link|<a |srcdoc|javascript:|\son\w+=", _without_pictures(whole)
    )
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    (style,) = page.styles
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = page.metas["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;")
    assert page.metas["viewport"] == "width=device-width, initial-scale=1"
    assert page.metas["color-scheme"] == "light dark"


def _without_pictures(text: str) -> str:
    return re.sub(r"base64,[A-Za-z0-9+/=]*", "", text)


def test_its_size_is_bounded(whole: str, page: _Page) -> None:
    assert len(whole) < 4 << 20
    assert page.images == 9 * 4
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    many = [worst_frame(frame, rng.random((32, 32), dtype=np.float32), f"case {i}") for i in range(40)]
    crowded = _Page(html_page(run_on_a_small_machine(), many))
    assert crowded.images == 12 * 4
    assert crowded.text("worst").count("uva-32: case ") == 40, "those without pictures are named"


def test_the_same_report_gives_the_same_page(whole: str) -> None:
    made = run_on_a_small_machine()
    assert html_page(made) == html_page(made)


# --- untrusted words ------------------------------------------------------------------------------------

_HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title><b>",
    "$style ${body} $",
    "&lt;b&gt;",
    "]]><!--",
)


@pytest.mark.parametrize("words", _HOSTILE)
def test_words_are_no_markup(words: str) -> None:
    figures = {words: 1.0, "max_abs_map": 1.0, f"{words}_p99_ms": 2.0}
    rows = [
        result(
            kind,
            words,
            f"{words}{status}",
            status,
            words,
            figures,
            {words: ("<=", 0.5)},
            {"error": (1.0, 2.0)},
        )  # type: ignore[arg-type]
        for kind in ("golden", "task", "speed")
        for status in ("PASS", "FAIL", "SKIPPED")
    ]
    pixels = np.zeros((4, 4, 3), np.uint8)
    cells = np.zeros((4, 4), np.float32)
    made = report(
        *rows,
        created=words,
        uva_edge=words,
        machine={words: {words: [words]}, "cpu": {"model": words}},
        conditions={words: words},
        remarks=(words,),
        options={words: words, "command": words},
        bundles=(BundleFacts(words, words, ({words: words},)),),
    )
    page = _Page(html_page(made, [WorstFrame(words, words, 0, pixels, cells, cells)]))
    for section in (
        "",
        "glance",
        "failed",
        "remarks",
        "unchecked",
        "golden",
        "worst",
        "machine",
        "bundles",
        "again",
    ):
        assert words in page.text(section), section
    assert words in page.title


@settings(max_examples=60, deadline=None)
@given(made=reports(st.text(max_size=12)))
def test_any_report_has_a_page(made: Report) -> None:
    text = html_page(made)
    text.encode("utf-8")
    verdict = _Page(text).text("")
    assert verdict.startswith("PASS" if made.passed else "FAIL")


@pytest.mark.parametrize("sign", ["\N{RIGHT-TO-LEFT OVERRIDE}", "\0", "\x1b", "\ud800"])
def test_signs_that_mislead_are_replaced(sign: str) -> None:
    text = html_page(report(result(case=f"a{sign}b", figures={"fps": 1.0})))
    assert sign not in text
    assert "a\N{REPLACEMENT CHARACTER}b" in _Page(text).text("speed")


def test_a_reference_alone_is_no_score() -> None:
    text = _Page(html_page(report(result("task", figures={"nss_reference": 1.5})))).text("task")
    assert "– reference 1.5000" in text


def test_a_run_without_checks_says_so() -> None:
    page = _Page(html_page(report(result(status="SKIPPED", message="no engine is installed"))))
    assert page.text("").startswith(
        "FAIL Nothing was checked, and that counts as a failure; 1 case could not"
    )
    assert "no engine is installed" in page.text("unchecked")
    assert "speed" not in page.words
    assert (
        _Page(html_page(report()))
        .text("")
        .startswith("FAIL Nothing was checked, and that counts as a failure.")
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1e-300, 1e300])
def test_values_that_have_no_place_on_an_axis(value: float) -> None:
    figures = {"fps": value, "max_abs_map": value, "total_p50_ms": value, "nss": 1.0, "nss_reference": value}
    series = {"error": (value, 1e-6), "total_ms": (value, 1.0)}
    rows = [result(kind, figures=figures, series=series) for kind in ("golden", "task", "speed")]  # type: ignore[arg-type]
    text = html_page(report(*rows))
    _Page(text)
    drawn = re.findall(r"<(?:rect|line|text|polyline|path) [^>]*>", text)
    assert drawn
    assert not [mark for mark in drawn if "nan" in mark or "inf" in mark]


# --- pictures -------------------------------------------------------------------------------------------


def _decoded(uri: str) -> NDArray[np.uint8]:
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image[:, :, ::-1], np.uint8)


@pytest.mark.parametrize(("size", "factor"), [((32, 32), 6), ((32, 64), 3), ((256, 256), 1)])
def test_cells_stay_squares(size: tuple[int, int], factor: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    decoded = _decoded(data_uri(picture))
    assert decoded.shape == (size[0] * factor, size[1] * factor, 3)
    assert np.array_equal(decoded[::factor, ::factor], picture)


def test_the_difference_has_a_colour_for_each_direction() -> None:
    reference = np.full((2, 2), 0.5, np.float32)
    found = np.array([[0.5, 0.75], [0.25, np.nan]], np.float32)
    picture, scale = difference(WorstFrame("b", "c", 0, np.zeros((2, 2, 3), np.uint8), reference, found))
    assert scale == pytest.approx(0.25)
    equal, more, less, none = picture.reshape(-1, 3).astype(int).tolist()
    assert min(equal) > 240
    assert more[0] > more[2] + 100
    assert less[2] > less[0] + 100
    assert none == [255, 0, 255]


def test_equal_maps_have_no_difference() -> None:
    cells = np.full((3, 3), 0.25, np.float32)
    picture, scale = difference(WorstFrame("b", "c", 0, np.zeros((3, 3, 3), np.uint8), cells, cells))
    assert scale == 0
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


# --- in a browser ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def screenshot(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], NDArray[np.uint8]]:
    """A page as Chromium shows it, so many pixels wide: RGB."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the Debian package chromium")

    def shoot(text: str, width: int) -> NDArray[np.uint8]:
        root = tmp_path_factory.mktemp("page")
        (root / "page.html").write_text(text, encoding="utf-8")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--disable-dev-shm-usage", "--force-device-scale-factor=1"]
        command += [f"--user-data-dir={root / 'profile'}", f"--window-size={width},1600"]
        command += [f"--screenshot={root / 'page.png'}", (root / "page.html").as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        image = cv2.imread(str(root / "page.png"))
        assert image is not None, done.stderr[-2000:]
        return np.asarray(image[:, :, ::-1], np.uint8)

    return shoot


def test_a_browser_shows_it_with_its_style(
    whole: str, screenshot: Callable[[str, int], NDArray[np.uint8]]
) -> None:
    """The policy lets the style sheet in: the verdict is white on red, and bars are drawn."""
    shown = screenshot(whole, 1280)
    assert shown.shape == (1600, 1280, 3)
    for name, color, least in (("verdict", (0xCF, 0x22, 0x2E), 500), ("bars", (0x09, 0x69, 0xDA), 2000)):
        assert (shown == np.array(color)).all(axis=2).sum() > least, name
