"""bundle.json, whatever it holds: any manifest round-trips, and no damage ends in an unexpected error."""

from __future__ import annotations

import json
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.bundle import Bundle
from uva_edge.errors import BundleError
from uva_edge.manifest import (
    MAX_FILE_BYTES,
    Artifact,
    Contract,
    File,
    Lineage,
    Manifest,
    Network,
    TensorSpec,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True)
integers = st.integers(0, 10**18 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
scalars = texts | st.booleans() | st.integers(1 - 10**18, 10**18 - 1) | numbers | st.none()
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    counter = iter(range(1000))

    def make_file() -> File:
        path = f"{draw(st.sampled_from(['', 'a/', 'b/c.d/']))}f{next(counter)}"
        return File(path, draw(st.integers(0, MAX_FILE_BYTES)), draw(hashes))

    def make_artifact(name: str) -> Artifact:
        return Artifact(
            name=name,
            format=draw(names),
            precision=draw(st.sampled_from(["fp32", "fp16", "bf16", "int8"])),
            frames=draw(st.none() | st.integers(1, 1000)),
            files=tuple(make_file() for _ in range(draw(st.integers(1, 3)))),
            requires=draw(st.dictionaries(texts, texts, max_size=2)),
            parity=draw(st.dictionaries(texts, numbers, max_size=2)),
            details=draw(st.dictionaries(texts, documents, max_size=2)),
            streams=draw(st.none() | st.integers(1, 9)) if state[0] == 1 else 1,
        )

    side = draw(st.integers(1, 4096))
    dtype: Literal["uint8", "float32"] = draw(st.sampled_from(["uint8", "float32"]))
    state = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=8)))
    return Manifest(
        schema_version=1,
        name=draw(names),
        network=Network(
            draw(names), draw(st.dictionaries(texts, scalars, max_size=3)), draw(integers), draw(integers)
        ),
        contract=Contract(
            side,
            draw(st.sampled_from(["causal", "lookahead"])),
            draw(st.sampled_from(["peak", "sigmoid", "clamp"])),
            TensorSpec("frames", "uint8", ("T", side, side, 3)),
            TensorSpec("s_in", dtype, state),
            TensorSpec("maps", "float32", ("T", side, side)),
            TensorSpec("s.out", dtype, state),
        ),
        artifacts=tuple(make_artifact(name) for name in draw(st.sets(names, min_size=1, max_size=3))),
        golden=make_file(),
        accuracy=draw(st.dictionaries(texts, st.dictionaries(texts, numbers, max_size=2), max_size=2)),
        lineage=Lineage(
            created_with=draw(st.dictionaries(texts, texts, max_size=2)),
            recipe=draw(st.dictionaries(texts, documents, max_size=2)),
            data=tuple(draw(st.lists(texts, max_size=2))),
            teacher=draw(texts),
            source_commit=draw(st.none() | texts),
            checkpoint_sha256=draw(hashes),
            licence=draw(texts),
        ),
        documents=tuple(make_file() for _ in range(draw(st.integers(0, 2)))),
    )


@settings(max_examples=40, deadline=None)
@given(manifests())
def test_any_manifest_round_trips(manifest: Manifest) -> None:
    assert Manifest.from_dict(manifest.to_dict()) == manifest
    raw = manifest.to_bytes()
    again = Manifest.from_bytes(raw)
    assert again == manifest
    assert again.to_bytes() == raw


def accept_or_refuse(raw: bytes) -> None:
    """Whatever came, it is a manifest that round-trips or a BundleError that can be printed."""
    try:
        manifest = Manifest.from_bytes(raw)
    except BundleError as error:
        str(error).encode()
    else:
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@settings(max_examples=300, deadline=None)
@given(changes=st.data())
def test_damaged_text_never_surprises(changes: st.DataObject, original: Bundle) -> None:
    raw = bytearray(original.manifest_bytes)
    for _ in range(changes.draw(st.integers(1, 3))):
        start = changes.draw(st.integers(0, len(raw)))
        stop = changes.draw(st.integers(start, min(len(raw), start + 20)))
        raw[start:stop] = changes.draw(
            st.binary(max_size=6) | st.sampled_from([b'"', b"[", b"}", b"\\ud800"])
        )
    accept_or_refuse(bytes(raw))


def every_node(node: Any) -> list[tuple[Any, Any]]:
    """Each place in the JSON tree, as a container and a key of it."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, item in items for found in [(node, key), *every_node(item)]]


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10_000), value=st.text(max_size=5) | documents)
def test_replaced_values_never_surprise(place: int, value: Any, original: Bundle) -> None:
    data = original.manifest.to_dict()
    nodes = every_node(data)
    container, key = nodes[place % len(nodes)]
    container[key] = value
    accept_or_refuse(json.dumps(data).encode())
