"""The element `uvasaliency` in real pipelines, by Debian's Python: regions, messages, pixels, states and refusals."""

from __future__ import annotations

import base64
import json
import os
import re
import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from gstreamer_frames import U8, appsrc_frame, planes_of, predicted

from uva_edge import Saliency, SaliencyPredictor

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLE: Final = ROOT / "examples" / "gstreamer"
PYTHON: Final = Path("/usr/bin/python3")
ELEMENT: Final = "uvasaliency bundle=uva-32 backend=onnxruntime precision=fp32"
OUT: Final = "appsink name=out sync=false"
FORMATS: Final = ("NV12", "I420", "BGR", "RGB")
PACKAGES: Final = "the Debian packages of tests/examples/packages.txt"
NEEDED: Final = (
    "python",
    "app",
    "videotestsrc",
    "coreelements",
    "videoconvertscale",
    "isomp4",
    "libav",
    "videoparsersbad",
)

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of Debian's programs, whose Python sees the packages of this one and GStreamer the example."""
    home = tmp_path_factory.mktemp("gstreamer")
    folders = [folder for folder in sys.path if folder.endswith("site-packages")] or site.getsitepackages()
    lines = ["import site", *(f"site.addsitedir({folder!r})" for folder in folders)]
    (home / "sitecustomize.py").write_text("\n".join(lines))
    found = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "GST_PLUGIN_PATH": str(EXAMPLE),
        "GST_REGISTRY": str(home / "registry.bin"),
    }
    probe = (
        "import sys, gi; gi.require_version('Gst', '1.0'); gi.require_version('GstVideo', '1.0')\n"
        "from gi.repository import Gst, GstVideo; Gst.init(None)\n"
        f"missing = [name for name in {NEEDED!r} if not Gst.Registry.get().find_plugin(name)]\n"
        "print('%d.%d' % sys.version_info[:2], *missing)"
    )
    if not PYTHON.exists():
        pytest.skip(f"needs {PACKAGES}: there is no {PYTHON}")
    done = subprocess.run(
        [PYTHON, "-c", probe], env=found, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.skip(f"needs {PACKAGES}: {done.stderr.strip().splitlines()[-1]}")
    version, *missing = done.stdout.split()
    if missing:
        pytest.skip(f"needs {PACKAGES}: GStreamer has no plugin {', '.join(missing)}")
    if version != "{}.{}".format(*sys.version_info):
        pytest.skip(f"Debian's Python is {version}, and this one's packages are for {sys.version.split()[0]}")
    return found


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a pipeline and gives its result, as told in gstreamer_run.py."""

    def run(line: str, **spec: Any) -> dict[str, Any]:
        (tmp_path / "spec.json").write_text(json.dumps({"line": line, **spec}))
        words = [PYTHON, ROOT / "tests" / "examples" / "gstreamer_run.py", "spec.json", "result.json"]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        result: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
        return result

    return run


# --- what is expected ---------------------------------------------------------------------------------------


def expect_regions(buffer: dict[str, Any], saliency: Saliency, count: int = 3) -> None:
    expected = [
        {"x": r.x, "y": r.y, "w": r.width, "h": r.height, "value": r.peak.value, "share": r.share}
        for r in saliency.regions()[:count]
    ]
    assert buffer["regions"] == expected


def expect_message(message: dict[str, Any], saliency: Saliency) -> None:
    facts = saliency.as_dict()
    assert message["size"] == facts["size"]
    assert message["peaks"] == facts["peaks"]
    assert message["regions"] == facts["regions"][:3]


# --- what comes out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padded", [False, True], ids=["packed", "padded"])
def test_one_stream_through_frames_of_any_format_size_and_stride(run: Run, padded: bool) -> None:
    """Caps change with almost every frame; the state goes on as if they had not."""
    rng = np.random.default_rng(11)
    sizes = [(181, 321), (181, 321), (48, 64), (1, 1), (2, 3), (97, 33), (240, 320)]
    frames = [(form, planes_of(rng, form, *size)) for size in sizes for form in FORMATS]
    given = [
        appsrc_frame(rng, form, planes, 40_000_000 * index, padded=padded)
        for index, (form, planes) in enumerate(frames)
    ]
    result = run(f"appsrc name=in format=time ! {ELEMENT} ! {OUT}", frames=given)
    assert (result["error"], result["eos"]) == (None, True)
    assert len(result["buffers"]) == len(result["messages"]) == len(frames)
    for index, saliency in enumerate(predicted(frames)):
        buffer, message = result["buffers"][index], result["messages"][index]
        expect_regions(buffer, saliency)
        expect_message(message, saliency)
        assert buffer["pts"] == message["pts"] == message["running_time"] == 40_000_000 * index
        assert message["frame"] == index
        assert buffer["bytes"] == len(base64.b64decode(given[index]["data"]))


@pytest.mark.parametrize("form", FORMATS)
def test_pixels_pass_through_untouched(run: Run, form: str) -> None:
    source = f"videotestsrc num-buffers=6 ! video/x-raw,format={form},width=320,height=240"
    plain = run(f"{source} ! {OUT}")["buffers"]
    marked = run(f"{source} ! {ELEMENT} ! {OUT}")["buffers"]
    assert [buffer["sha256"] for buffer in marked] == [buffer["sha256"] for buffer in plain]
    assert [buffer["pts"] for buffer in marked] == [buffer["pts"] for buffer in plain]
    assert all(buffer["regions"] for buffer in marked)
    assert not any(buffer["regions"] for buffer in plain)


@pytest.mark.parametrize("reads_marked", [True, False], ids=["marked", "other"])
def test_the_other_branch_of_a_tee_sees_no_regions(run: Run, reads_marked: bool) -> None:
    """Buffers that two branches share are not writable; the element's get metadata of their own."""
    source = "videotestsrc num-buffers=6 ! video/x-raw,format=I420,width=320,height=240"
    marked, other = (OUT, "fakesink sync=false")[:: 1 if reads_marked else -1]
    line = f"{source} ! tee name=t ! queue ! {ELEMENT} ! {marked} t. ! queue ! {other}"
    buffers = run(line)["buffers"]
    assert len(buffers) == 6
    assert [bool(buffer["regions"]) for buffer in buffers] == [reads_marked] * 6
    plain = run(f"{source} ! {OUT}")["buffers"]
    assert [buffer["sha256"] for buffer in buffers] == [buffer["sha256"] for buffer in plain]


def test_a_video_file_with_h264(run: Run, flight: U8, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs the extra 'video'")
    with av.open(str(tmp_path / "flight.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 318, 178, "yuv420p"
        for image in flight:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:178, :318]), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    line = f"filesrc location=flight.mp4 ! qtdemux ! h264parse ! avdec_h264 ! {ELEMENT} ! {OUT}"
    result = run(line, dump="frames.bin")
    assert (result["error"], result["eos"], len(result["buffers"])) == (None, True, len(flight))
    data, frames = (tmp_path / "frames.bin").read_bytes(), []
    for buffer in result["buffers"]:
        shapes = ((178, 318), (89, 159), (89, 159))
        layout = zip(shapes, buffer["offsets"], buffer["strides"], strict=True)
        frames.append(
            ("I420", [np.ndarray(shape, np.uint8, data, at, (stride, 1)) for shape, at, stride in layout])
        )
        data = data[buffer["bytes"] :]
    for buffer, message, saliency in zip(
        result["buffers"], result["messages"], predicted(frames), strict=True
    ):
        expect_regions(buffer, saliency)
        expect_message(message, saliency)
        assert message["pts"] == buffer["pts"]


def test_the_range_of_the_caps_is_taken(run: Run) -> None:
    rng = np.random.default_rng(3)
    planes = planes_of(rng, "NV12", 48, 64)
    found = []
    for range_ in (1, 2):  # GstVideoColorRange: full, limited
        frame = appsrc_frame(rng, "NV12", planes, 0, padded=False)
        frame["caps"] += f",colorimetry={range_}:4:0:0"
        found.append(run(f"appsrc name=in format=time ! {ELEMENT} ! {OUT}", frames=[frame]))
    with SaliencyPredictor("uva-32", backend="onnxruntime", precision="fp32") as predictor:
        for result, yuv_range in zip(found, ("full", "limited"), strict=True):
            expect_message(
                result["messages"][0], predictor.predict(planes, color="nv12", yuv_range=yuv_range)
            )
    assert found[0]["messages"] != found[1]["messages"]


def test_the_ball_is_followed(run: Run) -> None:
    """videotestsrc's ball: the strongest region, a twenty-fifth of the frame, holds its centre in most frames."""
    size = "width=320,height=240"
    line = f"videotestsrc pattern=ball num-buffers=90 ! video/x-raw,format=BGR,{size} ! {ELEMENT} ! {OUT}"
    result = run(line, dump="frames.bin")
    frames = np.fromfile(result["dump"], np.uint8).reshape(90, 240, 320, 3)
    inside = 0
    for frame, buffer in zip(frames, result["buffers"], strict=True):
        ys, xs = np.nonzero(frame[:, :, 0] > 128)
        region, x, y = buffer["regions"][0], xs.mean(), ys.mean()
        inside += (
            region["x"] <= x < region["x"] + region["w"] and region["y"] <= y < region["y"] + region["h"]
        )
    assert inside >= 60, inside


# --- the stream's state, and properties ---------------------------------------------------------------------


def test_a_flush_starts_anew(run: Run) -> None:
    line = f"videotestsrc pattern=ball num-buffers=40 ! video/x-raw,format=I420,width=64,height=48 ! {ELEMENT} ! {OUT}"
    messages = run(line, flush_after=5)["messages"]
    starts = [index for index, message in enumerate(messages) if message["frame"] == 0]
    assert len(starts) == 2
    before, after = messages[: starts[1]], messages[starts[1] :]
    assert len(before) >= 5
    assert after[: len(before)] == before[: len(after)]


@pytest.mark.parametrize(
    ("second", "flag", "anew"),
    [
        (40_000_000, False, False),
        (40_000_000, True, False),
        (1_000_000_000, True, False),
        (1_000_000_001, True, True),
        (9_000_000_000, False, False),
        (0, True, False),
        (-40_000_000, True, True),
        (None, True, True),
    ],
)
def test_a_discontinuity_starts_anew_where_time_jumps(
    run: Run, second: int | None, flag: bool, anew: bool
) -> None:
    rng = np.random.default_rng(5)
    frames = [("BGR", planes_of(rng, "BGR", 48, 64)) for _ in range(2)]
    first = 10_000_000_000
    times = (first, None if second is None else first + second)
    given = [
        appsrc_frame(rng, form, planes, pts, padded=False, discont=flag and index == 1)
        for index, ((form, planes), pts) in enumerate(zip(frames, times, strict=True))
    ]
    messages = run(f"appsrc name=in format=time ! {ELEMENT} ! {OUT}", frames=given)["messages"]
    expected = predicted(frames[1:])[0] if anew else predicted(frames)[1]
    expect_message(messages[1], expected)
    assert messages[1]["frame"] == (0 if anew else 1)
    assert messages[1]["pts"] == times[1]


def test_every_third_frame(run: Run) -> None:
    """The regions stay on the frames between; the network compares the frames that it was given."""
    rng = np.random.default_rng(7)
    frames = [("BGR", planes_of(rng, "BGR", 48, 64)) for _ in range(8)]
    given = [
        appsrc_frame(rng, form, planes, 40_000_000 * index, padded=False)
        for index, (form, planes) in enumerate(frames)
    ]
    result = run(f"appsrc name=in format=time ! {ELEMENT} interval=3 max-rois=1 ! {OUT}", frames=given)
    assert [message["frame"] for message in result["messages"]] == [0, 3, 6]
    expected = predicted(frames[::3])
    for index, buffer in enumerate(result["buffers"]):
        expect_regions(buffer, expected[index // 3], count=1)
    assert all(len(message["peaks"]) == len(message["regions"]) == 1 for message in result["messages"])


def test_the_first_frame_of_new_caps_is_predicted(run: Run) -> None:
    """Whatever the interval says: the last regions were of frames of another size."""
    rng = np.random.default_rng(8)
    frames = [
        ("BGR", planes_of(rng, "BGR", *size)) for size in ((48, 64), (48, 64), (96, 64), (96, 64), (96, 64))
    ]
    given = [
        appsrc_frame(rng, form, planes, 40_000_000 * index, padded=False)
        for index, (form, planes) in enumerate(frames)
    ]
    result = run(f"appsrc name=in format=time ! {ELEMENT} interval=4 ! {OUT}", frames=given)
    assert [message["frame"] for message in result["messages"]] == [0, 2]
    expected = predicted([frames[0], frames[2]])
    for index, buffer in enumerate(result["buffers"]):
        expect_regions(buffer, expected[index >= 2])


def test_regions_and_messages_can_be_left_out(run: Run) -> None:
    source = "videotestsrc num-buffers=3 ! video/x-raw,width=64,height=48"
    silent = run(f"{source} ! {ELEMENT} post-messages=false ! {OUT}")
    assert silent["messages"] == []
    assert all(buffer["regions"] for buffer in silent["buffers"])
    bare = run(f"{source} ! {ELEMENT} max-rois=0 ! {OUT}")
    assert not any(buffer["regions"] for buffer in bare["buffers"])
    assert [message["regions"] for message in bare["messages"]] == [[]] * 3


def test_no_frame_is_held_back(run: Run) -> None:
    source = (
        "videotestsrc is-live=true num-buffers=3 ! video/x-raw,format=I420,width=64,height=48,framerate=25/1"
    )
    plain, marked = (run(f"{source} ! {element} ! appsink name=out") for element in ("identity", ELEMENT))
    assert plain["latency"] == marked["latency"]
    assert plain["latency"][0] is True


def test_no_buffer_is_kept(run: Run) -> None:
    """Two hundred frames of 2.8 MB take the memory of twenty."""
    line = (
        "videotestsrc num-buffers={} ! video/x-raw,format=BGR,width=1280,height=720 ! " + f"{ELEMENT} ! {OUT}"
    )
    few, many = (run(f"{line.format(count)} max-buffers=2")["peak_kib"] for count in (20, 200))
    assert many - few < 100 * 1024, (few, many)


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("bundle=nowhere", "BundleNotFoundError: there is no bundle 'nowhere'"),
        ("bundle=/dev", "ManifestError: /dev/bundle.json"),
        ("backend=abacus", "OptionError: .*abacus"),
        ("precision=fp7", "OptionError: .*fp7"),
        ("threads=1024", "OptionError: threads must be from 1 to"),
        ("backend=tensorrt", "BackendUnavailableError: backend 'tensorrt' was asked for"),
    ],
)
def test_what_can_not_be_started_is_told_on_the_bus(run: Run, options: str, words: str) -> None:
    result = run(f"videotestsrc num-buffers=3 ! uvasaliency {options} ! {OUT}")
    assert re.search(words, result["error"])
    assert (result["buffers"], result["messages"], result["eos"]) == ([], [], False)


def test_a_frame_that_is_too_short_is_told_on_the_bus(run: Run) -> None:
    rng = np.random.default_rng(1)
    frames = [appsrc_frame(rng, "BGR", planes_of(rng, "BGR", 48, 64), pts, padded=False) for pts in (0, 1)]
    frames[1]["data"] = base64.b64encode(base64.b64decode(frames[1]["data"])[:-1]).decode()
    result = run(f"appsrc name=in format=time ! {ELEMENT} ! {OUT}", frames=frames)
    assert len(result["buffers"]) == 1
    assert "goes to byte 9216; got a buffer of 9215" in result["error"]


def test_a_python_without_uva_edge_is_told_on_the_bus(
    run: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment, "PYTHONPATH", os.devnull)
    result = run(f"videotestsrc num-buffers=3 ! uvasaliency ! {OUT}")
    assert "can't import uva_edge" in result["error"]


# --- its page -----------------------------------------------------------------------------------------------


def test_the_pipelines_of_the_page_run(environment: dict[str, str], flight: U8, tmp_path: Path) -> None:
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    lines = [
        line
        for line in re.findall(r"^gst-\w+-1\.0 (?:.*\\\n)*.*$", page, re.MULTILINE)
        if "/dev/video" not in line
    ]
    assert len(lines) >= 2
    for line in lines:
        done = subprocess.run(
            line,
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "ERROR" not in done.stdout + done.stderr, line
        assert "uvasaliency" in done.stdout, line


def test_the_program_of_the_page_prints_peaks(environment: dict[str, str], tmp_path: Path) -> None:
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run(
        [PYTHON, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 50
    assert all(line.startswith("[{'x': ") for line in lines), lines
