"""TensorRT engines: built here by TensorRT-RTX, which needs no GPU, and refused where they can't run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra 'export'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")

from uva_edge.bundle import Bundle  # noqa: E402
from uva_edge.cli import main  # noqa: E402
from uva_edge.errors import (  # noqa: E402
    ExportError,
    ManifestError,
    MissingPackageError,
    OptionError,
    ParityError,
    SessionError,
)
from uva_edge.export import artifacts, tensorrt  # noqa: E402
from uva_edge.export.artifacts import Material, Splits  # noqa: E402
from uva_edge.export.bundles import export_bundle  # noqa: E402
from uva_edge.export.onnx import onnx_run  # noqa: E402
from uva_edge.export.onnx_int8 import TENSORRT, Setting, quantised_convolutions, to_int8  # noqa: E402
from uva_edge.export.tensorrt import EngineOptions, build_engine, half  # noqa: E402
from uva_edge.gpu import NO_DRIVER  # noqa: E402
from uva_edge.runtimes.engine_header import EngineHeader, Flavour, Host, expect_runnable  # noqa: E402

GOOD = Setting(per_channel=True, method="percentile", floats="attention and features")
AMPERE = EngineOptions(capabilities=("8.6",))


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra 'tensorrt-rtx'")


@pytest.fixture(scope="module")
def quantised(material: Material) -> bytes:
    found = to_int8(material.graph, material.feeds, material.judge, integers=TENSORRT, settings=[GOOD])
    return found.graph


# --- graphs ---------------------------------------------------------------------------------------------


def test_integers_are_symmetric_and_biases_float(quantised: bytes) -> None:
    """What TensorRT takes: int8 around zero, a scale per channel of the weights, no integer bias."""
    model = onnx.load_from_string(quantised)
    values = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    zeros = [values[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert all(values[node.input[2]].dtype == np.float32 for node in convolutions if len(node.input) > 2)
    integer = [node for node in convolutions if node.input[1] in made_by]
    scales = values[made_by[integer[0].input[1]].input[1]]
    assert scales.shape == (values[integer[0].input[2]].shape[0],)
    assert quantised_convolutions(quantised) == (24, 64)


def test_bytes_enter_a_cast(material: Material) -> None:
    """TensorRT takes uint8 into nothing else."""
    model = onnx.load_from_string(material.graph)
    assert [node.op_type for node in model.graph.node if "frames" in node.input] == ["Cast"]


def test_float16_keeps_the_contract(material: Material, contract: Any) -> None:
    graph = half(material.graph)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    kinds = {
        value.name: value.type.tensor_type.elem_type for value in onnx.load_from_string(graph).graph.input
    }
    assert kinds == {"frames": onnx.TensorProto.UINT8, "state_in": onnx.TensorProto.FLOAT}
    assert material.judge(onnx_run(graph, fused=False)).cc_clips > 0.9999
    parity = material.parity_of("it", onnx_run(graph, fused=False), "fp16")
    assert 0 < parity["max_abs_map"] < 2e-2
    assert parity["min_cc"] > 0.999


def test_a_graph_that_computes_something_else_is_refused(material: Material) -> None:
    model = onnx.load_from_string(half(material.graph))
    weight = next(item for item in model.graph.initializer if len(item.dims) == 4)
    noise = np.random.default_rng(0).normal(size=tuple(weight.dims)).astype(np.float16)
    weight.CopyFrom(onnx.numpy_helper.from_array(noise, weight.name))
    with pytest.raises(ParityError, match="since it misses its gate: max_abs_map"):
        material.parity_of("it", onnx_run(model.SerializeToString()), "fp16")


# --- engines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("frames", [None, 1])
def test_engines_are_built(
    rtx: Any, material: Material, contract: Any, quantised: bytes, precision: Any, frames: int | None
) -> None:
    graph = {"fp32": material.graph, "fp16": half(material.graph), "int8": quantised}[precision]
    engine, header = build_engine("tensorrt_rtx", graph, contract, precision, frames=frames, options=AMPERE)
    assert len(engine) > 100_000
    assert (header.shortest, header.longest) == ((1, 1) if frames else (1, 64))
    assert header.compute_capabilities == ("8.6",)
    assert header.onnx_sha256 == hashlib.sha256(graph).hexdigest()
    host = Host("tensorrt_rtx", rtx.__version__, tensorrt.host_platform(), "8.6")
    expect_runnable(header, engine, host, rebuild="-")


class Profile(dict[str, tuple[Any, ...]]):
    """Stands for TensorRT's builder, its configuration and the profile itself: keeps the shapes."""

    def create_optimization_profile(self) -> Profile:
        return self

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self[name] = shapes

    def add_optimization_profile(self, profile: Profile) -> None:
        assert profile is self


@pytest.mark.parametrize(
    ("frames", "lengths", "streams"), [(None, (1, 16, 64), (1, 1, 64)), (1, (1, 1, 1), (1, 1, 1))]
)
def test_profiles_span_the_frames_and_the_streams(
    contract: Any, frames: int | None, lengths: tuple[int, ...], streams: tuple[int, ...]
) -> None:
    profile = Profile()
    tensorrt._add_profile(profile, profile, contract, frames)
    assert profile == {
        "frames": tuple((count, 32, 32, 3) for count in lengths),
        "state_in": tuple((count, 64, 8, 8) for count in streams),
    }


def test_by_default_for_all_that_is_known(rtx: Any, material: Material, contract: Any) -> None:
    _, header = build_engine(
        "tensorrt_rtx", material.graph, contract, "fp32", frames=1, options=tensorrt.PLAIN
    )
    assert {"7.5", "8.0", "8.6", "8.9", "12.0"} <= set(header.compute_capabilities)


class Config:
    """The part of TensorRT's builder configuration that keeps tactics."""

    def __init__(self) -> None:
        self.given = b""

    def create_timing_cache(self, data: bytes) -> Any:
        return None if data == b"foreign" else data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.given = cache
        return not ignore_mismatch


def test_a_timing_cache_is_read(tmp_path: Path) -> None:
    place, config = tmp_path / "tactics.bin", Config()
    assert tensorrt._load_cache(config, None) is None
    assert tensorrt._load_cache(config, place) == b"", "the first build begins with an empty one"
    place.write_bytes(b"tactics")
    tensorrt._load_cache(config, place)
    assert config.given == b"tactics"
    place.write_bytes(b"foreign")
    with pytest.raises(OptionError, match=r"tactics\.bin: expected a timing cache of this TensorRT"):
        tensorrt._load_cache(config, place)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (EngineOptions(capabilities=("9.0",)), r"builds for 7\.5.*; got 9\.0"),
        (EngineOptions(hardware_compatible=True), "not for all from Ampere on"),
        (EngineOptions(timing_cache=Path("tactics.bin")), "has no timing cache"),
    ],
)
def test_options_that_it_lacks(
    rtx: Any, material: Material, contract: Any, options: EngineOptions, words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        build_engine("tensorrt_rtx", material.graph, contract, "fp32", frames=1, options=options)


def test_a_graph_that_is_not_ours_is_refused(rtx: Any, contract: Any) -> None:
    with pytest.raises(ExportError, match="tensorrt_rtx"):
        build_engine("tensorrt_rtx", b"no graph", contract, "fp32", frames=1, options=AMPERE)


@pytest.mark.parametrize("flavour", get_args(Flavour))
def test_a_missing_package_is_named(
    material: Material, contract: Any, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx_bindings"}[flavour]
    monkeypatch.setitem(__import__("sys").modules, module, None)
    extra = flavour.replace("_", "-")
    with pytest.raises(
        MissingPackageError, match=rf"{module}, which is not installed; .*uva-edge\[{extra}\]"
    ):
        build_engine(flavour, material.graph, contract, "fp32", frames=1, options=AMPERE)


def test_full_tensorrt_says_that_there_is_no_gpu(
    rtx: Any, material: Material, contract: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both packages have one API, so the one stands for the other up to the question for the GPU."""
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", rtx)
    monkeypatch.setattr(tensorrt, "probe_gpus", lambda: NO_DRIVER)
    with pytest.raises(
        ExportError, match="builds for the GPU of this machine: there is no NVIDIA driver here"
    ):
        build_engine("tensorrt", material.graph, contract, "fp32", frames=1, options=tensorrt.PLAIN)
    with pytest.raises(OptionError, match="name no compute capabilities"):
        build_engine("tensorrt", material.graph, contract, "fp32", frames=1, options=AMPERE)


# --- the bundle -----------------------------------------------------------------------------------------


def test_a_bundle_gets_engines(
    rtx: Any, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "to_int8", partial(to_int8, settings=[GOOD]))
    bundle = export_bundle(
        "uva-32",
        tmp_path / "gpu",
        name="gpu",
        to=["onnx", "tensorrt-rtx", "tensorrt-rtx-fp16", "tensorrt-rtx-int8"],
        splits=splits,
        engines=AMPERE,
    )
    found = [item for item in bundle.manifest.artifacts if item.format == "tensorrt_rtx"]
    assert [(item.precision, item.frames) for item in found] == [
        (precision, frames) for precision in ("fp32", "fp16", "int8") for frames in (None, 1)
    ]
    for artifact in found:
        engine, header = (bundle.read(file) for file in artifact.files)
        described = EngineHeader.from_bytes(header)
        assert described.engine_sha256 == hashlib.sha256(engine).hexdigest(), artifact.name
        assert described.precision == artifact.precision
        assert artifact.requires["compute_capability"] == "8.6"
        assert artifact.parity["min_cc"] > 0.99, artifact.name


def test_from_the_shell(rtx: Any, tmp_path: Path) -> None:
    place = tmp_path / "gpu"
    arguments = ["export", "uva-32", "-o", str(place), "--to", "tensorrt-rtx-fp16"]
    result = CliRunner().invoke(main, [*arguments, "--capability", "7.5", "--capability", "8.9"])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(place)
    assert "165,337 parameters, 11,054,080 multiply-accumulates a frame" in result.stderr
    assert re.search(r"tensorrt-rtx-fp16-t1 +│ [\d,]+ +│ 693,990 +│ 114,688", result.stderr), result.stderr
    requires = Bundle.open(place).artifact("tensorrt-rtx-fp16").requires
    assert requires["compute_capability"] == "7.5 8.9"


# --- headers --------------------------------------------------------------------------------------------

ENGINE = b"an engine"
HEADER = EngineHeader(
    schema_version="1",
    flavour="tensorrt",
    version="10.13.3",
    platform="linux-aarch64",
    compute_capabilities=("8.7",),
    hardware_compatible=False,
    version_compatible=False,
    precision="fp16",
    shortest=1,
    longest=64,
    onnx_sha256="0" * 64,
    engine_sha256=hashlib.sha256(ENGINE).hexdigest(),
)
HOST = Host("tensorrt", "10.13.3", "linux-aarch64", "8.7")


@pytest.mark.parametrize(
    ("header", "host", "words"),
    [
        ({}, {}, None),
        ({}, {"flavour": "tensorrt_rtx"}, "flavour: built for tensorrt, here is tensorrt_rtx"),
        ({}, {"version": "10.14.0"}, r"version: built for 10\.13\.3, here is 10\.14\.0"),
        ({"version_compatible": True}, {"version": "10.14.0"}, None),
        ({"version_compatible": True}, {"version": "10.9.0"}, r"10\.13\.3 or a later 10, here is 10\.9\.0"),
        ({"version_compatible": True}, {"version": "11.0.0"}, r"here is 11\.0\.0"),
        ({}, {"platform": "linux-x86_64"}, "platform: built for linux-aarch64"),
        ({}, {"compute_capability": "8.6"}, r"GPU: built for compute capability 8\.7, here is .* 8\.6"),
        ({"hardware_compatible": True}, {"compute_capability": "8.6"}, None),
        ({"hardware_compatible": True}, {"compute_capability": "12.0"}, None),
        ({"hardware_compatible": True}, {"compute_capability": "7.5"}, r"any from 8\.0 on, here is"),
    ],
)
def test_what_can_run_where(header: dict[str, Any], host: dict[str, Any], words: str | None) -> None:
    def check() -> None:
        expect_runnable(replace(HEADER, **header), ENGINE, replace(HOST, **host), rebuild="run `build it`")

    if words is None:
        check()
    else:
        with pytest.raises(SessionError, match=rf"{words}.*To mend it: run `build it`"):
            check()


def test_another_engine_beside_a_header_is_refused() -> None:
    with pytest.raises(SessionError, match="not the one that its header describes"):
        expect_runnable(HEADER, b"another", HOST, rebuild="-")


def damaged() -> Iterator[bytes]:
    whole = HEADER.to_bytes()
    yield b""
    yield whole[:40]
    yield whole.replace(b'"fp16"', b'"fp8"')
    yield whole.replace(b'"8.7"', b'"sm_87"')
    yield whole.replace(b'"schema_version": "1"', b'"schema_version": "2"')
    yield whole.replace(b"{", b'{"more": 1,', 1)
    yield b" " * 100_000


@pytest.mark.parametrize("raw", damaged(), ids=range(7))
def test_damaged_headers_are_refused(raw: bytes) -> None:
    with pytest.raises(ManifestError):
        EngineHeader.from_bytes(raw)


@given(
    version=st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){1,3}", fullmatch=True),
    capabilities=st.lists(st.from_regex(r"[0-9]{1,2}\.[0-9]", fullmatch=True), max_size=8).map(tuple),
    lengths=st.tuples(st.integers(1, 64), st.integers(1, 1 << 16)),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_headers_come_back(
    version: str, capabilities: tuple[str, ...], lengths: tuple[int, int], flags: tuple[bool, bool]
) -> None:
    header = replace(
        HEADER,
        version=version,
        compute_capabilities=capabilities,
        shortest=lengths[0],
        longest=lengths[1],
        hardware_compatible=flags[0],
        version_compatible=flags[1],
    )
    assert EngineHeader.from_bytes(header.to_bytes()) == header
