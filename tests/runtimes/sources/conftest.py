"""Videos that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {
        suffix: write_video(folder / f"clip.{suffix}", codec)
        for suffix, codec in {
            "mp4": "libx264",
            "mov": "mpeg4",
            "avi": "mpeg4",
            "mkv": "libx264",
            "webm": "libvpx",
            "ts": "mpeg2video",
            "flv": "flv1",
            "gif": "gif",
        }.items()
    }
