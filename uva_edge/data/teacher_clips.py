"""Video clips with a teacher's maps, laid out as clips.csv, clips/ and teacher_maps/clips/.

``clips.csv``: name, split, ... ; the clip is ``clips/NAME.mp4``. ``teacher_maps/clips``, which may be absent:
one ``NAME.npz`` for every clip, as `uva_edge.data.videos` says.
"""

from __future__ import annotations

from pathlib import Path

from uva_edge.data.files import checked_name, read_table
from uva_edge.data.footage import Footage
from uva_edge.data.videos import video_footage
from uva_edge.errors import DataError


def list_clips(root: Path, split: str) -> list[Footage]:
    """The clips of a split, in the order of clips.csv, as the data set ``clips``.

    Raises:
        DataError: a clip or its teacher maps are missing, a name occurs twice, or the split is empty.
    """
    table = root / "clips.csv"
    clips: dict[str, Footage] = {}
    for row in read_table(table, ("name", "split")):
        if row["split"] != split:
            continue
        name = checked_name(table, row["name"])
        video = root / "clips" / f"{name}.mp4"
        if name in clips:
            raise DataError(f"{table}: {name} is there twice; give each clip a name of its own")
        if not video.is_file():
            raise DataError(f"{video}: No such file, but clips.csv names it; copy it again")
        clips[name] = video_footage(root, name, video, "clips")
    if not clips:
        raise DataError(f"{table}: no clip of split {split!r}")
    return list(clips.values())
