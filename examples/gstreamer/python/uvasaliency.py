"""GStreamer element `uvasaliency`: where people would look, as regions of interest on buffers and JSON on the bus.

GStreamer finds it in the folder `python` of a folder of GST_PLUGIN_PATH. Frames pass through, their pixels neither
changed nor copied. Each buffer gets a GstVideoRegionOfInterestMeta "saliency" for each salient region, and each
prediction is an element message "uvasaliency" with the field `json`.

The stream's state goes on through new caps, of whatever size and format. It starts anew after a flush, with a new
stream, and at a discontinuity where time runs backwards or jumps by more than a second: frames that a leaky queue
drops are none.
"""

from __future__ import annotations

import json
import platform
from typing import Any, Final

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstBase", "1.0")
gi.require_version("GstVideo", "1.0")

from gi.repository import GLib, GObject, Gst, GstBase, GstVideo  # noqa: E402

NAME: Final = "uvasaliency"
META: Final = "saliency"
LONGEST_GAP: Final = Gst.SECOND
FULL_RANGE: Final = getattr(GstVideo.VideoColorRange, "0_255")  # a name that Python can't spell
CAPS: Final = Gst.Caps.from_string(
    "video/x-raw, format = (string) { NV12, I420, BGR, RGB }, "
    "width = (int) [ 1, 65535 ], height = (int) [ 1, 65535 ]"
)

_STOPPED: Final = GObject.ParamFlags.READWRITE | Gst.PARAM_MUTABLE_READY
_ALWAYS: Final = GObject.ParamFlags.READWRITE | Gst.PARAM_MUTABLE_PLAYING
PROPERTIES: Final = {  # as GObject takes them: type, name, what it is, range and default, when it may be set
    "bundle": (str, "bundle", "A shipped name, or the path of a bundle", "uva-64", _STOPPED),
    "backend": (str, "backend", '"auto", "fastest", or a name', "auto", _STOPPED),
    "precision": (str, "precision", '"auto", "fp32", "fp16", "bf16" or "int8"', "auto", _STOPPED),
    "threads": (int, "threads", "Threads of the engine", 1, 1024, 1, _STOPPED),
    "interval": (int, "interval", "Predict every n-th frame", 1, GLib.MAXINT, 1, _ALWAYS),
    "max-rois": (int, "max-rois", "Regions and peaks of a frame, at most", 0, 64, 3, _ALWAYS),
    "threshold": (
        float,
        "threshold",
        "What a region is above, in parts of the peak",
        0.01,
        1.0,
        0.5,
        _ALWAYS,
    ),
    "post-messages": (bool, "post-messages", "Post a message for each prediction", True, _ALWAYS),
}


class UvaSaliency(GstBase.BaseTransform):
    """In place, so BaseTransform hands over buffers whose metadata may be written and whose memory is shared."""

    __gstmetadata__ = (
        "Video saliency",
        "Filter/Analyzer/Video",
        "Marks where people would look: regions of interest on buffers, JSON on the bus",
        "uva_edge",
    )
    __gsttemplates__ = tuple(
        Gst.PadTemplate.new(name, direction, Gst.PadPresence.ALWAYS, CAPS)
        for name, direction in (("sink", Gst.PadDirection.SINK), ("src", Gst.PadDirection.SRC))
    )
    __gproperties__ = PROPERTIES

    def __init__(self) -> None:
        super().__init__()
        self._values = {name: declared[-2] for name, declared in PROPERTIES.items()}
        self._info: Any = None
        self._predictor: Any = None
        self._stream: Any = None
        self._restart()

    def do_get_property(self, prop: GObject.ParamSpec) -> Any:
        return self._values[prop.name]

    def do_set_property(self, prop: GObject.ParamSpec, value: Any) -> None:
        self._values[prop.name] = value

    # --- states, caps, events. What is raised here would be lost in C, so all of it goes to the bus. ------

    def do_start(self) -> bool:
        try:
            from uva_edge import SaliencyPredictor
        except ImportError as error:
            remedy = "install it in an environment of this Python, and activate that"
            self._fail(f"Python {platform.python_version()} can't import uva_edge: {error}; {remedy}")
            return False
        options = {name: self._values[name] for name in ("backend", "precision", "threads")}
        try:
            self._predictor = SaliencyPredictor(self._values["bundle"], **options)
            # It is given the network's own input, which is the same whatever the frames are.
            self._stream = self._predictor.stream(color="rgb")
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            self.do_stop()
            return False
        self._restart()
        return True

    def do_stop(self) -> bool:
        predictor, self._predictor, self._stream = self._predictor, None, None
        if predictor is not None:
            predictor.close()
        return True

    def do_set_caps(self, incaps: Gst.Caps, outcaps: Gst.Caps) -> bool:
        self._info = GstVideo.VideoInfo.new_from_caps(incaps)
        self._regions = ()  # they were of frames of another size
        self._due = 0
        return self._info is not None

    def do_sink_event(self, event: Gst.Event) -> bool:
        if event.type in (Gst.EventType.STREAM_START, Gst.EventType.FLUSH_STOP):
            self._restart()
        return GstBase.BaseTransform.do_sink_event(self, event)

    def _restart(self) -> None:
        """The next frame is a first one."""
        self._frame = self._due = 0
        self._last_pts = Gst.CLOCK_TIME_NONE
        self._regions: tuple[Any, ...] = ()
        if self._stream is not None:
            self._stream.reset()

    def _fail(self, text: str) -> None:
        error = GLib.Error.new_literal(Gst.LibraryError.quark(), text, Gst.LibraryError.FAILED)
        self.post_message(Gst.Message.new_error(self, error, ""))

    # --- frames -------------------------------------------------------------------------------------------

    def do_transform_ip(self, buffer: Gst.Buffer) -> Gst.FlowReturn:
        try:
            if self._breaks(buffer):
                self._restart()
            if self._due <= 0:
                self._predict(buffer)
                self._due = self._values["interval"]
            self._attach(buffer)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            return Gst.FlowReturn.ERROR
        self._due -= 1
        self._frame += 1
        self._last_pts = buffer.pts
        return Gst.FlowReturn.OK

    def _breaks(self, buffer: Gst.Buffer) -> bool:
        """Whether this frame does not follow the one before."""
        if not self._frame or not buffer.has_flags(Gst.BufferFlags.DISCONT):
            return False
        if Gst.CLOCK_TIME_NONE in (buffer.pts, self._last_pts):
            return True
        return not 0 <= buffer.pts - self._last_pts <= LONGEST_GAP

    def _predict(self, buffer: Gst.Buffer) -> None:
        from uva_edge import Saliency

        saliency = Saliency(self._stream.push(self._input(buffer)).map, (self._info.width, self._info.height))
        count, threshold = self._values["max-rois"], self._values["threshold"]
        self._regions = saliency.regions(threshold=threshold)[:count]
        if self._values["post-messages"]:
            facts = saliency.as_dict(peaks=count, threshold=threshold)
            facts["regions"] = facts["regions"][:count]
            self._post(buffer.pts, facts)

    def _input(self, buffer: Gst.Buffer) -> Any:
        """The network's input, uint8 [R, C, 3], drawn from the frame where it lies."""
        from uva_edge import network_input

        info = self._info
        color = info.finfo.name.lower()
        yuv_range = "full" if info.colorimetry.range == FULL_RANGE else "limited"
        with buffer.map(Gst.MapFlags.READ) as mapped:
            planes = planes_of(mapped.data, info, GstVideo.buffer_get_video_meta(buffer))
            return network_input(planes, self._predictor.grid, color=color, yuv_range=yuv_range)

    def _post(self, pts: int, facts: dict[str, Any]) -> None:
        times = {"pts": pts, "running_time": self.segment.to_running_time(Gst.Format.TIME, pts)}
        known = {name: None if time == Gst.CLOCK_TIME_NONE else time for name, time in times.items()}
        structure = Gst.Structure.new_empty(NAME)
        structure.set_value("json", json.dumps({"frame": self._frame, **known, **facts}))
        self.post_message(Gst.Message.new_element(self, structure))

    def _attach(self, buffer: Gst.Buffer) -> None:
        for number, region in enumerate(self._regions, start=1):
            meta = GstVideo.buffer_add_video_region_of_interest_meta(
                buffer, META, region.x, region.y, region.width, region.height
            )
            meta.id = number
            value = Gst.Structure.new_empty(META)
            value.set_value("value", region.peak.value)
            value.set_value("share", region.share)
            meta.add_param(value)


def planes_of(data: memoryview, info: GstVideo.VideoInfo, meta: GstVideo.VideoMeta | None) -> Any:
    """Views of a frame in memory, in the form that `uva_edge.network_input` takes for its format.

    The buffer's meta says how it is laid out; without one it is as the caps have it. Raises ValueError where the
    buffer is too small for that.
    """
    import numpy as np

    layout = info if meta is None else meta
    height, width = info.height, info.width
    half = ((height + 1) // 2, (width + 1) // 2)
    shapes = {
        "NV12": ((height, width), (*half, 2)),
        "I420": ((height, width), half, half),
        "BGR": ((height, width, 3),),
        "RGB": ((height, width, 3),),
    }[info.finfo.name]
    planes = []
    for shape, offset, stride in zip(shapes, layout.offset, layout.stride):  # noqa: B905 (there are always four)
        strides = (stride, *shape[2:], 1)
        end = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True)) + 1
        if end > len(data):
            what = f"a {info.finfo.name} frame of {width}x{height} with rows of {stride} bytes"
            raise ValueError(f"{what} goes to byte {end}; got a buffer of {len(data)}")
        planes.append(np.ndarray(shape, np.uint8, data, offset, strides))
    return planes if len(planes) > 1 else planes[0]


__gstelementfactory__ = (NAME, Gst.Rank.NONE, UvaSaliency)
