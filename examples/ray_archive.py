"""Predict an archive of videos on as many machines as a Ray cluster has: peaks and regions of every frame, as Parquet.

    python examples/ray_archive.py ARCHIVE OUTPUT --workers 2

ARCHIVE and OUTPUT are directories, or URIs of an object store that pyarrow knows (s3://..., gs://..., hdfs://...).
The videos are dealt into shards; an actor with a predictor of its own takes one shard after the other and writes it
as one Parquet file, which has its name when it is complete and not before. So a run that was broken off goes on with
what is not in a shard yet. A video that fails is tried again, also when it took its worker down with it, and after
`--attempts` it is recorded with its error, and the job goes on.

A row is a frame: `video`, `frame`, `time_s`, `width`, `height`, `peaks` (x, y, value) and `regions` (x, y, width,
height, share), all in pixels of the frame. What is wrong with a video is a row with `error` and no frame.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

# Read when Ray is imported. Nothing is reported to anybody, and GPUs stay visible to actors that ask Ray for none.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")

import pyarrow
import ray
from pyarrow import fs, parquet

from uva_edge import SaliencyPredictor
from uva_edge.runtimes.folders import VIDEO_SUFFIXES
from uva_edge.runtimes.sources import Source, open_source

EXIT_FAILURES = 3

PEAK = pyarrow.struct([("x", pyarrow.float32()), ("y", pyarrow.float32()), ("value", pyarrow.float32())])
REGION = pyarrow.struct(
    [(name, pyarrow.int32()) for name in ("x", "y", "width", "height")] + [("share", pyarrow.float32())]
)
SCHEMA = pyarrow.schema(
    [
        ("video", pyarrow.string()),
        ("frame", pyarrow.int32()),
        ("time_s", pyarrow.float64()),
        ("width", pyarrow.int32()),
        ("height", pyarrow.int32()),
        ("peaks", pyarrow.list_(PEAK)),
        ("regions", pyarrow.list_(REGION)),
        ("error", pyarrow.string()),
    ]
)


class Place:
    """A directory of a file system or an object store."""

    def __init__(self, uri: str) -> None:
        # A worker may run in another directory.
        self.uri = uri if "://" in uri else os.path.abspath(uri)
        self.fs, self.path = fs.FileSystem.from_uri(self.uri)

    def files(self) -> list[str]:
        """Paths below it of all files, sorted."""
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        found = [info.path for info in self.fs.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(path.removeprefix(self.path).lstrip("/") for path in found)

    def at(self, name: str) -> str:
        return f"{self.path}/{name}"

    @contextmanager
    def local_copy(self, name: str) -> Iterator[str]:
        """A file as a path of this machine, which is what decoders open."""
        if isinstance(self.fs, fs.LocalFileSystem):
            yield self.at(name)
            return
        with tempfile.TemporaryDirectory(prefix="uva-edge-ray-") as scratch:
            path = str(Path(scratch) / PurePosixPath(name).name)
            fs.copy_files(
                self.at(name), path, source_filesystem=self.fs, destination_filesystem=fs.LocalFileSystem()
            )
            yield path


class Attempts:
    """How often each video was begun and not ended, kept beside the shards: it outlives a worker that dies."""

    def __init__(self, output: Place) -> None:
        self._output = output

    def begin(self, video: str) -> int:
        """Counts one more, and says how many there were before."""
        path = self._path(video)
        info = self._output.fs.get_file_info(path)
        # The count is the length: there is nothing to parse.
        before = int(info.size or 0) if info.type == fs.FileType.File else 0
        self._output.fs.create_dir(self._output.at(".attempts"), recursive=True)
        with self._output.fs.open_output_stream(path) as stream:
            stream.write(b"." * (before + 1))
        return before

    def forget(self, video: str) -> None:
        path = self._path(video)
        if self._output.fs.get_file_info(path).type == fs.FileType.File:
            self._output.fs.delete_file(path)

    def _path(self, video: str) -> str:
        return self._output.at(f".attempts/{hashlib.sha256(video.encode()).hexdigest()[:32]}")


class Worker:
    """An actor: one predictor, which takes shard after shard."""

    def __init__(self, archive: str, output: str, options: dict[str, Any], attempts: int) -> None:
        self._archive, self._output = Place(archive), Place(output)
        self._predictor = SaliencyPredictor(**options)
        self._attempts, self._most_attempts = Attempts(self._output), attempts

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Predict the shards of a batch, and say what came of each."""
        told = [
            self._shard(str(name), [str(video) for video in videos])
            for name, videos in zip(batch["shard"], batch["videos"], strict=True)
        ]
        return {key: [row[key] for row in told] for key in told[0]}

    def _shard(self, name: str, videos: list[str]) -> dict[str, Any]:
        output, frames, failed = self._output, 0, 0
        partial = output.at(f".{name}.partial")
        with parquet.ParquetWriter(partial, SCHEMA, filesystem=output.fs) as writer:
            for video in videos:
                rows = self._rows(video)
                writer.write_table(pyarrow.Table.from_pylist(rows, SCHEMA))
                errors = sum(bool(row.get("error")) for row in rows)
                frames, failed = frames + len(rows) - errors, failed + errors
        output.fs.move(partial, output.at(name))
        for video in videos:
            self._attempts.forget(video)
        return {"shard": name, "videos": len(videos), "frames": frames, "failed": failed}

    def _rows(self, video: str) -> list[dict[str, Any]]:
        """The rows of one video; if it fails as often as it may, one row with its error."""
        error = "its worker died"
        while self._attempts.begin(video) < self._most_attempts:
            try:
                with self._archive.local_copy(video) as path:
                    rows = self._predicted(video, path)
            except (
                Exception
            ) as failure:  # of the store, the decoder or the engine: the other videos must go on
                error = f"{type(failure).__name__}: {failure}"
            else:
                self._attempts.forget(video)
                return rows
        return [{"video": video, "error": f"given up after {self._most_attempts} attempts; {error}"}]

    def _predicted(self, video: str, path: str) -> list[dict[str, Any]]:
        times: list[float] = []
        rows: list[dict[str, Any]] = []

        def images(source: Source) -> Iterator[Any]:
            for frame in source:
                times.append(frame.time)
                yield frame.image

        # Whatever fails, the results end before the source does, which they read ahead.
        with open_source(path) as source, closing(self._predictor.predict_frames(images(source))) as results:
            for index, saliency in enumerate(results):
                facts = saliency.as_dict()
                width, height = facts["size"]
                row = {
                    "video": video,
                    "frame": index,
                    "time_s": times[index],
                    "width": width,
                    "height": height,
                }
                rows.append({**row, "peaks": facts["peaks"], "regions": facts["regions"]})
        if source.problem:
            rows.append({"video": video, "error": source.problem})
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", help="directory or URI of the videos")
    parser.add_argument("output", help="directory or URI of the shards")
    parser.add_argument("--workers", type=int, default=2, help="actors, each with a predictor (default: 2)")
    parser.add_argument("--shard", type=int, default=16, help="videos in a Parquet file (default: 16)")
    parser.add_argument("--attempts", type=int, default=3, help="before a video is given up (default: 3)")
    parser.add_argument("--address", help="of a Ray cluster; by default one is started here and ended")
    parser.add_argument(
        "--bundle", default="uva-64", help="shipped name, directory or .zip (default: uva-64)"
    )
    parser.add_argument("--backend", default="auto", help="as of SaliencyPredictor (default: auto)")
    parser.add_argument("--threads", type=int, default=1, help="of each engine (default: 1)")
    arguments = parser.parse_args()
    for name in ("workers", "shard", "attempts", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(arguments, name)}")
    sys.exit(run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Predict what is not in a shard yet; the exit code."""
    archive, output = Place(arguments.archive), Place(arguments.output)
    output.fs.create_dir(output.path, recursive=True)
    finished = finished_videos(output)
    videos = [name for name in archive.files() if is_video(name)]
    left = [name for name in videos if name not in finished]
    print(f"{len(videos)} videos, of which {len(videos) - len(left)} are in a shard already", flush=True)
    if not left:
        return 0
    options = {name: getattr(arguments, name) for name in ("bundle", "backend", "threads")}
    # Shards are made here and not by Ray, so that the same videos always come to the same file.
    shards = list(shards_of(left, arguments.shard))
    workers = min(arguments.workers, len(shards))
    # One core of the count is Ray Data's own, for what is not done by actors.
    cores = None if arguments.address else workers * arguments.threads + 1
    ray.init(
        address=arguments.address, num_cpus=cores, include_dashboard=False, logging_level=logging.WARNING
    )
    try:
        results = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
            Worker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=arguments.threads,
            fn_constructor_args=(archive.uri, output.uri, options, arguments.attempts),
        )
        return told(results)
    finally:
        ray.shutdown()


def told(results: Any) -> int:
    """Say what came of each shard as it comes; the exit code."""
    start, frames, failed = time.perf_counter(), 0, 0
    for row in results.iter_rows():
        frames, failed = frames + row["frames"], failed + row["failed"]
        print(
            f"{row['shard']}: {row['videos']} videos, {row['frames']} frames, {row['failed']} with errors",
            flush=True,
        )
    seconds = time.perf_counter() - start
    print(
        f"{frames} frames in {seconds:.1f} s ({frames / seconds:.0f} FPS, the start of Ray's workers included)"
    )
    return EXIT_FAILURES if failed else 0


def finished_videos(output: Place) -> set[str]:
    """The videos that are in a shard; what a broken run left of others is removed."""
    found: set[str] = set()
    for name in output.files():
        if name.startswith(".") and name.endswith(".partial"):
            output.fs.delete_file(output.at(name))
        elif name.endswith(".parquet"):
            column = parquet.read_table(output.at(name), columns=["video"], filesystem=output.fs)["video"]
            found.update(column.unique().to_pylist())
    return found


def shards_of(videos: list[str], size: int) -> Iterator[dict[str, Any]]:
    for start in range(0, len(videos), size):
        part = videos[start : start + size]
        digest = hashlib.sha256("\n".join(part).encode()).hexdigest()[:16]
        yield {"shard": f"shard-{digest}.parquet", "videos": part}


def is_video(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in VIDEO_SUFFIXES and not any(part.startswith(".") for part in path.parts)


if __name__ == "__main__":
    main()
