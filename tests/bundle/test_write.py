"""Bundles are written whole or not at all, and what stood there before is never lost."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, expect_place, write_bundle, zip_bundle
from uva_edge.errors import (
    BundleError,
    GoldenError,
    HashMismatchError,
    ManifestError,
    OutputError,
    UnsafePathError,
)


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_what_was_given_is_there(ingredients: dict[str, Any], tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "deep/er/tiny", **ingredients)
    manifest = bundle.manifest
    assert bundle.location == str(tmp_path / "deep/er/tiny")
    for key in ("name", "network", "contract", "accuracy", "lineage"):
        assert getattr(manifest, key) == ingredients[key], key
    for artifact, source in zip(manifest.artifacts, ingredients["artifacts"], strict=True):
        for key in ("name", "format", "precision", "frames", "requires", "parity", "details"):
            assert getattr(artifact, key) == getattr(source, key), key
        assert {file.path: bundle.read(file) for file in artifact.files} == source.files
    assert [bundle.read(file) for file in manifest.documents] == [b"# tiny\n"]
    np.testing.assert_array_equal(bundle.golden().maps, ingredients["golden"].maps)
    assert [path.name for path in tmp_path.joinpath("deep/er").iterdir()] == ["tiny"]


def test_same_bytes(ingredients: dict[str, Any], original: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "again", **ingredients)
    assert contents(tmp_path / "again") == contents(Path(original.location))


def test_an_empty_directory_and_a_bundle_are_replaced(ingredients: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "tiny"
    place.mkdir()
    write_bundle(place, **ingredients)
    bundle = write_bundle(place, **{**ingredients, "name": "other", "documents": None})
    bundle.verify()
    assert bundle.name == "other"
    assert not (place / "README.md").exists()
    assert list(tmp_path.iterdir()) == [place]


def other_artifact(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(ingredients: dict[str, Any]) -> dict[str, Any]:
        first, second = ingredients["artifacts"]
        return {**ingredients, "artifacts": [first, replace(second, **changes)]}

    return change


WRONG: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], type[BundleError], str]] = {
    "no artifacts": (lambda given: {**given, "artifacts": []}, ManifestError, "at least one artifact"),
    "a name twice": (other_artifact(name="onnx-fp32"), ManifestError, 'got "onnx-fp32" twice'),
    "no files": (other_artifact(files={}), ManifestError, "at least one file"),
    "a path upwards": (other_artifact(files={"../x": b""}), UnsafePathError, 'got "../x"'),
    "the manifest's path": (other_artifact(files={"bundle.json": b""}), UnsafePathError, 'got "bundle.json"'),
    "a path with two contents": (other_artifact(files={"fp32.onnx": b"x"}), ManifestError, "one content"),
    "the clip's path": (other_artifact(files={"golden.npz": b"x"}), ManifestError, 'two for "golden.npz"'),
    "NaN": (other_artifact(parity={"cc": float("nan")}), ManifestError, 'artifacts[1].parity["cc"]: '),
    "a number of numpy's": (other_artifact(parity={"cc": np.float32(1)}), ManifestError, "got a float32"),
    "a bad name": (lambda given: {**given, "name": "Tiny!"}, ManifestError, 'got "Tiny!"'),
    "another clip": (lambda given: {**given, "golden": replace(given["golden"], state=np.zeros(3, "f4"))},
                     GoldenError, "state: expected float32 [1, 64, 2, 2], got float32 [3]"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_write_nothing(case: str, ingredients: dict[str, Any], tmp_path: Path) -> None:
    change, expected, message = WRONG[case]
    with pytest.raises(expected) as caught:
        write_bundle(tmp_path / "new/tiny", **change(ingredients))
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# What is not a bundle is never touched.


def keep_file(place: Path) -> None:
    place.write_bytes(b"precious")


def keep_folder(place: Path) -> None:
    place.mkdir()
    (place / "precious.txt").write_bytes(b"precious")


def keep_addition(place: Path) -> None:
    keep_bundle(place)
    (place / "ov/precious.txt").write_bytes(b"precious")


def keep_broken(place: Path) -> None:
    keep_bundle(place)
    (place / "bundle.json").write_bytes(b"precious")


def keep_link(place: Path) -> None:
    keep_bundle(place)
    place.rename(place.with_name("target"))
    place.symlink_to("target")


def keep_bundle(place: Path) -> None:
    shutil.copytree(place.parent / "source", place)


KEPT: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file": (keep_file, "expected a directory or nothing there, got a file or a link"),
    "a link": (keep_link, "expected a directory or nothing there, got a file or a link"),
    "a folder of something else": (keep_folder, "expected a bundle to replace; nothing was changed"),
    "a bundle with an addition": (keep_addition, "expected only the bundle's own files, got this one too"),
    "a bundle that can't be read": (keep_broken, "remove it yourself"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_refused_place(case: str, ingredients: dict[str, Any], root: Path) -> None:
    make, message = KEPT[case]
    root.rename(root.with_name("source"))
    place = root.with_name("place")
    make(place)
    before = contents(root.parent)
    with pytest.raises(OutputError) as caught:
        write_bundle(place, **ingredients)
    assert str(caught.value).startswith(str(place))
    assert message in str(caught.value)
    assert contents(root.parent) == before


@pytest.mark.parametrize("case", KEPT)
def test_a_place_is_refused_before_the_work(case: str, root: Path) -> None:
    make, message = KEPT[case]
    root.rename(root.with_name("source"))
    place = root.with_name("place")
    make(place)
    with pytest.raises(OutputError, match=re.escape(message)):
        expect_place(place)


def test_a_place_that_takes_nothing_is_refused_before_the_work(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect_place(root)
    expect_place(tmp_path / "new" / "deep" / "bundle")
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match=r"bundle\.json is no directory that takes new files"):
        expect_place(root / "bundle.json" / "inside")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(OutputError, match="takes new files"):
        expect_place(tmp_path / "new")


# Interruptions. Each flush and each move fails in turn, before or after it took effect.

CALLS = ("fsync", "rename", "replace")


class Interruption:
    """Makes the n-th of the calls raise `error`; counts them all when n is None."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, n: int | None, error: BaseException, late: bool
    ) -> None:
        self.count = 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name), n, error, late))

    def _wrap(self, call: Any, n: int | None, error: BaseException, late: bool) -> Any:
        def interrupted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count != n:
                return call(*arguments, **options)
            if late:
                call(*arguments, **options)
            raise error

        return interrupted


def interruptions(
    job: Callable[[], object], reset: Callable[[], object], error: BaseException, late: bool
) -> Iterator[int]:
    """Run `job` once per call that it makes, interrupted there."""
    with pytest.MonkeyPatch.context() as patch:
        total = Interruption(patch, None, error, late)
        job()
    assert total.count >= 3
    for n in range(1, total.count + 1):
        reset()
        with pytest.MonkeyPatch.context() as patch:
            Interruption(patch, n, error, late)
            with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError):
                job()
        yield n


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("replacing", [False, True], ids=["new", "replacing"])
def test_interrupted_writing(
    replacing: bool,
    late: bool,
    error: BaseException,
    ingredients: dict[str, Any],
    original: Bundle,
    tmp_path: Path,
) -> None:
    place = tmp_path / "tiny"
    changed = {**ingredients, "name": "changed", "documents": None}
    old = contents(Path(original.location)) if replacing else {}
    new: dict[str, bytes] = {}

    def job() -> None:
        write_bundle(place, **changed)

    def reset() -> None:
        if not new:
            new.update(contents(place))
        shutil.rmtree(place, ignore_errors=True)
        if replacing:
            shutil.copytree(original.location, place)

    outcomes = set()
    for n in interruptions(job, reset, error, late):
        assert contents(place) in (old, new), f"call {n}"
        assert list(tmp_path.iterdir()) in ([], [place]), f"call {n} left something behind"
        outcomes.add("new" if contents(place) == new else "old")
    assert "old" in outcomes


@pytest.mark.parametrize(
    "error", [OSError(errno.EROFS, "Read-only file system"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_interrupted_zipping(late: bool, error: BaseException, original: Bundle, tmp_path: Path) -> None:
    place = tmp_path / "tiny.zip"
    new: list[bytes] = []

    def reset() -> None:
        new.append(place.read_bytes())
        place.write_bytes(b"old")

    new_or_old = set()
    for n in interruptions(lambda: zip_bundle(original, place), reset, error, late):
        assert list(tmp_path.iterdir()) == [place], f"call {n} left something behind"
        assert place.read_bytes() in (b"old", new[0]), f"call {n}"
        new_or_old.add(place.read_bytes() == b"old")
        place.write_bytes(new[0])
    assert True in new_or_old


def test_disk_that_fills_up_names_the_path(
    ingredients: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Interruption(monkeypatch, 3, OSError(errno.ENOSPC, "No space left on device"), late=False)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write_bundle(tmp_path / "tiny", **ingredients)
    assert str(caught.value).startswith(f"{tmp_path}/tiny: can't be written")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_alters_what_is_written(
    ingredients: dict[str, Any], original: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(shutil.copytree(original.location, tmp_path / "tiny"))
    fsync = os.fsync

    def corrupt(descriptor: int) -> None:
        if os.path.isfile(f"/proc/self/fd/{descriptor}") and os.fstat(descriptor).st_size == 2048:
            os.pwrite(descriptor, b"?", 1000)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", corrupt)
    with pytest.raises(HashMismatchError, match=r"fp32\.onnx"):
        write_bundle(place, **{**ingredients, "name": "changed"})
    assert contents(place) == contents(Path(original.location))
    assert list(tmp_path.iterdir()) == [place]


def test_parent_that_is_a_file(ingredients: dict[str, Any], original: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't be written"):
        write_bundle(tmp_path / "file/tiny", **ingredients)
    with pytest.raises(OutputError, match="can't be written"):
        zip_bundle(original, tmp_path / "file/tiny.zip")


# Zipping.


def test_zip(original: Bundle, root: Path, tmp_path: Path) -> None:
    path = zip_bundle(original, tmp_path / "one.zip")
    again = Bundle.open(path)
    again.verify()
    assert (again.sha256, again.manifest) == (original.sha256, original.manifest)
    for file in root.rglob("*"):
        os.utime(file, (1, 1))
    zip_bundle(Bundle.open(root), tmp_path / "two.zip")
    zip_bundle(again, tmp_path / "sub/three.zip")
    for name in ("two.zip", "sub/three.zip"):
        assert (tmp_path / name).read_bytes() == path.read_bytes(), name
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == sorted(contents(root))
        assert all(info.compress_type == zipfile.ZIP_DEFLATED for info in archive.infolist())


def test_a_damaged_bundle_is_not_zipped(root: Path, tmp_path: Path) -> None:
    (root / "README.md").write_bytes(b"# Tiny\n")
    with pytest.raises(HashMismatchError, match=r"README\.md"):
        zip_bundle(Bundle.open(root), tmp_path / "tiny.zip")
    assert list(tmp_path.iterdir()) == [root]


def test_a_directory_is_not_replaced_by_a_zip(original: Bundle, root: Path) -> None:
    with pytest.raises(OutputError, match="Is a directory"):
        zip_bundle(original, root)
    assert contents(root) == contents(Path(original.location))


def test_manifest_form(original: Bundle) -> None:
    text = original.manifest_bytes.decode()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_files_of_an_artifact_stay_in_order(ingredients: dict[str, Any], tmp_path: Path) -> None:
    source = ArtifactSource("z-first", "openvino", "fp32", None, {"z.xml": b"1", "a.bin": b"2"}, {}, {})
    bundle = write_bundle(tmp_path / "tiny", **{**ingredients, "artifacts": [source]})
    assert [file.path for file in bundle.artifact("z-first").files] == ["z.xml", "a.bin"]
