"""Predict a video through a model server: peaks and regions of every frame, one line of JSON each.

    python examples/serving_client.py clip.mp4 --server triton --address localhost:8001
    python examples/serving_client.py clip.mp4 --server ovms --address localhost:9000

Only the network's input goes over the wire, 12 KB a frame at 64x64, and a map comes back. Triton keeps the state of
the stream under a sequence's number; to the OpenVINO Model Server the state goes and comes with each frame. Both speak
the same protocol (KServe's, by gRPC), so the client is Triton's for both.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from uva_edge import Saliency, network_input
from uva_edge.errors import UvaEdgeError
from uva_edge.runtimes.sources import open_source

Item = TypeVar("Item")
Array = NDArray[Any]
TIMEOUT_S = 30.0


class Model:
    """What the server tells of a model, and one call of it."""

    def __init__(self, client: InferenceServerClient, name: str) -> None:
        self._client, self._name = client, name
        metadata = client.get_model_metadata(name, client_timeout=TIMEOUT_S)
        self.shapes = {tensor.name: tuple(tensor.shape)[1:] for tensor in metadata.inputs}

    def __call__(self, inputs: dict[str, Array], **sequence: Any) -> Any:
        tensors = []
        for name, values in inputs.items():
            tensor = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            tensors.append(tensor)
        return self._client.infer(self._name, tensors, client_timeout=TIMEOUT_S, **sequence)


class Sequence:
    """One stream whose state Triton keeps, from its first frame to its last."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._number = secrets.randbits(63) | 1  # no other client's; 0 is no sequence
        self._begun = False

    def push(self, pixels: Array, last: bool) -> Array:
        sequence = {"sequence_id": self._number, "sequence_start": not self._begun, "sequence_end": last}
        maps: Array = self._model({"frames": pixels}, **sequence).as_numpy("maps")
        self._begun = True
        return maps[0]


class Stateless:
    """One stream whose state is here; its first frame goes twice, since it is its own past."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._state: Array | None = None

    def push(self, pixels: Array, last: bool) -> Array:
        if self._state is None:
            nothing = np.zeros((1, *self._model.shapes["state_in"]), np.float32)
            self._state = self._step(pixels, nothing)[1]
        values, self._state = self._step(pixels, self._state)
        return values

    def _step(self, pixels: Array, state: Array) -> tuple[Array, Array]:
        answer = self._model({"frames": pixels, "state_in": state})
        return answer.as_numpy("maps")[0], answer.as_numpy("state_out")


def with_last(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """Each item, and whether it is the last one."""
    iterator = iter(items)
    for item in iterator:
        for following in iterator:
            yield item, False
            item = following
        yield item, True


def predict(arguments: argparse.Namespace) -> None:
    with InferenceServerClient(arguments.address) as client, open_source(arguments.source) as source:
        model = Model(client, arguments.model)
        stream = {"triton": Sequence, "ovms": Stateless}[arguments.server](model)
        rows, columns = model.shapes["frames"][:2]
        for index, (frame, last) in enumerate(with_last(source)):
            pixels = network_input(frame.image, (rows, columns))[None]
            height, width = frame.image.shape[:2]
            saliency = Saliency(stream.push(pixels, last), (width, height))
            print(json.dumps({"frame": index, **saliency.as_dict()}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="video, image, folder of images, camera number or URL")
    parser.add_argument("--server", choices=("triton", "ovms"), default="triton")
    parser.add_argument("--address", default="localhost:8001", help="of the server's gRPC port")
    parser.add_argument("--model", default="uva-64", help="its name on the server")
    try:
        predict(parser.parse_args())
    except (UvaEdgeError, InferenceServerException) as error:
        print(f"serving_client: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
