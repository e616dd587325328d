"""Bundles are found, read and verified; damage is refused by the name of the file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uva_edge.bundle
from uva_edge.bundle import Bundle, shipped_bundles
from uva_edge.errors import (
    BundleError,
    BundleNotFoundError,
    HashMismatchError,
    ManifestError,
    MissingFileError,
    OptionError,
    SchemaVersionError,
    TruncatedFileError,
    UnsafePathError,
)
from uva_edge.golden import Golden
from uva_edge.manifest import MAX_MANIFEST_BYTES, File

Form = Callable[[Path], Path]
Case = tuple[Callable[[Path], object], type[BundleError], str]


# What is sound is read.


def test_read(form: Form, root: Path, original: Bundle, golden: Golden) -> None:
    place = form(root)
    for reference in (place, str(place)):
        bundle = Bundle.open(reference)
        bundle.verify()
        assert list(bundle.problems()) == []
        assert bundle.name == "tiny"
        assert bundle.location == str(place)
        assert bundle.manifest == original.manifest
        assert bundle.sha256 == hashlib.sha256((root / "bundle.json").read_bytes()).hexdigest()
        assert bundle.read(bundle.artifact("onnx-fp32").files[0]) == bytes(range(256)) * 8
        xml, weights = bundle.artifact("openvino-fp32").files
        assert bundle.read(xml) == b"<net/>"
        assert bundle.read(weights) == bytes(range(99))
        for name, array in vars(bundle.golden()).items():
            np.testing.assert_array_equal(array, getattr(golden, name), err_msg=name)
            assert array.flags.writeable, f"{name}: torch.from_numpy warns about read-only arrays"


def test_unknown_artifact(original: Bundle) -> None:
    with pytest.raises(OptionError, match='no artifact "onnx"; it has onnx-fp32, openvino-fp32'):
        original.artifact("onnx")


def test_unnamed_files_are_ignored(root: Path, form: Form) -> None:
    (root / "__MACOSX").mkdir()
    for name in (".DS_Store", "__MACOSX/._bundle.json"):
        (root / name).write_bytes(b"x")
    Bundle.open(form(root)).verify()


def test_reading_leaves_no_trace(form: Form, root: Path) -> None:
    place = form(root)
    for path in (root, *root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.lstat().st_mtime_ns for path in root.parent.rglob("*")}
    Bundle.open(place).verify()
    assert {path: path.lstat().st_mtime_ns for path in root.parent.rglob("*")} == before
    for path in (root, root / "ov"):
        path.chmod(0o755)


def test_threads_may_share_a_bundle(form: Form, root: Path) -> None:
    bundle = Bundle.open(form(root))
    failures: list[BaseException] = []

    def work() -> None:
        for _ in range(10):
            failures.extend(bundle.problems())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# Names.


@pytest.fixture
def shipped(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package that ships one bundle, "uva-9", while the program runs in another directory."""
    package = tmp_path / "bundles"
    shutil.copytree(root, package / "uva-9")
    (package / "__pycache__").mkdir()
    monkeypatch.setattr(uva_edge.bundle, "_shipped_root", lambda: package)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return package / "uva-9"


def test_shipped_name(shipped: Path) -> None:
    assert shipped_bundles() == ("uva-9",)
    for bundle in (Bundle.open("uva-9"), Bundle.shipped("uva-9")):
        assert bundle.location == str(shipped)
        bundle.verify()
    os.mkdir("uva-9")  # no bundle, so there is no doubt
    assert Bundle.open("uva-9").location == str(shipped)


def test_shipped_name_is_never_ambiguous(shipped: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(root, "uva-9")
    with pytest.raises(OptionError, match=r'write "./uva-9" for the directory, or Bundle.shipped\("uva-9"\)'):
        Bundle.open("uva-9")
    assert Bundle.open("./uva-9").location == "uva-9"
    assert Bundle.open(Path("uva-9")).location == "uva-9"
    assert Bundle.shipped("uva-9").location == str(shipped)
    monkeypatch.chdir(shipped.parent)
    assert Bundle.open("uva-9").location == str(shipped)


def test_the_package_itself_is_searched() -> None:
    root = Path(uva_edge.bundle.__file__).parent / "bundles"
    assert shipped_bundles() == tuple(sorted(path.parent.name for path in root.glob("*/bundle.json")))


@pytest.mark.parametrize("reference", ["", "uva-8", "no/place", "x.zip", "a\0b", "x" * 5000, "\n"], ids=ascii)
def test_not_found_lists_the_shipped_names(shipped: Path, reference: str) -> None:
    for find in (Bundle.open, Bundle.shipped):
        with pytest.raises(BundleNotFoundError, match=r"a bundle that ships: uva-9$"):
            find(reference)


def test_not_a_reference() -> None:
    with pytest.raises(OptionError, match="expected the name or path of a bundle, got int"):
        Bundle.open(64)  # type: ignore[arg-type]


# A manifest that is damaged is refused at once, whole or in a .zip.


def set_manifest(contents: bytes) -> Callable[[Path], object]:
    return lambda root: (root / "bundle.json").write_bytes(contents)


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(root: Path) -> None:
        data = json.loads((root / "bundle.json").read_text())
        change(data)
        (root / "bundle.json").write_text(json.dumps(data))

    return damage


def set_golden(**fields: Any) -> Callable[[Path], object]:
    return edit(lambda data: data["golden"].update(fields))


OPENING: dict[str, Case] = {
    "no manifest": (lambda root: (root / "bundle.json").unlink(), ManifestError, "bundle.json"),
    "an empty manifest": (set_manifest(b""), ManifestError, "expected JSON in UTF-8"),
    "a huge manifest": (set_manifest(b" " * 8 * MAX_MANIFEST_BYTES), ManifestError, "at most 1048576 bytes"),
    "a deep manifest": (set_manifest(b"[" * 99_999), ManifestError, "nested too deeply"),
    "a key twice": (set_manifest(b'{"name": "a", "name": "b"}'), ManifestError, 'key "name" occurs twice'),
    "another version": (edit(lambda data: data.update(schema_version=2)), SchemaVersionError, "of version 2"),
    "a missing field": (edit(lambda data: data.pop("lineage")), ManifestError, "lineage: missing"),
    "an unknown field": (edit(lambda data: data.update(licence="")), ManifestError, '["licence"]: unknown'),
    "a wrong type": (set_golden(bytes="12"), ManifestError, 'golden.bytes: expected an integer >= 0'),
    "a path upwards": (set_golden(path="../golden.npz"), UnsafePathError, "golden.path: expected"),
    "an absolute path": (set_golden(path="/etc/passwd"), UnsafePathError, 'got "/etc/passwd"'),
    "a huge file": (set_golden(bytes=1 << 40), ManifestError, "golden.bytes: expected at most 536870912"),
}  # fmt: skip


@pytest.mark.parametrize("case", OPENING)
def test_refused_when_opened(case: str, form: Form, root: Path) -> None:
    damage, expected, message = OPENING[case]
    damage(root)
    place = form(root)
    with pytest.raises(expected) as caught:
        Bundle.open(place)
    assert type(caught.value) is expected
    assert str(caught.value).startswith(str(place))
    assert message in str(caught.value)


# A file that is damaged is refused when it is read.


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def resize(length: int) -> Callable[[Path], object]:
    return lambda root: os.truncate(root / "fp32.onnx", length)


READING: dict[str, Case] = {
    "missing": (lambda root: (root / "fp32.onnx").unlink(), MissingFileError, "got none; copy the"),
    "empty": (resize(0), TruncatedFileError, "expected 2048 bytes, got 0"),
    "short": (resize(2047), TruncatedFileError, "expected 2048 bytes, got 2047"),
    "long": (resize(2049), TruncatedFileError, "expected 2048 bytes, got 2049"),
    "other bytes": (lambda root: flip(root / "fp32.onnx"), HashMismatchError, "expected sha256"),
}  # fmt: skip


@pytest.mark.parametrize("case", READING)
def test_refused_when_read(case: str, form: Form, root: Path) -> None:
    damage, expected, message = READING[case]
    damage(root)
    bundle = Bundle.open(form(root))
    with pytest.raises(expected) as caught:
        bundle.read(bundle.artifact("onnx-fp32").files[0])
    assert type(caught.value) is expected
    assert str(caught.value).startswith(f"{bundle.location}/fp32.onnx: ")
    assert message in str(caught.value)
    with pytest.raises(expected):
        bundle.verify()


def test_problems_names_every_file(root: Path) -> None:
    (root / "fp32.onnx").unlink()
    flip(root / "golden.npz")
    flip(root / "README.md")
    problems = list(Bundle.open(root).problems())
    assert [type(problem) for problem in problems] == [MissingFileError, HashMismatchError, HashMismatchError]
    for problem, name in zip(problems, ("fp32.onnx", "golden.npz", "README.md"), strict=True):
        assert str(problem).startswith(f"{root}/{name}: ")


def test_a_file_that_changes_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is asked first; what counts is what is then read."""
    bundle = Bundle.open(root)
    file = bundle.artifact("onnx-fp32").files[0]
    fstat = os.fstat

    def fstat_then_cut(descriptor: int) -> os.stat_result:
        result = fstat(descriptor)
        os.truncate(root / "fp32.onnx", 100)
        return result

    monkeypatch.setattr(os, "fstat", fstat_then_cut)
    with pytest.raises(TruncatedFileError, match="expected 2048 bytes, got 100"):
        bundle.read(file)


def test_file_that_is_not_of_the_bundle(original: Bundle) -> None:
    with pytest.raises(MissingFileError, match=r"other\.bin"):
        original.read(File("other.bin", 1, "0" * 64))


# What only a directory can hold.


def link(target: str) -> Callable[[Path], object]:
    def damage(root: Path) -> None:
        (root / "ov/fp32.xml").unlink()
        (root / "ov/fp32.xml").symlink_to(target)

    return damage


def replace(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(root: Path) -> None:
        (root / "ov/fp32.xml").unlink()
        make(root / "ov/fp32.xml")

    return damage


def link_folder(root: Path) -> None:
    shutil.move(root / "ov", root.parent / "elsewhere")
    (root / "ov").symlink_to(root.parent / "elsewhere")


def file_for_folder(root: Path) -> None:
    shutil.rmtree(root / "ov")
    (root / "ov").touch()


DIRECTORY: dict[str, Case] = {
    "a link out": (link("/dev/null"), UnsafePathError, "got a link out of it to /dev/null"),
    "a relative link out": (link("../.."), UnsafePathError, "got a link out of it"),
    "a linked folder": (link_folder, UnsafePathError, "got a link out of it"),
    "a loop of links": (link("fp32.xml"), BundleError, "can't be read"),
    "a dangling link": (link("nothing"), MissingFileError, "expected a file, got none"),
    "a directory": (replace(Path.mkdir), MissingFileError, "got a directory or a device"),
    "a pipe": (replace(os.mkfifo), MissingFileError, "got a directory or a device"),
    "a file for a folder": (file_for_folder, MissingFileError, "expected a file, got none"),
}  # fmt: skip


@pytest.mark.parametrize("case", DIRECTORY)
def test_refused_in_a_directory(case: str, root: Path) -> None:
    damage, expected, message = DIRECTORY[case]
    damage(root)
    bundle = Bundle.open(root)
    with pytest.raises(expected) as caught:
        bundle.read(bundle.artifact("openvino-fp32").files[0])
    assert type(caught.value) is expected
    assert message in str(caught.value)


def test_manifest_that_is_a_link_out(root: Path) -> None:
    shutil.move(root / "bundle.json", root.parent / "elsewhere.json")
    (root / "bundle.json").symlink_to("../elsewhere.json")
    with pytest.raises(UnsafePathError, match=r"bundle\.json: expected a file of the bundle, got a link out"):
        Bundle.open(root)


def test_links_within_are_fine(root: Path) -> None:
    shutil.move(root / "fp32.onnx", root / "ov/moved")
    (root / "fp32.onnx").symlink_to("ov/moved")
    root.parent.joinpath("alias").symlink_to("tiny")
    Bundle.open(root.parent / "alias").verify()
