"""TensorRT without a GPU: the part of its API that the backend uses, computing by ONNX Runtime on the CPU.

Its "engine" is the ONNX graph that a real one would have been built from, behind a line of JSON with the lengths that
it takes. It reads and writes the memory of a `FakeDriver`, on its streams.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
import onnxruntime
from fake_cuda import FakeDriver

MAGIC = b"fake engine "


def engine_of(graph: bytes, shortest: int, longest: int) -> bytes:
    """The bytes of an engine for such numbers of frames; static where they are the same."""
    return MAGIC + json.dumps([shortest, longest]).encode() + b"\n" + graph


class DataType(Enum):
    FLOAT = np.float32
    UINT8 = np.uint8


class TensorIOMode(Enum):
    INPUT = 1
    OUTPUT = 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

    def __init__(self) -> None:
        pass

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


class FakeTensorRt:
    """In the place of the module; a test sets the words with which it refuses or fails."""

    __name__ = "fake_tensorrt"
    ILogger, DataType, TensorIOMode = ILogger, DataType, TensorIOMode

    def __init__(self, driver: FakeDriver, version: str = "10.13.3") -> None:
        self.driver = driver
        self.__version__ = version
        self.no_runtime = self.no_engine = self.no_context = self.no_capture = self.fails = ""
        self.wrong_maps = False
        self.contexts = 0
        self.executions = 0
        """Of the network, those of a graph included."""
        self.enqueues = 0

    def nptype(self, kind: DataType) -> Any:
        return kind.value

    def Runtime(self, logger: ILogger) -> FakeRuntime:
        if self.no_runtime:
            logger.log(ILogger.INTERNAL_ERROR, self.no_runtime)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return FakeRuntime(self, logger)


class FakeRuntime:
    def __init__(self, package: FakeTensorRt, logger: ILogger) -> None:
        self.package, self.logger = package, logger

    def deserialize_cuda_engine(self, data: bytes) -> FakeEngine | None:
        self.logger.log(ILogger.INFO, "Loaded engine size: 3 MiB")
        if self.package.no_engine or not data.startswith(MAGIC):
            self.logger.log(ILogger.ERROR, self.package.no_engine or "Magic tag does not match")
            return None
        lengths, _, graph = data.removeprefix(MAGIC).partition(b"\n")
        return FakeEngine(self, graph, *json.loads(lengths))


class FakeEngine:
    def __init__(self, runtime: FakeRuntime, graph: bytes, shortest: int, longest: int) -> None:
        self.runtime, self.lengths = runtime, (shortest, longest)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.tensors = {item.name: item for item in (*inputs, *outputs)}
        self.inputs = [item.name for item in inputs]
        self.outputs = [item.name for item in outputs]
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if "uint8" in self.tensors[name].type else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        shortest, longest = self.lengths
        open_length = shortest if shortest == longest else -1
        return [size if isinstance(size, int) else open_length for size in self.tensors[name].shape]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Sequence[int]]:
        assert profile == 0
        assert name in self.inputs
        rest = self.tensors[name].shape[1:]
        shortest, longest = self.lengths
        return [[length, *rest] for length in (shortest, longest, longest)]

    def create_execution_context(self) -> FakeContext | None:
        package = self.runtime.package
        if package.no_context:
            self.runtime.logger.log(ILogger.ERROR, package.no_context)
            return None
        package.contexts += 1
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.package = engine, engine.runtime.package
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.ready = False
        """Whether it ran with these shapes; what the first run does can't be captured."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.ready = False
        shortest, longest = self.engine.lengths
        if name == self.engine.inputs[0] and not shortest <= shape[0] <= longest:
            self.engine.runtime.logger.log(ILogger.ERROR, f"{name} is out of the profile")
            return False
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.tensors

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        frames, state = (self.shapes[item] for item in self.engine.inputs)
        if name == self.engine.outputs[0]:
            return [*frames[:-1]] if not self.package.wrong_maps else [*frames]
        return state

    def execute_async_v3(self, stream_handle: int) -> bool:
        package, driver = self.package, self.package.driver
        capturing = driver.streams[stream_handle].captured is not None
        words = package.fails
        if capturing:
            words = words or package.no_capture or ("" if self.ready else "operation not permitted")
        if words:
            self.engine.runtime.logger.log(ILogger.ERROR, words)
            return False
        self.ready = True
        package.enqueues += 1
        shapes, addresses = dict(self.shapes), dict(self.addresses)

        def work() -> None:
            package.executions += 1
            run_on(driver, self.engine.session, shapes, addresses)

        driver.enqueue(stream_handle, work)
        return True


def run_on(
    driver: FakeDriver, session: Any, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]
) -> None:
    """A step of a CPU session on what lies in the memory of a fake GPU."""
    feed = {}
    for item in session.get_inputs():
        kind = np.dtype(np.uint8 if "uint8" in item.type else np.float32)
        shape = shapes[item.name]
        data = driver.bytes_at(addresses[item.name], int(np.prod(shape)) * kind.itemsize)
        feed[item.name] = np.frombuffer(data, kind).reshape(shape)
    names = [item.name for item in session.get_outputs()]
    for name, value in zip(names, session.run(names, feed), strict=True):
        driver.put(addresses[name], value.tobytes())
