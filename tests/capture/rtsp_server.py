"""A real RTSP server, in a process of its own so that it can be killed and stopped: prints its port, then serves /cam (sound, then pictures) until it dies."""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - after the versions

_SOUND = "audiotestsrc is-live=true ! opusenc ! rtpopuspay name=pay0 pt=97"
_PICTURES = "videotestsrc is-live=true pattern=smpte num-buffers={} ! video/x-raw,format=I420,width=320,height=240,framerate=30/1"
_ENCODER = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 threads=1 ! rtph264pay name=pay1 pt=96 config-interval=1"


def serve(n_frames: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {_SOUND} {_PICTURES.format(n_frames)} ! {_ENCODER} )")
    factory.set_shared(True)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)  # noqa: T201 - the test reads it
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(sys.argv[1] if len(sys.argv) > 1 else "-1")
