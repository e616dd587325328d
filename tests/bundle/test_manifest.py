"""bundle.json: what is accepted comes back exactly; what is not is refused by the name of its field."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from uva_edge.errors import ManifestError, SchemaVersionError, UnsafePathError
from uva_edge.manifest import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    File,
    Manifest,
)

SHA = "0123456789abcdef" * 4


def tensor(name: str, dtype: str, *shape: int | str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def file(path: str, size: int = 10, sha256: str = SHA) -> dict[str, Any]:
    return {"path": path, "bytes": size, "sha256": sha256}


def valid() -> dict[str, Any]:
    """A bundle.json with every kind of field in use."""
    return {
        "schema_version": 1,
        "name": "uva-64",
        "network": {
            "family": "uva-net",
            "options": {"block": "ca_res", "expansion": 4, "scale": 0.5, "bias": True, "extra": None},
            "parameters": 165_337,
            "macs_per_step": 31_000_000,
        },
        "contract": {
            "resolution": 64,
            "pairing": "causal",
            "output": "peak",
            "frames": tensor("frames", "uint8", "T", 64, 64, 3),
            "state_in": tensor("state_in", "float32", 1, 64, 16, 16),
            "maps": tensor("maps", "float32", "T", 64, 64),
            "state_out": tensor("state_out", "float32", 1, 64, 16, 16),
        },
        "artifacts": [
            {
                "name": "onnx-fp32",
                "format": "onnx",
                "precision": "fp32",
                "frames": None,
                "files": [file("onnx-fp32.onnx")],
                "requires": {"opset": "18"},
                "parity": {"max_abs_map": 3e-6},
                "details": {},
            },
            {
                "name": "openvino-int8-t1",
                "format": "openvino",
                "precision": "int8",
                "frames": 1,
                "files": [file("openvino/int8.xml"), file("openvino/int8.bin")],
                "requires": {},
                "parity": {"cc": 1.0},
                "details": {"trials": [{"calibration": "entropy", "cc": [0.99, None]}]},
            },
        ],
        "golden": file("golden.npz"),
        "accuracy": {"osie": {"NSS": 2.01, "CC": 0.63}},
        "lineage": {
            "created_with": {"torch": "2.13.0"},
            "recipe": {"mu": 0.5, "steps": [{"lr": 1e-3}]},
            "data": ["OSIE, 500 images, CC BY"],
            "teacher": "TinyHD-S",
            "source_commit": None,
            "checkpoint_sha256": SHA,
            "licence": "Apache-2.0",
        },
        "documents": [file("README.md")],
    }


def changed(path: Sequence[str | int], value: Any) -> dict[str, Any]:
    data = valid()
    node: Any = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return data


def test_valid_round_trip() -> None:
    manifest = Manifest.from_dict(valid())
    assert manifest.to_dict() == valid()
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert manifest.contract.state_shape == (1, 64, 16, 16)
    assert manifest.artifacts[1].files[1].path == "openvino/int8.bin"
    assert [item.path for item in manifest.files] == [
        "onnx-fp32.onnx", "openvino/int8.xml", "openvino/int8.bin", "golden.npz", "README.md",
    ]  # fmt: skip


def test_file_form() -> None:
    raw = Manifest.from_dict(valid()).to_bytes()
    assert raw == json.dumps(valid(), indent=2, sort_keys=True).encode() + b"\n"


@pytest.mark.parametrize("streams", [None, 4])
def test_artifacts_of_several_streams(streams: int | None) -> None:
    manifest = Manifest.from_dict(changed(["artifacts", 0, "streams"], streams))
    assert [artifact.streams for artifact in manifest.artifacts] == [streams, 1]
    assert manifest.to_dict() == changed(["artifacts", 0, "streams"], streams)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_a_manifest_from_before_there_were_streams_stays_as_it_is() -> None:
    """Without the field it is one stream; and said or not, that is written as it was then."""
    manifest = Manifest.from_dict(valid())
    assert {artifact.streams for artifact in manifest.artifacts} == {1}
    assert Manifest.from_dict(changed(["artifacts", 0, "streams"], 1)).to_bytes() == manifest.to_bytes()


def test_a_state_of_another_kind() -> None:
    data = valid()
    for side in ("state_in", "state_out"):
        data["contract"][side] = tensor(side, "uint8", 1, 15, 64, 64, 3)
    assert Manifest.from_dict(data).contract.state_shape == (1, 15, 64, 64, 3)


def test_a_file_may_serve_two_artifacts() -> None:
    data = changed(["artifacts", 0, "files"], [file("onnx-fp32.onnx"), file("openvino/int8.bin")])
    assert len(Manifest.from_dict(data).files) == 5


FILE: list[str | int] = ["artifacts", 1, "files", 0]
BAD_FIELDS: list[tuple[list[str | int], Any, str]] = [
    ([*FILE, "bytes"], "12", 'artifacts[1].files[0].bytes: expected an integer >= 0, got "12"'),
    ([*FILE, "bytes"], -1, "artifacts[1].files[0].bytes: expected an integer >= 0, got -1"),
    ([*FILE, "bytes"], 1.0, "artifacts[1].files[0].bytes: expected an integer >= 0, got 1.0"),
    ([*FILE, "bytes"], True, "artifacts[1].files[0].bytes: expected an integer >= 0, got true"),
    (
        [*FILE, "bytes"],
        10**30,
        "artifacts[1].files[0].bytes: expected an integer >= 0, got an integer that is out",
    ),
    ([*FILE, "bytes"], MAX_FILE_BYTES + 1, f"artifacts[1].files[0].bytes: expected at most {MAX_FILE_BYTES}"),
    ([*FILE, "sha256"], SHA.upper(), "artifacts[1].files[0].sha256: expected 64 lower-case hex digits"),
    ([*FILE, "sha256"], SHA[:-1], "artifacts[1].files[0].sha256: expected 64 lower-case hex digits"),
    ([*FILE, "sha256"], SHA + "\n", "artifacts[1].files[0].sha256: expected 64 lower-case hex digits"),
    ([*FILE, "path"], None, "artifacts[1].files[0].path: expected a string, got null"),
    ([*FILE, "mode"], 7, 'artifacts[1].files[0]["mode"]: unknown field; expected only path, bytes, sha256'),
    (["schema_version"], "1", 'schema_version: expected an integer, got "1"'),
    (["schema_version"], True, "schema_version: expected an integer, got true"),
    (["name"], "UVA 64", 'name: expected 1 to 64 of a-z, 0-9, ".", "_", "-", such as "uva-64", got "UVA 64"'),
    (["name"], "../uva", "name: expected 1 to 64"),
    (["name"], "a" * 65, "name: expected 1 to 64"),
    (["name"], "uva-64\n", "name: expected 1 to 64"),
    (["network"], [], "network: expected an object, got a list"),
    (
        ["network", "options"],
        {"widths": [1, 2]},
        'network.options["widths"]: expected a string or true or false',
    ),
    (["network", "parameters"], None, "network.parameters: expected an integer >= 0, got null"),
    (["network", "parameters"], float("nan"), "network.parameters: expected an integer >= 0, got NaN"),
    (["contract", "pairing"], "future", 'contract.pairing: expected "causal" or "lookahead" or "window"'),
    (
        ["contract", "output"],
        ["peak"],
        'contract.output: expected "peak" or "sigmoid" or "clamp", got a list',
    ),
    (["contract", "resolution"], 0, "contract.resolution: expected an integer from 1 to 4096, got 0"),
    (
        ["contract", "resolution"],
        32,
        'contract.frames.shape: expected ["T", 32, 64, 3], got ["T", 64, 64, 3]',
    ),
    (["contract", "frames", "dtype"], "float16", 'contract.frames.dtype: expected "uint8" or "float32"'),
    (["contract", "frames", "dtype"], "float32", 'contract.frames.dtype: expected "uint8", got "float32"'),
    (["contract", "frames", "shape"], ["T", 48, 64, 3], 'contract.frames.shape: expected ["T", 64, 64, 3]'),
    (["contract", "frames", "shape"], ["T", 64, "T", 3], 'contract.frames.shape: expected ["T", 64, 64, 3]'),
    (["contract", "frames", "shape"], ["T", 64], 'contract.frames.shape: expected ["T", 64, 64, 3]'),
    (["contract", "frames", "shape"], ["T", 64, 48, 3], 'contract.maps.shape: expected ["T", 64, 48]'),
    (["contract", "pairing"], "window", 'contract.state_in.dtype: expected "uint8", got "float32"'),
    (
        ["contract", "frames", "shape", 0],
        "N",
        'contract.frames.shape[0]: expected an integer >= 1 or "T", got "N"',
    ),
    (["contract", "maps", "shape"], ["T", 64, 64, 1], 'contract.maps.shape: expected ["T", 64, 64]'),
    (
        ["contract", "maps", "name"],
        "frames",
        'contract.state_out.name: expected names that differ, got "frames"',
    ),
    (
        ["contract", "maps", "name"],
        "a b",
        'contract.maps.name: expected a tensor name such as "state_in", got',
    ),
    (["contract", "state_in", "shape"], ["T", 64], "contract.state_in.shape: expected 1 to 8 integers"),
    (["contract", "state_in", "shape"], [], "contract.state_in.shape: expected 1 to 8 integers"),
    (["contract", "state_in", "shape"], [1] * 9, "contract.state_in.shape: expected 1 to 8 integers"),
    (["contract", "state_in", "shape"], [10**6, 10**6], "contract.state_in.shape: expected 1 to 8 integers"),
    (["contract", "state_out", "shape"], [1, 64, 8, 8], "contract.state_out.shape: expected [1, 64, 16, 16]"),
    (
        ["contract", "state_out", "dtype"],
        "uint8",
        'contract.state_out.dtype: expected "float32", got "uint8"',
    ),
    (["artifacts"], {}, "artifacts: expected a list, got an object"),
    (["artifacts"], [], "artifacts: expected at least one artifact, got none"),
    (["artifacts", 1, "name"], "onnx-fp32", 'artifacts: expected names that differ, got "onnx-fp32" twice'),
    (
        ["artifacts", 1, "precision"],
        "fp8",
        'artifacts[1].precision: expected "fp32" or "fp16" or "bf16" or "int8"',
    ),
    (["artifacts", 1, "frames"], 0, "artifacts[1].frames: expected an integer >= 1 or null, got 0"),
    (["artifacts", 1, "frames"], "T", 'artifacts[1].frames: expected an integer >= 1 or null, got "T"'),
    (["artifacts", 1, "streams"], 0, "artifacts[1].streams: expected an integer >= 1 or null, got 0"),
    (["artifacts", 1, "streams"], "S", 'artifacts[1].streams: expected an integer >= 1 or null, got "S"'),
    (["artifacts", 1, "files"], [], "artifacts[1].files: expected at least one file, got none"),
    (
        ["artifacts", 1, "requires"],
        {"opset": 18},
        'artifacts[1].requires["opset"]: expected a string, got 18',
    ),
    (
        ["artifacts", 1, "parity"],
        {"cc": True},
        'artifacts[1].parity["cc"]: expected a finite number, got true',
    ),
    (["artifacts", 1, "parity"], {"cc": float("inf")}, 'artifacts[1].parity["cc"]: expected a finite number'),
    (["artifacts", 1, "parity"], {"cc": 10**400}, 'artifacts[1].parity["cc"]: expected a finite number'),
    (
        ["artifacts", 1, "details"],
        {"a": {1: 2}},
        'artifacts[1].details["a"]: expected keys that are strings, got 1',
    ),
    (
        ["artifacts", 1, "details"],
        {"a": b"x"},
        'artifacts[1].details["a"]: expected a string or true or false',
    ),
    (["artifacts", 0, "files", 0, "path"], "OPENVINO/int8.xml", "artifacts: expected one content per path"),
    (["artifacts", 0, "files", 0, "path"], "openvino", "artifacts: expected a folder, got the file"),
    (
        ["documents", 0],
        file("golden.npz", 11),
        'artifacts: expected one content per path, got two for "golden.npz"',
    ),
    (
        ["documents"],
        [file(f"{i}.txt") for i in range(MAX_FILES)],
        f"artifacts: expected at most {MAX_FILES} files",
    ),
    (["accuracy"], {"osie": 2.0}, 'accuracy["osie"]: expected an object, got 2.0'),
    (["lineage", "source_commit"], 5, "lineage.source_commit: expected a string or null, got 5"),
    (["lineage", "data"], [{}], "lineage.data[0]: expected a string, got an object"),
    (["lineage", "licence"], "\ud800", 'lineage.licence: expected a string, got "\\ud800"'),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_FIELDS, ids=[case[2][:60] for case in BAD_FIELDS])
def test_bad_field_is_named(path: Sequence[str | int], value: Any, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.from_dict(changed(path, value))
    assert str(caught.value).startswith(message)


def every_field(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every field of the schema; keys of free objects are not fields."""
    free = {"options", "requires", "parity", "details", "accuracy", "created_with", "recipe"}
    if isinstance(node, list):
        return [found for i, item in enumerate(node) for found in every_field(item, (*path, i))]
    if not isinstance(node, dict) or (path and path[-1] in free):
        return []
    return [found for key in node for found in [(*path, key), *every_field(node[key], (*path, key))]]


@pytest.mark.parametrize("path", every_field(valid()), ids=lambda path: ".".join(map(str, path)))
def test_missing_field_is_named(path: tuple[str | int, ...]) -> None:
    data = valid()
    node: Any = data
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    with pytest.raises(ManifestError) as caught:
        Manifest.from_dict(data)
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
    assert str(caught.value).startswith(f"{name}: missing; expected ")


UNSAFE_PATHS = [
    "", "/", "/etc/passwd", "//server/x", "..", "../x", "a/..", "a/../../x", "a/..b/../c", ".", "./a",
    "a/./b", "a//b", "a/", "a\\b", "C:/x", "C:x", "a\0b", "a\nb", "nul\t", "a b", "~/a", "-rf",
    ".hidden", "é.onnx", "bundle.json", "Bundle.JSON", "bundle.json/a", "a" * 201, "a/" * 150 + "b",
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE_PATHS, ids=ascii)
def test_unsafe_path(path: str) -> None:
    for place, name in ((["golden", "path"], "golden"), ([*FILE, "path"], "artifacts[1].files[0]")):
        with pytest.raises(UnsafePathError) as caught:
            Manifest.from_dict(changed(place, path))
        assert str(caught.value).startswith(f"{name}.path: expected a relative path inside the bundle")
    with pytest.raises(UnsafePathError, match=r"^path: expected a relative path"):
        File(path, 1, SHA)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [(2, "pip install --upgrade uva-edge"), (0, "export"), (-1, "export"), (10**30, "upgrade")],
)
def test_other_schema_version(version: int, remedy: str) -> None:
    with pytest.raises(SchemaVersionError, match="this uva_edge reads version 1") as caught:
        Manifest.from_dict({"schema_version": version, "fields": "of another time"})
    assert remedy in str(caught.value)


def text(data: Any) -> bytes:
    return json.dumps(data).encode()


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


BAD_JSON: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "expected JSON in UTF-8"),
    "cut short": (lambda: text(valid())[:-1], "expected JSON in UTF-8"),
    "not UTF-8": (lambda: b'{"name": "\xff"}', "expected JSON in UTF-8"),
    "a byte order mark": (lambda: b"\xef\xbb\xbf" + text(valid()), "expected JSON in UTF-8"),
    "not an object": (lambda: b"[]", "the whole: expected an object, got a list"),
    "a key twice": (lambda: text(valid())[:-1] + b', "name": "other"}', 'the key "name" occurs twice'),
    "a nested key twice": (
        lambda: text(valid()).replace(b'"mu": 0.5', b'"mu": 1, "mu": 2'),
        'the key "mu" occurs',
    ),
    "NaN": (lambda: text(valid()).replace(b"2.01", b"NaN"), "expected finite numbers, got NaN"),
    "infinity": (
        lambda: text(valid()).replace(b"2.01", b"-Infinity"),
        "expected finite numbers, got -Infinity",
    ),
    "overflow": (lambda: text(valid()).replace(b"2.01", b"1e999"), "expected finite numbers, got 1e999"),
    "a long integer": (
        lambda: text(valid()).replace(b"2.01", b"9" * 500_000),
        "integers of at most 18 digits",
    ),
    "deep": (lambda: b"[" * 500_000, "nested too deeply"),
    "deep objects": (lambda: b'{"a":' * 100_000, "nested too deeply"),
    "deep in the recipe": (
        lambda: text(changed(["lineage", "recipe"], {"x": nested(20)})),
        'lineage.recipe["x"][0]',
    ),
    "too long": (lambda: text(valid()) + b" " * MAX_MANIFEST_BYTES, "expected at most 1048576 bytes"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json(case: str) -> None:
    make, message = BAD_JSON[case]
    with pytest.raises(ManifestError) as caught:
        Manifest.from_bytes(make())
    assert message in str(caught.value)


def test_a_manifest_that_could_not_be_read_is_not_written() -> None:
    manifest = Manifest.from_dict(valid())
    with pytest.raises(ManifestError, match="at most 1048576 bytes"):
        Manifest.from_dict(changed(["lineage", "licence"], "x" * MAX_MANIFEST_BYTES)).to_bytes()
    manifest.accuracy["osie"]["NSS"] = float("nan")
    with pytest.raises(
        ManifestError, match=r'accuracy\["osie"\]\["NSS"\]: expected a finite number, got NaN'
    ):
        manifest.to_bytes()


def test_a_contract_of_windows() -> None:
    """The state holds the frames themselves, and the input need not be a square."""
    data = valid()
    shape = [15, 192, 256, 3]
    data["contract"] = {
        "resolution": 192,
        "pairing": "window",
        "output": "peak",
        "frames": tensor("frames", "uint8", "T", 192, 256, 3),
        "state_in": tensor("state_in", "uint8", *shape),
        "maps": tensor("maps", "float32", "T", 192, 256),
        "state_out": tensor("state_out", "uint8", *shape),
    }
    contract = Manifest.from_dict(data).contract
    assert (contract.grid, contract.history, contract.frames_per_call) == ((192, 256), 15, 2)
    data["contract"]["state_in"]["shape"] = data["contract"]["state_out"]["shape"] = [15, 192, 192, 3]
    with pytest.raises(ManifestError, match=r"state_in\.shape: expected \[15, 192, 256, 3\], got"):
        Manifest.from_dict(data)


@pytest.mark.parametrize(("side", "frames"), [(64, 512), (256, 32), (4096, 1)])
def test_a_contract_of_pairs_holds_features(side: int, frames: int) -> None:
    data = valid()
    data["contract"]["resolution"] = side
    data["contract"]["frames"]["shape"] = ["T", side, side, 3]
    data["contract"]["maps"]["shape"] = ["T", side, side]
    contract = Manifest.from_dict(data).contract
    assert (contract.grid, contract.history, contract.frames_per_call) == ((side, side), 0, frames)
