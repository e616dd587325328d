"""Streams from the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from media import FRAMES, serving

from uva_edge.errors import SourceError
from uva_edge.runtimes.sources import open_source, video


def test_url_is_read_and_its_password_is_not_repeated(videos: dict[str, Path]) -> None:
    with serving(videos["mp4"].parent) as address:
        url = address.replace("//", "//user:p@ss@")
        with open_source(f"{address}/clip.mp4?token=secret") as source:
            assert (source.kind, source.name, source.live) == ("stream", f"{address}/clip.mp4", False)
            assert source.frame_count == FRAMES
            assert sum(1 for _ in source) == FRAMES
            assert source.problem is None
        with pytest.raises(SourceError, match="check the address") as caught:
            open_source(f"{url}/none.mp4?token=secret")
    assert "p@ss" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_playlist_from_the_network_reaches_no_local_file(videos: dict[str, Path], tmp_path: Path) -> None:
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n"
    (tmp_path / "local.m3u8").write_text(playlist.format(url=f"file://{videos['ts']}"))
    (tmp_path / "remote.m3u8").write_text(playlist.format(url="clip.ts"))
    (tmp_path / "clip.ts").write_bytes(videos["ts"].read_bytes())
    with serving(tmp_path) as address:
        with pytest.raises(SourceError, match="can't be opened"):
            open_source(f"{address}/local.m3u8")
        with open_source(f"{address}/remote.m3u8") as source:
            assert sum(1 for _ in source) == FRAMES


def test_live_stream_that_stops_is_reported() -> None:
    capture: Any = type("Capture", (), {"fps": 25.0, "name": "rtsp://host/a"})
    problem = video.Video(capture, None, live=True).problem(7, 0.3)
    assert problem == "rtsp://host/a stopped after 7 frames: ended by the sender, or cut off"
