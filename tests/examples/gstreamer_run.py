"""Runs a pipeline in Debian's Python and tells what happened: `gstreamer_run.py SPEC RESULT`, two JSON files.

SPEC: `line`, the pipeline, whose `appsink name=out` is read; `frames`, what its `appsrc name=in` is given (data,
caps, pts, discont, and offsets and strides where the memory is not laid out as the caps have it); `flush_after`, the
number of buffers after which a flushing seek goes to the start; `dump`, a file for all bytes that come out.
RESULT: `buffers` that came out, `messages` of the element, `error`, `eos`, and `latency` of a live pipeline.
"""

from __future__ import annotations

import base64
import hashlib
import json
import resource
import sys
from pathlib import Path
from typing import Any, Final

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")

from gi.repository import Gst, GstApp, GstVideo  # noqa: E402, F401  (GstApp registers what appsrc is)

PATIENCE: Final = 60 * Gst.SECOND
FORMATS: Final = {
    "NV12": GstVideo.VideoFormat.NV12,
    "I420": GstVideo.VideoFormat.I420,
    "BGR": GstVideo.VideoFormat.BGR,
    "RGB": GstVideo.VideoFormat.RGB,
}


def buffer_of(frame: dict[str, Any]) -> Gst.Buffer:
    buffer = Gst.Buffer.new_wrapped(base64.b64decode(frame["data"]))
    buffer.pts = Gst.CLOCK_TIME_NONE if frame["pts"] is None else frame["pts"]
    if frame.get("discont"):
        buffer.set_flags(Gst.BufferFlags.DISCONT)
    if "offsets" in frame:
        structure = Gst.Caps.from_string(frame["caps"]).get_structure(0)
        GstVideo.buffer_add_video_meta_full(
            buffer,
            GstVideo.VideoFrameFlags.NONE,
            FORMATS[structure.get_string("format")],
            structure.get_int("width")[1],
            structure.get_int("height")[1],
            len(frame["offsets"]),
            frame["offsets"] + [0] * (4 - len(frame["offsets"])),
            frame["strides"] + [0] * (4 - len(frame["strides"])),
        )
    return buffer


def regions_of(buffer: Gst.Buffer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while meta := GstVideo.buffer_get_video_region_of_interest_meta_id(buffer, len(found) + 1):
        value = meta.get_param("saliency")
        place = {name: getattr(meta, name) for name in ("x", "y", "w", "h")}
        found.append({**place, **{name: value.get_double(name)[1] for name in ("value", "share")}})
    return found


def told(sample: Gst.Sample, dump: Any) -> dict[str, Any]:
    buffer = sample.get_buffer()
    with buffer.map(Gst.MapFlags.READ) as mapped:
        data = bytes(mapped.data)
    if dump:
        dump.write(data)
    caps = sample.get_caps()
    layout = GstVideo.buffer_get_video_meta(buffer) or GstVideo.VideoInfo.new_from_caps(caps)
    planes = GstVideo.VideoFormat.get_info(FORMATS[caps.get_structure(0).get_string("format")]).n_planes
    return {
        "pts": None if buffer.pts == Gst.CLOCK_TIME_NONE else buffer.pts,
        "discont": buffer.has_flags(Gst.BufferFlags.DISCONT),
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "offsets": list(layout.offset[:planes]),
        "strides": list(layout.stride[:planes]),
        "regions": regions_of(buffer),
    }


def run(spec: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"buffers": [], "messages": [], "error": None, "eos": False, "latency": None}
    pipeline = Gst.parse_launch(spec["line"])
    sink, source = pipeline.get_by_name("out"), pipeline.get_by_name("in")
    started = pipeline.set_state(Gst.State.PLAYING) != Gst.StateChangeReturn.FAILURE
    if source is not None:
        caps = None
        for frame in spec["frames"]:
            if frame["caps"] != caps:
                caps = frame["caps"]
                source.set_property("caps", Gst.Caps.from_string(caps))
            source.emit("push-buffer", buffer_of(frame))
        source.emit("end-of-stream")
    dump = open(spec["dump"], "wb") if "dump" in spec else None  # noqa: SIM115
    flush_after = spec.get("flush_after")
    while started and (sample := sink.emit("try-pull-sample", PATIENCE)):
        result["buffers"].append(told(sample, dump))
        if len(result["buffers"]) == 1:
            query = Gst.Query.new_latency()
            if pipeline.query(query):
                result["latency"] = query.parse_latency()
        if len(result["buffers"]) == flush_after:
            pipeline.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE, 0)
    if dump:
        dump.close()
    bus, kinds = pipeline.get_bus(), Gst.MessageType.ERROR | Gst.MessageType.EOS | Gst.MessageType.ELEMENT
    while not (result["eos"] or result["error"]) and (message := bus.timed_pop_filtered(PATIENCE, kinds)):
        structure = message.get_structure()
        if message.type == Gst.MessageType.ERROR:
            result["error"] = message.parse_error()[0].message
        elif message.type == Gst.MessageType.EOS:
            result["eos"] = True
        elif message.type == Gst.MessageType.ELEMENT and structure.get_name() == "uvasaliency":
            result["messages"].append(json.loads(structure.get_string("json")))
    pipeline.set_state(Gst.State.NULL)
    result["dump"] = str(Path(spec["dump"]).resolve()) if dump else None
    result["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result


if __name__ == "__main__":
    Gst.init(None)
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(Path(sys.argv[1]).read_text()))))
