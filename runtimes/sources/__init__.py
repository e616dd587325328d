"""Where frames come from: videos, images, cameras, network streams, ROS bags and raw pixels.

`open_source` opens each by how it is written, `open_picamera` takes a camera object of picamera2. All give a `Source`
of `Frame`s.
"""

from .images import IMAGE_SUFFIXES, is_image
from .opening import file_demuxer, is_folder, open_source
from .picamera import open_picamera
from .raw import RawFormat
from .source import NOMINAL_FPS, Frame, Kind, Losses, Picture, Reader, Source

__all__ = [
    "IMAGE_SUFFIXES",
    "NOMINAL_FPS",
    "Frame",
    "Kind",
    "Losses",
    "Picture",
    "RawFormat",
    "Reader",
    "Source",
    "file_demuxer",
    "is_folder",
    "is_image",
    "open_picamera",
    "open_source",
]
