"""What a file is, by its first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uva_edge.runtimes.containers import demuxer_of, missing_bytes, playlist_kind


@given(st.binary(max_size=600))
def test_any_bytes_are_judged_without_failing(head: bytes) -> None:
    assert demuxer_of(head) is None or playlist_kind(head) is None


@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "mkv", "webm"])
@pytest.mark.parametrize("missing", [0, 1, 1000])
def test_missing_bytes_are_counted(
    videos: dict[str, Path], tmp_path: Path, suffix: str, missing: int
) -> None:
    data = videos[suffix].read_bytes()
    path = tmp_path / "x"
    path.write_bytes(data[: len(data) - missing])
    demuxer = demuxer_of(data)
    assert demuxer is not None
    assert missing_bytes(path, demuxer) == missing


@given(st.sampled_from(["mov", "avi", "matroska"]), st.binary(max_size=64))
def test_headers_of_any_bytes_end(
    tmp_path_factory: pytest.TempPathFactory, demuxer: str, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes({"avi": b"RIFF", "matroska": b"\x1aE\xdf\xa3"}.get(demuxer, b"") + data)
    assert missing_bytes(path, demuxer) >= 0
