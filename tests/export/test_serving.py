"""`--to triton` and `--to ovms`: what the servers are told, and that streams served so are streams.

No server can be had here. Triton's part, which keeps the states and gathers batches by what config.pbtxt says, is
played by `Sequences`, OpenVINO Model Server's by OpenVINO itself; requests come from the example's client by gRPC.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="needs the extra 'export'")
pytest.importorskip("onnxscript", reason="needs the extra 'export'")
pytest.importorskip("openvino", reason="needs the extra 'openvino'")
grpc = pytest.importorskip("grpc", reason="needs tritonclient[grpc] of the extra 'test'")
pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc] of the extra 'test'")

import onnxruntime  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc  # noqa: E402

from uva_edge import Bundle, SaliencyPredictor, network_input  # noqa: E402
from uva_edge.errors import ExportError, ParityError  # noqa: E402
from uva_edge.export import artifacts, triton  # noqa: E402
from uva_edge.export.artifacts import Material  # noqa: E402
from uva_edge.export.bundles import write_verified  # noqa: E402
from uva_edge.export.fidelity import Fidelity  # noqa: E402
from uva_edge.export.onnx_int8 import Setting  # noqa: E402
from uva_edge.export.trials import Quantised, Trial  # noqa: E402
from uva_edge.runtimes.openvino import openvino_core  # noqa: E402

CLIENT: Final = Path(__file__).resolve().parents[2] / "examples" / "serving_client.py"
ONE_CALL: Final = 2e-5
"""A batch goes through the graph of any length, a stream through that of one frame: float32 in another order."""
DTYPES: Final = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}

Clip = NDArray[np.uint8]
Array = NDArray[Any]


@pytest.fixture(scope="module")
def exported(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of what tests share, under the name that it has in a repository."""
    assert material.graph, material.golden  # made here, they are not made again for others
    named = copy.copy(material)
    named.name = "uva-32"
    place = tmp_path_factory.mktemp("served") / "bundle"
    return write_verified(named, place, name="uva-32", accuracy={}, to=["triton", "ovms"])


@pytest.fixture(scope="module")
def served(exported: Bundle) -> Sequences:
    return Sequences(Path(exported.location) / "triton" / "uva-32")


@pytest.fixture(scope="module")
def inputs(flight: Clip) -> Clip:
    """The network's inputs of twelve frames, [12, 32, 32, 3]."""
    return np.stack([network_input(frame, 32) for frame in flight])


# --- Triton, as far as sequences go ---------------------------------------------------------------------------


class Request(NamedTuple):
    sequence: int
    frame: Clip
    """[1, R, R, 3]"""
    start: bool = False
    end: bool = False


class Sequences:
    """A model of a Triton repository: its sequence batcher, by the words of config.pbtxt, around ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        self.config = model_config_pb2.ModelConfig()
        text_format.Parse((folder / "config.pbtxt").read_text(), self.config)
        self.graph = onnx.load(folder / "1" / "model.onnx")
        self._session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
        (self._state,) = self.config.sequence_batching.state
        (self._control,) = self.config.sequence_batching.control_input
        self._states: dict[int, Array] = {}

    def infer(self, requests: list[Request]) -> list[Array]:
        """The maps of a batch: one request at most of each sequence."""
        assert len(requests) <= self.config.max_batch_size
        assert len({request.sequence for request in requests}) == len(requests)
        for request in requests:
            if request.start:
                # Triton does not say what is in it.
                self._states[request.sequence] = np.full(tuple(self._state.dims), np.nan, np.float32)
            elif request.sequence not in self._states:
                raise KeyError(f"sequence {request.sequence} has not started")
        false, true = self._control.control[0].int32_false_true
        feeds = {
            self.config.input[0].name: np.concatenate([request.frame for request in requests]),
            self._state.input_name: np.stack([self._states[request.sequence] for request in requests]),
            self._control.name: np.array([[true if r.start else false] for r in requests], np.int32),
        }
        maps, after = self._session.run([self.config.output[0].name, self._state.output_name], feeds)
        for request, state in zip(requests, after, strict=True):
            self._states[request.sequence] = state
            if request.end:
                del self._states[request.sequence]
        return list(maps)


def test_the_configuration_fits_the_graph(served: Sequences) -> None:
    config, batching = served.config, served.config.sequence_batching
    assert (config.name, config.backend) == ("uva-32", "onnxruntime")
    assert config.max_batch_size == 32
    assert batching.WhichOneof("strategy_choice") == "oldest"
    assert batching.oldest.max_candidate_sequences >= config.max_batch_size
    assert batching.max_sequence_idle_microseconds == 10_000_000
    assert [item.kind for item in batching.control_input[0].control] == [
        model_config_pb2.ModelSequenceBatching.Control.CONTROL_SEQUENCE_START
    ]
    ends = {
        value.name: value.type.tensor_type
        for value in (*served.graph.graph.input, *served.graph.graph.output)
    }
    assert list(ends) == ["frames", "state_in", "start", "maps", "state_out"]
    (state,) = batching.state
    told = [(config.input[0].name, config.input[0]), (config.output[0].name, config.output[0])]
    told += [(name, state) for name in (state.input_name, state.output_name)]
    for name, entry in told:
        sizes = ends[name].shape.dim
        assert sizes[0].dim_param, f"{name} has no batch"
        assert [size.dim_value for size in sizes[1:]] == list(entry.dims), name
        kind = model_config_pb2.DataType.Name(entry.data_type)
        assert kind == DTYPES[ends[name].elem_type], name
    assert ends["start"].elem_type == onnx.TensorProto.INT32
    assert [size.dim_value for size in ends["start"].shape.dim[1:]] == [1]
    assert (len(config.input), len(config.output)) == (1, 1)


def test_large_frames_make_no_larger_batches_than_memory_has_room_for() -> None:
    for name in ("uva-64", "uva-256"):
        config, contract = model_config_pb2.ModelConfig(), Bundle.shipped(name).manifest.contract
        text_format.Parse(triton.config(name, contract), config)
        assert config.max_batch_size == min(32, contract.frames_per_call)
        assert list(config.input[0].dims) == list(contract.frames.shape[1:])


STEPS = st.lists(
    st.dictionaries(st.integers(1, 4), st.sampled_from("....es"), max_size=4), min_size=1, max_size=12
)
"""Batches: of which sequences, and whether a frame is the last one (e) or the sequence starts again with it (s)."""


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_sequences_are_streams_whoever_comes_together(served: Sequences, inputs: Clip, steps: Any) -> None:
    with SaliencyPredictor("uva-32", backend="onnxruntime", precision="fp32") as predictor:
        streams = {number: predictor.stream(color="rgb") for number in range(1, 5)}
        for index, batch in enumerate(steps):
            requests, expected = [], []
            for number, what in batch.items():
                stream = streams[number]
                if what == "s":
                    stream.reset()
                frame = inputs[(index + 3 * number) % len(inputs)]
                requests.append(Request(number, frame[None], stream.frames == 0, what == "e"))
                expected.append(stream.push(frame).map)
                if what == "e":
                    stream.reset()
            if requests:
                for ours, theirs in zip(served.infer(requests), expected, strict=True):
                    np.testing.assert_allclose(ours, theirs, atol=ONE_CALL, rtol=0, err_msg=f"batch {index}")


@pytest.mark.parametrize("artifact", ["onnx-fp32", "onnx-int8"])
def test_a_start_forgets_whatever_came_before(artifact: str, inputs: Clip) -> None:
    bundle = Bundle.shipped("uva-32")
    contract = bundle.manifest.contract
    graph = bundle.read(bundle.artifact(artifact).files[0])
    maps, state = triton.run_sequence(triton.sequence_graph(graph, contract), contract, inputs)
    plain = onnxruntime.InferenceSession(graph)
    expected = plain.run(None, {"frames": inputs[:1], "state_in": np.zeros_like(state)})[1]
    for index, frame in enumerate(inputs):
        out, expected = plain.run(None, {"frames": frame[None], "state_in": expected})
        np.testing.assert_allclose(maps[index], out[0], atol=1e-6, rtol=0, err_msg=f"frame {index}")
    np.testing.assert_allclose(state, expected, atol=1e-6, rtol=0)
    # Without the start the past is seen: the test would not pass by a graph that has none.
    session = onnxruntime.InferenceSession(triton.sequence_graph(graph, contract))
    feeds = {"frames": inputs[:1], "state_in": np.zeros_like(state), "start": np.zeros((1, 1), np.int32)}
    assert np.abs(session.run(["maps"], feeds)[0] - maps[0]).max() > 1e-3


def test_int8_has_a_place_beside_float32(material: Material) -> None:
    """The words of the maker, around the graph that ships: the search for it is not repeated."""
    bundle = Bundle.shipped("uva-32")
    found = bundle.artifact("onnx-int8")
    keeps = Fidelity(cc_stills=1, cc_clips=1, cc_worst_clip=1, cc_golden=1, nss=1, nss_float=1)
    best = Trial(Setting(True, "percentile", "attention and features"), 24, 64, keeps)
    named = copy.copy(material)
    named.name = "uva-32"
    named.__dict__["int8"] = Quantised(bundle.read(found.files[0]), best, (best,))
    made = artifacts.make(named, ["triton-int8"])[0]
    assert (made.name, made.precision, made.streams) == ("triton-int8", "int8", None)
    assert list(made.files) == ["triton/uva-32-int8/1/model.onnx", "triton/uva-32-int8/config.pbtxt"]
    assert made.files["triton/uva-32-int8/config.pbtxt"].startswith(b'name: "uva-32-int8"\n')
    assert made.parity["min_cc"] == pytest.approx(found.parity["min_cc"], abs=1e-3)


def test_the_same_network_gives_the_same_bytes(exported: Bundle) -> None:
    bundle = Bundle.shipped("uva-32")
    graph = bundle.read(bundle.artifact("onnx-fp32").files[0])
    first, second = (triton.sequence_graph(graph, bundle.manifest.contract) for _ in range(2))
    assert first == second


# --- refusals -------------------------------------------------------------------------------------------------


def test_lookahead_pairs_are_refused() -> None:
    contract = dataclasses.replace(Bundle.shipped("uva-32").manifest.contract, pairing="lookahead")
    with pytest.raises(ExportError, match=r"live streams of causal pairs; .* is lookahead"):
        triton.sequence_graph(b"", contract)


def test_a_state_that_depends_on_the_one_before_is_refused() -> None:
    """Then no frame could be its own past; here state_out is computed of maps."""
    bundle = Bundle.shipped("uva-32")
    model = onnx.load_from_string(bundle.read(bundle.artifact("onnx-fp32").files[0]))
    for node in model.graph.node:
        node.output[:] = ["before" if name == "state_out" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Max", ["before", "state_in"], ["state_out"]))
    with pytest.raises(ExportError, match="depend on the values of state_in, and whose state_out does not"):
        triton.sequence_graph(model.SerializeToString(), bundle.manifest.contract)


def test_a_graph_that_misses_is_not_written(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if frames came in another order than they were sent."""
    run = triton.run_sequence

    def shifted(graph: bytes, contract: Any, clip: Clip) -> tuple[Array, Array]:
        return run(graph, contract, np.roll(clip, 1, axis=0))

    monkeypatch.setattr(artifacts.triton, "run_sequence", shifted)
    with pytest.raises(ParityError, match="the graph for Triton misses its gate"):
        write_verified(material, tmp_path / "bundle", name="uva-32", accuracy={}, to=["triton"])
    assert not (tmp_path / "bundle").exists()


# --- OpenVINO Model Server ------------------------------------------------------------------------------------


def test_the_folder_for_ovms(exported: Bundle, inputs: Clip) -> None:
    folder = Path(exported.location) / "ovms"
    config = json.loads((folder / "config.json").read_text())
    ((entry,),) = [list(item.values()) for item in config["model_config_list"]]
    assert set(entry) == {"name", "base_path", "target_device", "plugin_config"}
    place = folder / entry["base_path"]  # it is relative to config.json
    assert sorted(path.name for path in place.iterdir()) == ["1"]
    assert sorted(path.name for path in (place / "1").iterdir()) == ["model.bin", "model.xml"]
    core = openvino_core()
    compiled = core.compile_model(core.read_model(place / "1" / "model.xml"), "CPU", entry["plugin_config"])
    sizes = {port.any_name: port.partial_shape for port in (*compiled.inputs, *compiled.outputs)}
    assert {name: shape[0].is_dynamic for name, shape in sizes.items()} == dict.fromkeys(
        ("frames", "state_in", "maps", "state_out"), True
    )
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


def test_what_the_manifest_says(exported: Bundle) -> None:
    triton_, ovms = (exported.artifact(name) for name in ("triton-fp32", "ovms-fp32"))
    assert (triton_.frames, triton_.streams) == (1, None)
    assert (ovms.frames, ovms.streams) == (None, None)
    assert triton_.files[0].path == "triton/uva-32/1/model.onnx"
    assert ovms.files[0].path == "ovms/uva-32/1/model.xml"
    for artifact in (triton_, ovms):
        assert artifact.parity["max_abs_map"] < 1e-4
    exported.verify()


# --- the client -----------------------------------------------------------------------------------------------


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """KServe's protocol as Triton speaks it, before what computes: a function of inputs and the sequence."""

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], compute: Callable[..., dict[str, Array]]
    ) -> None:
        self._shapes, self._compute = shapes, compute
        self.seen: list[tuple[int, bool, bool]] = []

    def ModelMetadata(self, request: Any, context: Any) -> Any:
        answer = service_pb2.ModelMetadataResponse(name=request.name)
        if request.name != "uva-32":
            context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {request.name}")
        for name, shape in self._shapes.items():
            answer.inputs.add(name=name, shape=shape)
        return answer

    def ModelInfer(self, request: Any, context: Any) -> Any:
        dtypes = {"UINT8": np.uint8, "FP32": np.float32}
        inputs = {
            tensor.name: np.frombuffer(raw, dtypes[tensor.datatype]).reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        told = request.parameters
        sequence = (
            told["sequence_id"].int64_param,
            told["sequence_start"].bool_param,
            told["sequence_end"].bool_param,
        )
        self.seen.append(sequence)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, values in self._compute(inputs, *sequence).items():
            answer.outputs.add(name=name, datatype="FP32", shape=values.shape)
            answer.raw_output_contents.append(values.tobytes())
        return answer


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """The address where it listens."""
    listener = grpc.server(futures.ThreadPoolExecutor(1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(server, listener)
    port = listener.add_insecure_port("127.0.0.1:0")
    listener.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        listener.stop(None).wait()


@pytest.fixture
def triton_server(served: Sequences) -> Server:
    def compute(inputs: dict[str, Array], *sequence: Any) -> dict[str, Array]:
        number, start, end = sequence
        return {"maps": np.stack(served.infer([Request(number, inputs["frames"], start, end)]))}

    return Server({"frames": (-1, *served.config.input[0].dims)}, compute)


@pytest.fixture
def ovms_server(exported: Bundle) -> Server:
    core = openvino_core()
    compiled = core.compile_model(core.read_model(Path(exported.location) / "ovms/uva-32/1/model.xml"), "CPU")

    def compute(inputs: dict[str, Array], *_: Any) -> dict[str, Array]:
        answer = compiled(inputs)
        return {name: answer[name] for name in ("maps", "state_out")}

    return Server({"frames": (-1, 32, 32, 3), "state_in": (-1, 64, 8, 8)}, compute)


def client(video: Path, server: str, address: str, model: str = "uva-32") -> subprocess.CompletedProcess[str]:
    words = [
        sys.executable,
        str(CLIENT),
        str(video),
        "--server",
        server,
        "--address",
        address,
        "--model",
        model,
    ]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def video(flight: Clip, tmp_path: Path) -> Path:
    path = tmp_path / "flight.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 180))  # type: ignore[attr-defined]
    for frame in flight:
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.parametrize("kind", ["triton", "ovms"])
def test_the_client_gets_what_a_stream_says(kind: str, video: Path, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{kind}_server")
    with serving(server) as address:
        done = client(video, kind, address)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    capture = cv2.VideoCapture(str(video))
    with SaliencyPredictor("uva-32", backend="onnxruntime", precision="fp32") as predictor:
        stream = predictor.stream()
        for index, line in enumerate(lines):
            facts = stream.push(capture.read()[1]).as_dict()  # type: ignore[arg-type]
            assert (line["frame"], line["size"]) == (index, [320, 180])
            for ours, theirs in zip(line["peaks"], facts["peaks"], strict=True):
                assert ours == pytest.approx(theirs, abs=1e-2), index
    capture.release()
    assert len(lines) == 12
    if kind == "triton":
        assert len({number for number, _, _ in server.seen}) == 1
        assert [start for _, start, _ in server.seen] == [True] + [False] * 11
        assert [end for _, _, end in server.seen] == [False] * 11 + [True]
    else:
        assert len(server.seen) == 13  # the first frame twice


def test_the_client_tells_what_the_server_says(video: Path, triton_server: Server) -> None:
    with serving(triton_server) as address:
        done = client(video, "triton", address, "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "unknown model nowhere" in done.stderr
    assert "Traceback" not in done.stderr
