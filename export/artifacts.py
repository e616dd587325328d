"""What an export can make of a network, by the words of ``--to``: each word has a maker, and they share their work."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from numpy.typing import NDArray
from torch import nn

from uva_edge.bundle_writer import ArtifactSource
from uva_edge.data.footage import Footage
from uva_edge.errors import OptionError, ParityError
from uva_edge.extras import needs
from uva_edge.golden import Golden
from uva_edge.manifest import Contract, Lineage, Network
from uva_edge.runtimes.agreement import TOLERANCES, compare
from uva_edge.runtimes.backend import Frames, Maps, Run
from uva_edge.runtimes.chaining import run_chained
from uva_edge.runtimes.native.backend import INTEGERS
from uva_edge.runtimes.native.constants import Constants, constants_of
from uva_edge.runtimes.native.integers import Integers
from uva_edge.runtimes.native.source import Facts
from uva_edge.strict_json import encode

from . import c, triton
from .activations import onnx_activations, openvino_activations
from .calibration import Evidence, calibration_clips, feeds_of
from .fidelity import Judge
from .golden import golden_clip
from .native_int8 import to_native_int8
from .onnx import OPSET, onnx_run, static, streams_of, to_onnx
from .onnx_int8 import TENSORRT, to_int8
from .ovms import ovms_files
from .qat import fine_tune
from .tensorrt import FLAVOURS, LONGEST, PLAIN, EngineOptions, Precision, build_engine, half
from .trials import Quantised


@dataclass(frozen=True)
class Exportable:
    """A network on its way into a bundle.

    Attributes:
        reference: the clip step as it was trained, float32, batch norms in place.
        deployed: what becomes ONNX; the same function.
        weights: of the torch artifact, as `uva_edge.models.families` reads them.
        limits: sentences for the model card.
        integers: the constants of an int8 network, and what they keep, where the source is a bundle that has them.
    """

    network: Network
    contract: Contract
    reference: nn.Module
    deployed: nn.Module
    weights: bytes
    lineage: Lineage
    limits: Sequence[str]
    integers: tuple[Integers, dict[str, float]] | None = None


@dataclass(frozen=True)
class Splits:
    """Footage to calibrate with, and other footage to judge by; listed when an artifact needs it."""

    train: Callable[[], Sequence[Footage]]
    val: Callable[[], Sequence[Footage]]


@dataclass(eq=False)
class Material:
    """What makers work from; what several need is made when the first asks for it."""

    subject: Exportable
    splits: Splits | None = None
    engines: EngineOptions = PLAIN
    qat_steps: int = 0
    name: str = "uva"

    @cached_property
    def graph(self) -> bytes:
        """The float clip step for any T."""
        return to_onnx(self.subject.deployed, self.subject.contract)

    @cached_property
    def activations(self) -> dict[str, dict[str, int]]:
        """What the float graph holds in memory, for the details of an artifact."""
        return onnx_activations(self.graph).as_details()

    @cached_property
    def quantisable(self) -> bytes:
        """The float clip step that becomes INT8: `graph`, or one of weights that were tuned for it."""
        subject = self.subject
        if not self.qat_steps:
            return self.graph
        tuned = fine_tune(subject.deployed, subject.contract, self.clips, steps=self.qat_steps)
        return to_onnx(tuned, subject.contract)

    @cached_property
    def feeds(self) -> list[list[dict[str, NDArray[Any]]]]:
        """The steps of clips to learn ranges from."""
        return feeds_of(onnx_run(self.quantisable), self.subject.contract, self.clips)

    @cached_property
    def clips(self) -> list[Frames]:
        """Of the train split, to learn ranges from."""
        return calibration_clips(self._footage().train(), self.subject.contract)

    @cached_property
    def judge(self) -> Judge:
        """Of artifacts of lower precision, against the float graph."""
        contract = self.subject.contract
        return Judge(
            Evidence.of(self._footage().val(), contract), contract, onnx_run(self.graph), self.golden
        )

    @cached_property
    def golden(self) -> Golden:
        return golden_clip(self.subject.reference, self.subject.contract)

    @cached_property
    def int8(self) -> Quantised[bytes]:
        """The clip step in INT8 for CPUs."""
        return to_int8(self.quantisable, self.feeds, self.judge)

    @cached_property
    def for_tensorrt(self) -> Quantised[bytes]:
        return to_int8(self.quantisable, self.feeds, self.judge, integers=TENSORRT)

    @cached_property
    def integers(self) -> Quantised[Integers]:
        """The constants of the int8 C, as quantised anew."""
        return to_native_int8(self.subject, self.clips, self.judge)

    @property
    def constants(self) -> tuple[Integers, dict[str, float]]:
        """Those of the bundle that is exported, or without such `integers`; and what they keep of the float maps."""
        known = self.subject.integers
        if known is not None:
            return known
        return self.integers.graph, self.integers.best.fidelity.as_dict()

    @property
    def tuning(self) -> dict[str, int]:
        """Whether weights were tuned for INT8, for the details of an artifact."""
        return {"qat_steps": self.qat_steps} if self.qat_steps else {}

    def parity_of(self, what: str, run: Run, precision: str) -> dict[str, float]:
        """How far steps of one frame are from the reference, chained over the golden clip.

        For what no backend here runs: the graphs that engines are built from, formats of other devices.

        Raises:
            ParityError: further than the precision may be.
        """
        return self.parity(what, *run_chained(run, self.subject.contract, self.golden.frames, 1), precision)

    def parity(self, what: str, maps: Maps, state: NDArray[Any], precision: str) -> dict[str, float]:
        """As `parity_of`, of maps and the last state that were computed elsewhere."""
        errors, problems = compare(self.golden, maps, state, TOLERANCES[precision])
        if errors is None or problems:
            raise ParityError(f"nothing was written, since {what} misses its gate: {', '.join(problems)}")
        return errors.as_parity()

    @cached_property
    def facts(self) -> dict[str, str]:
        """What an artifact says of itself, where its format has room: the contract, the network, the terms."""
        subject = self.subject
        return {
            "contract": json.dumps(encode(subject.contract)),
            "network": json.dumps(encode(subject.network)),
            "checkpoint_sha256": subject.lineage.checkpoint_sha256,
            "licence": subject.lineage.licence,
        }

    def _footage(self) -> Splits:
        if self.splits is None:
            raise OptionError("INT8 needs footage to calibrate with and to be judged by; name it with --data")
        return self.splits


def _torch(material: Material) -> list[ArtifactSource]:
    files = {"network.safetensors": material.subject.weights}
    return [ArtifactSource("torch-fp32", "torch", "fp32", None, files, {}, {})]


def _onnx(material: Material) -> list[ArtifactSource]:
    one = to_onnx(material.subject.deployed, material.subject.contract, frames=1)
    clip = {"clip.onnx": material.graph}
    return [
        ArtifactSource("onnx-fp32", "onnx", "fp32", None, clip, _ONNX, {}, material.activations),
        ArtifactSource(
            "onnx-fp32-t1", "onnx", "fp32", 1, {"step.onnx": one}, _ONNX, {}, material.activations
        ),
    ]


def _onnx_int8(material: Material) -> list[ArtifactSource]:
    found = material.int8
    clip, step = {"clip-int8.onnx": found.graph}, {"step-int8.onnx": static(found.graph, 1)}
    kept, held = found.best.fidelity.as_dict(), onnx_activations(found.graph).as_details()
    how = {**held, **material.tuning, **found.as_dict()}
    return [
        ArtifactSource("onnx-int8", "onnx", "int8", None, clip, _ONNX, kept, how),
        ArtifactSource("onnx-int8-t1", "onnx", "int8", 1, step, _ONNX, kept, held),
    ]


def _openvino(material: Material) -> list[ArtifactSource]:
    return [_ir(material, "fp32")]


def _openvino_fp16(material: Material) -> list[ArtifactSource]:
    return [_ir(material, "fp16")]


def _ir(material: Material, precision: Literal["fp32", "fp16"]) -> ArtifactSource:
    with needs("export"):
        from .openvino import REQUIRES, ir_files, to_openvino
    model = to_openvino(material.graph)
    half = precision == "fp16"
    files = ir_files(model, "clip-fp16" if half else "clip", material.facts, half=half)
    name = f"openvino-{precision}"
    return ArtifactSource(name, "openvino", precision, None, files, REQUIRES, {}, material.activations)


def _openvino_int8(material: Material) -> list[ArtifactSource]:
    with needs("export"):
        from .openvino import REQUIRES, ir_files, to_openvino
        from .openvino_int8 import to_openvino_int8
    found = to_openvino_int8(
        to_openvino(material.quantisable), material.subject.contract, material.feeds, material.judge
    )
    files = ir_files(found.graph, "clip-int8", material.facts)
    kept = found.best.fidelity.as_dict()
    details = {
        **openvino_activations(found.graph).as_details(),
        **material.tuning,
        **found.as_dict(),
    }
    return [ArtifactSource("openvino-int8", "openvino", "int8", None, files, REQUIRES, kept, details)]


def _native_int8(material: Material) -> list[ArtifactSource]:
    found = material.integers
    kept, how = found.best.fidelity.as_dict(), found.as_dict()
    files = {"native-int8.safetensors": found.graph.to_bytes()}
    return [ArtifactSource("native-int8", INTEGERS, "int8", None, files, {}, kept, how)]


def _c(material: Material) -> list[ArtifactSource]:
    subject = material.subject
    weights = constants_of(subject.network, subject.contract, "torch", subject.weights)
    return [_folder(material, weights, onnx_run(material.graph), {})]


def _c_int8(material: Material) -> list[ArtifactSource]:
    constants, kept = material.constants
    return [_folder(material, constants, None, kept)]


def _folder(
    material: Material, constants: Constants, reference: Run | None, kept: dict[str, float]
) -> ArtifactSource:
    """C of constants; the reference of its self-test is, without another, the C itself."""
    subject, name = material.subject, material.name
    source = c.source_of(constants, name, subject.lineage.checkpoint_sha256, subject.lineage.licence)
    run, facts = c.compiled_run(source, subject.contract), Facts.of(constants)
    files = c.c_files(source, constants, name, subject.contract, reference or run)
    parity = {**material.parity_of("the C", run, facts.precision), **kept}
    details = {
        "bytes": {"constants": facts.constant_bytes, "state": facts.state_bytes, "arena": facts.arena_bytes}
    }
    return ArtifactSource(
        f"c-{facts.precision}", "c", facts.precision, 1, files, {"c": "C99"}, parity, details
    )


def _engines(word: str, precision: Precision) -> Maker:
    """The engines of one flavour and precision, of T from 1 to 64 and of T = 1."""

    def maker(material: Material) -> list[ArtifactSource]:
        graph, kept = material.graph, {}
        details: dict[str, Any] = material.activations
        if precision == "fp16":
            graph = half(graph)
            details = onnx_activations(graph).as_details()
        elif precision == "int8":
            found = material.for_tensorrt
            graph, kept = found.graph, found.best.fidelity.as_dict()
            details = {**onnx_activations(graph).as_details(), **material.tuning, **found.as_dict()}
        # What runs them checks the engines again: most are not for the machine that builds them.
        run = onnx_run(graph, fused=False)
        parity = {**material.parity_of(f"the {precision} graph for TensorRT", run, precision), **kept}
        flavour, sources = FLAVOURS[word], []
        for frames, stem, suffix in ((None, "clip", ""), (1, "step", "-t1")):
            engine, header = build_engine(
                flavour, graph, material.subject.contract, precision, frames=frames, options=material.engines
            )
            name = f"{stem}-{precision}.{flavour}.engine"
            requires = {
                flavour: header.version,
                "platform": header.platform,
                "compute_capability": " ".join(header.compute_capabilities),
                "longest": str(LONGEST if frames is None else frames),
            }
            files = {name: engine, f"{name}.json": header.to_bytes()}
            sources.append(
                ArtifactSource(
                    f"{word}-{precision}{suffix}",
                    flavour,
                    precision,
                    frames,
                    files,
                    requires,
                    parity,
                    details,
                )
            )
        return sources

    return maker


def _triton(material: Material) -> list[ArtifactSource]:
    return [_sequences(material, "fp32", material.name, material.graph, {}, material.activations)]


def _triton_int8(material: Material) -> list[ArtifactSource]:
    found = material.int8
    kept = found.best.fidelity.as_dict()
    details = {**onnx_activations(found.graph).as_details(), **material.tuning, **found.as_dict()}
    return [_sequences(material, "int8", f"{material.name}-int8", found.graph, kept, details)]


def _sequences(
    material: Material,
    precision: Literal["fp32", "int8"],
    name: str,
    graph: bytes,
    kept: dict[str, float],
    details: dict[str, Any],
) -> ArtifactSource:
    """The model of a Triton repository, after the golden clip went through it as a sequence."""
    contract = material.subject.contract
    served = triton.sequence_graph(graph, contract)
    maps, state = triton.run_sequence(served, contract, material.golden.frames)
    parity = {**material.parity("the graph for Triton", maps, state, precision), **kept}
    files = triton.triton_files(served, name, contract)
    requires = {**_ONNX, **triton.REQUIRES}
    return ArtifactSource(
        f"triton-{precision}", "triton", precision, 1, files, requires, parity, details, None
    )


def _ovms(material: Material) -> list[ArtifactSource]:
    with needs("export"):
        from .openvino import REQUIRES, ir_files, openvino_run, to_openvino
    model = to_openvino(material.graph)
    run = openvino_run(model, material.subject.contract)
    parity = material.parity_of("the IR for OpenVINO Model Server", run, "fp32")
    files = ovms_files(ir_files(model, "model", material.facts), material.name, "ovms")
    return [ArtifactSource("ovms-fp32", "ovms", "fp32", None, files, REQUIRES, parity, material.activations)]


def _tflite(material: Material) -> list[ArtifactSource]:
    from .litert import REQUIRES, tflite_run, to_tflite

    model = to_tflite(material.subject.deployed, material.subject.contract)
    parity = material.parity_of("the LiteRT model", tflite_run(model), "fp32")
    files = {"step.tflite": model}
    return [
        ArtifactSource("tflite-fp32-t1", "tflite", "fp32", 1, files, REQUIRES, parity, material.activations)
    ]


_ONNX: Final = {"opset": str(OPSET)}

Maker: TypeAlias = Callable[[Material], list[ArtifactSource]]

MAKERS: Final[dict[str, Maker]] = {
    "onnx": _onnx,
    "onnx-int8": _onnx_int8,
    "openvino": _openvino,
    "openvino-fp16": _openvino_fp16,
    "openvino-int8": _openvino_int8,
    "native-int8": _native_int8,
    "c": _c,
    "c-int8": _c_int8,
    "tflite": _tflite,
    "triton": _triton,
    "triton-int8": _triton_int8,
    "ovms": _ovms,
    "tensorrt": _engines("tensorrt", "fp32"),
    "tensorrt-fp16": _engines("tensorrt", "fp16"),
    "tensorrt-int8": _engines("tensorrt", "int8"),
    "tensorrt-rtx": _engines("tensorrt-rtx", "fp32"),
    "tensorrt-rtx-fp16": _engines("tensorrt-rtx", "fp16"),
    "tensorrt-rtx-int8": _engines("tensorrt-rtx", "int8"),
}
DEFAULT: Final = ("onnx",)


def make(material: Material, to: Sequence[str]) -> list[ArtifactSource]:
    """The artifacts that were asked for, and the weights for the reference.

    Raises:
        OptionError: an unknown word, or none.
    """
    if unknown := [word for word in to if word not in MAKERS]:
        raise OptionError(f"--to takes {', '.join(MAKERS)}; got {', '.join(unknown)}")
    if not to:
        raise OptionError(f"--to is empty; expected some of {', '.join(MAKERS)}")
    made = [source for word in MAKERS if word in to for source in MAKERS[word](material)]
    contract = material.subject.contract
    return [
        # A server's batch is of streams, whatever T is.
        source if source.streams is None else replace(source, streams=streams_of(contract, source.frames))
        for source in made + _torch(material)
    ]
