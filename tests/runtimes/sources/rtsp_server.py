"""An RTSP server of GStreamer, run by the system's Python, which has Debian's gi: `rtsp_server.py PORT [PASSWORD]`.

`/cam` shows one grey level a frame, luma 40 + 8 * (frame % 16) at 20 frames per second, from the moment that somebody
asks. With a password it wants digest authentication of the user "pilot". Prints "ready".
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, FPS = 64, 48, 20


def main(port: str, password: str = "") -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    caps = f"video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FPS}/1"
    factory.set_launch(
        f"( appsrc name=source is-live=true format=time caps={caps} ! x264enc tune=zerolatency "
        "speed-preset=ultrafast key-int-max=5 threads=1 ! rtph264pay name=pay0 config-interval=1 )"
    )
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: feed(media))
    server.get_mount_points().add_factory("/cam", factory)
    if password:
        protect(server, factory, password)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


def protect(server: GstRtspServer.RTSPServer, factory: GstRtspServer.RTSPMediaFactory, password: str) -> None:
    allowed = Gst.Structure.new_empty("viewer")
    for permission in ("media.factory.access", "media.factory.construct"):
        allowed.set_value(permission, True)
    factory.add_role_from_structure(allowed)
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest("pilot", password, token)
    server.set_auth(auth)


def feed(media: GstRtspServer.RTSPMedia) -> None:
    source = media.get_element().get_by_name_recurse_up("source")
    count = 0

    def push() -> bool:
        nonlocal count
        luma = bytes([40 + 8 * (count % 16)]) * (WIDTH * HEIGHT)
        buffer = Gst.Buffer.new_wrapped(luma + bytes([128]) * (WIDTH * HEIGHT // 2))
        buffer.pts = buffer.dts = count * Gst.SECOND // FPS
        buffer.duration = Gst.SECOND // FPS
        count += 1
        return source.emit("push-buffer", buffer) == Gst.FlowReturn.OK

    GLib.timeout_add(1000 // FPS, push)


main(*sys.argv[1:])
