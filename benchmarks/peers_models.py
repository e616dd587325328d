"""The weights of a bundle in the formats of other engines, for benchmarks/peers.py.

    python benchmarks/peers_models.py CONVERTER BUNDLE FOLDER

A step of one frame, as each converter makes it of the torch module; TVM's knows no ``amax`` there, and gets the
bundle's ONNX. ncnn has neither bytes nor a maximum over space, so its net has planes in (x - 128) / 128 for an input,
logits for an output, and a pooling in place of the maximum; its runner does the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from uva_edge import Bundle, environment
from uva_edge.models.blocks import CAResBlock, ChannelAttention
from uva_edge.models.families import load_step

LLVM_NAMES: Final = {"avx512_vnni": "x86-64-v4", "avx512": "x86-64-v4", "avx2": "x86-64-v3"}
"""By processor class. LLVM's own name of a processor has instructions in it that a virtual machine may hide."""


def _step(bundle: Bundle) -> nn.Module:
    weights = next(item for item in bundle.manifest.artifacts if item.format == "torch").files[0]
    return load_step(bundle.manifest.network.family, bundle.read(weights))


def _inputs(bundle: Bundle) -> tuple[Tensor, Tensor]:
    contract = bundle.manifest.contract
    return torch.zeros(1, *contract.grid, 3, dtype=torch.uint8), torch.zeros(contract.state_shape)


class _PooledAttention(nn.Module):
    """The same numbers as `ChannelAttention`, of layers that ncnn has."""

    def __init__(self, attention: ChannelAttention) -> None:
        super().__init__()
        self.squeeze, self.excite = attention.squeeze, attention.excite

    def forward(self, features: Tensor) -> Tensor:
        pooled = (
            nn.functional.adaptive_avg_pool2d(features, 1),
            nn.functional.adaptive_max_pool2d(features, 1),
        )
        mean, most = (torch.relu(self.squeeze(values)) for values in pooled)
        return torch.sigmoid(self.excite(mean + most))


class _PlanarStep(nn.Module):
    """float32 planes [1, 3, R, R] and a state to logits [1, 1, R, R] and the next state."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.network = step.network
        for block in self.network.modules():
            if isinstance(block, CAResBlock) and isinstance(block.attention, ChannelAttention):
                block.attention = _PooledAttention(block.attention)  # type: ignore[assignment]

    def forward(self, planes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.low_level(planes)
        return self.network.decoder(self.network.paths(features, state)), features


def _ncnn(bundle: Bundle, folder: Path) -> None:
    import pnnx

    if bundle.manifest.contract.output != "peak":
        raise ValueError(f"the runner of ncnn scales to the peak; {bundle.name} has another output")
    frames, state = _inputs(bundle)
    planes = frames.permute(0, 3, 1, 2).float()
    pnnx.export(_PlanarStep(_step(bundle)), str(folder / "step.pt"), (planes, state), fp16=False)


def _litert(bundle: Bundle, folder: Path) -> None:
    from uva_edge.export.litert import to_tflite

    (folder / "step.tflite").write_bytes(to_tflite(_step(bundle), bundle.manifest.contract))


def _executorch(bundle: Bundle, folder: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    captured = torch.export.export(_step(bundle), _inputs(bundle))
    program = to_edge_transform_and_lower(captured, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "step.pte").write_bytes(program.buffer)


def _tvm(bundle: Bundle, folder: Path) -> None:
    import onnx
    import tvm
    from tvm.relax.frontend.onnx import from_onnx

    artifact = next(item for item in bundle.manifest.artifacts if item.name == "onnx-fp32-t1")
    module = from_onnx(onnx.load_from_string(bundle.read(artifact.files[0])), keep_params_in_input=False)
    processor = LLVM_NAMES.get(environment.probe_cpu().processor_class, "generic")
    compiled = tvm.compile(module, target=tvm.target.Target({"kind": "llvm", "mcpu": processor}))
    compiled.export_library(str(folder / "step.so"))


CONVERTERS: Final[dict[str, Callable[[Bundle, Path], None]]] = {
    "pnnx": _ncnn,
    "litert-torch": _litert,
    "executorch": _executorch,
    "apache-tvm": _tvm,
}
"""By the distribution that converts."""


def main() -> None:
    name, bundle, folder = sys.argv[1:]
    opened = Bundle.open(bundle)
    CONVERTERS[name](opened, Path(folder))
    np.save(Path(folder) / "state.npy", np.zeros(opened.manifest.contract.state_shape, np.float32))


if __name__ == "__main__":
    main()
