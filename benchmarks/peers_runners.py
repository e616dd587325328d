"""What benchmarks/peers.py compares: how each is loaded, and which packages a device installs for it.

This file is imported by the process that runs the engine, whose memory and start are measured, and in virtual
environments without uva_edge: so at the top stands nothing but numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Frame: TypeAlias = NDArray[np.uint8]
"""[h, w, 3]; RGB of the network's size for our weights, BGR of any size for others."""
Push: TypeAlias = Callable[[Frame], NDArray[np.float32]]
"""The next frame of a stream to its map [h, w]."""
Model: TypeAlias = Callable[[], Push]
"""A loaded model: each call begins a stream."""

BENCH_FIX: Final = "python -m pip install -c constraints.txt -e '.[bench]'"
CONTRIB_FIX: Final = (
    "python -m venv build/peers/contrib && "
    "build/peers/contrib/bin/python -m pip install numpy opencv-contrib-python-headless"
)


@dataclass(frozen=True)
class Runner:
    """One way to a map.

    Attributes:
        packages: what a device installs beyond uva_edge's base, without its dependencies.
        load: from a bundle's name and the folder of the converted model.
        precision: what it promises to compute in; decides how far it may be from the golden maps.
        converter: the distribution that makes the folder (peers_models.py); "" where the bundle has all that is needed.
        ours: it runs our weights, whose golden maps are known; others take whole frames.
        trained: its weights are no random ones, so that it can be scored.
        contrib: it runs in the environment that has OpenCV's contributed modules.
    """

    name: str
    packages: tuple[str, ...]
    load: Callable[[str, Path], Model]
    precision: str = "fp32"
    converter: str = ""
    ours: bool = True
    trained: bool = True
    contrib: bool = False

    @property
    def fix(self) -> str:
        return CONTRIB_FIX if self.contrib else BENCH_FIX


def chained(run: Callable[[Any, Any], tuple[Any, Any]], blank: NDArray[np.float32]) -> Model:
    """Streams of a clip step: the first frame is its own past, as in uva_edge."""

    def stream() -> Push:
        states: list[Any] = []

        def push(frame: Frame) -> NDArray[np.float32]:
            if not states:
                states.append(run(frame[None], blank)[1])
            maps, states[0] = run(frame[None], states[0])
            return np.asarray(maps)[0]

        return push

    return stream


# --- our weights ----------------------------------------------------------------------------------------


def _backend(name: str, precision: str) -> Callable[[str, Path], Model]:
    def load(bundle: str, _: Path) -> Model:
        from uva_edge import Bundle
        from uva_edge.runtimes.backend import SessionOptions
        from uva_edge.runtimes.registry import BACKENDS
        from uva_edge.runtimes.selection import Plan, plan_for

        opened = Bundle.open(bundle)
        plan = plan_for(opened, BACKENDS[name], "int8" if precision == "int8" else "fp32")
        if not isinstance(plan, Plan):
            raise RuntimeError(f"{plan.reason}; {plan.fix}")
        # No artifact is of bf16: it is how OpenVINO may compute a float32 one.
        session = plan.backend.load(opened, replace(plan.step, precision=precision), SessionOptions())
        if session.info.precision != precision:
            raise RuntimeError(
                f"asked for {precision}, it computes in {session.info.precision} on this processor"
            )
        return chained(session.run, np.zeros(opened.manifest.contract.state_shape, np.float32))

    return load


def _torch_compile(bundle: str, _: Path) -> Model:
    import torch

    from uva_edge import Bundle
    from uva_edge.models.families import load_step

    torch.set_num_threads(1)
    manifest = (opened := Bundle.open(bundle)).manifest
    weights = next(item for item in manifest.artifacts if item.format == "torch").files[0]
    step = torch.compile(load_step(manifest.network.family, opened.read(weights)))

    def run(frames: Frame, state: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            maps, state = step(torch.from_numpy(frames), torch.as_tensor(state))
        return maps.numpy(), state

    return chained(run, np.zeros(manifest.contract.state_shape, np.float32))


def _ncnn(_: str, folder: Path) -> Model:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{name}", False)
    if net.load_param(str(folder / "step.ncnn.param")) or net.load_model(str(folder / "step.ncnn.bin")):
        raise RuntimeError("ncnn does not load the net that pnnx made")

    def run(frames: Frame, state: Any) -> tuple[Any, Any]:
        # A Mat looks at the array's memory and does not keep it alive, nor does the extractor keep its own.
        planes, before = np.ascontiguousarray(frames[0].transpose(2, 0, 1), np.float32), state[0]
        planes = (planes - 128) / 128
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(planes))
        extractor.input("in1", ncnn.Mat(before))
        logits, after = (np.array(extractor.extract(name)[1]) for name in ("out0", "out1"))
        return np.exp(logits - logits.max()), after[None]

    return chained(run, np.load(folder / "state.npy"))


def _litert(_: str, folder: Path) -> Model:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(folder / "step.tflite"), num_threads=1).get_signature_runner()

    def run(frames: Frame, state: Any) -> tuple[Any, Any]:
        outputs = runner(args_0=frames, args_1=state)
        return outputs["output_0"].copy(), outputs["output_1"].copy()

    return chained(run, np.load(folder / "state.npy"))


def _executorch(_: str, folder: Path) -> Model:
    import torch
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
    from executorch.runtime import Runtime

    torch.set_num_threads(1)
    _unsafe_reset_threadpool(1)  # it takes all cores otherwise, and knows no other way to be told
    method = Runtime.get().load_program(folder / "step.pte").load_method("forward")

    def run(frames: Frame, state: Any) -> tuple[Any, Any]:
        maps, after = method.execute([torch.from_numpy(frames), torch.as_tensor(state)])
        return maps.numpy().copy(), after.clone()

    return chained(run, np.load(folder / "state.npy"))


def _tvm(_: str, folder: Path) -> Model:
    import tvm

    machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(folder / "step.so")), tvm.cpu())

    def run(frames: Frame, state: Any) -> tuple[Any, Any]:
        maps, after = machine["main"](*map(_tensor, (frames, state)))
        return maps.numpy(), after

    def _tensor(value: Any) -> Any:
        return tvm.runtime.tensor(value) if isinstance(value, np.ndarray) else value

    return chained(run, np.load(folder / "state.npy"))


# --- other models of saliency ---------------------------------------------------------------------------


def _opencv(kind: str) -> Callable[[str, Path], Model]:
    def load(_: str, __: Path) -> Model:
        import cv2

        cv2.setNumThreads(1)
        method = getattr(cv2.saliency, f"StaticSaliency{kind}_create")()

        def push(frame: Frame) -> NDArray[np.float32]:
            found, saliency = method.computeSaliency(frame)
            if not found:
                raise RuntimeError(f"{kind} found no saliency in a frame of {frame.shape}")
            return np.asarray(saliency, np.float32)

        return lambda: push

    return load


def _dva(_: str, __: Path) -> Model:
    import torch

    from uva_edge.models.teachers.registry import build_teacher

    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher = build_teacher("dva").eval()
    return lambda: lambda frame: teacher.predict(np.ascontiguousarray(frame[None, ..., ::-1]))[0]


REFERENCE: Final = "torch"
RUNNERS: Final = {
    runner.name: runner
    for runner in (
        Runner("native int8", (), _backend("native", "int8"), "int8"),
        Runner("native", (), _backend("native", "fp32")),
        Runner("onnxruntime int8", (), _backend("onnxruntime", "int8"), "int8"),
        Runner("onnxruntime", (), _backend("onnxruntime", "fp32")),
        Runner("openvino int8", ("openvino",), _backend("openvino", "int8"), "int8"),
        Runner("openvino bf16", ("openvino",), _backend("openvino", "bf16"), "bf16"),
        Runner("openvino", ("openvino",), _backend("openvino", "fp32")),
        Runner(REFERENCE, ("torch",), _backend("torch", "fp32")),
        Runner("torch.compile", ("torch",), _torch_compile),
        Runner("ncnn", ("ncnn",), _ncnn, converter="pnnx"),
        Runner("LiteRT", ("ai-edge-litert",), _litert, converter="litert-torch"),
        Runner("ExecuTorch", ("executorch",), _executorch, converter="executorch"),
        Runner("TVM", ("apache-tvm",), _tvm, converter="apache-tvm"),
        Runner(
            "OpenCV spectral residual",
            ("opencv-contrib-python-headless",),
            _opencv("SpectralResidual"),
            ours=False,
            contrib=True,
        ),
        Runner(
            "OpenCV fine-grained",
            ("opencv-contrib-python-headless",),
            _opencv("FineGrained"),
            ours=False,
            contrib=True,
        ),
        Runner("DVA, random weights", ("torch",), _dva, ours=False, trained=False),
    )
}
