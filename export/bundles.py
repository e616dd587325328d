"""A checkpoint becomes a bundle: artifacts are made, run on the golden clip, and only then moved in place."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import uva_edge
from uva_edge.bundle import Bundle
from uva_edge.bundle_writer import ArtifactSource, expect_place, write_bundle
from uva_edge.errors import DataError, ExportError, ParityError
from uva_edge.manifest import Contract, Lineage, Network, TensorSpec
from uva_edge.models.checkpoint import checkpoint_bytes, load_checkpoint, read_checkpoint
from uva_edge.models.clip_step import ClipStep, folded
from uva_edge.models.cost import cost_of
from uva_edge.models.uva_net import UvaNet
from uva_edge.runtimes.conformance import Outcome, passed, verify
from uva_edge.runtimes.native.backend import INTEGERS
from uva_edge.runtimes.native.integers import Integers
from uva_edge.runtimes.native.topology import Topology
from uva_edge.runtimes.registry import BACKENDS

from .artifacts import DEFAULT, Exportable, Material, Splits, make
from .fidelity import GATED
from .model_card import model_card
from .onnx import INPUTS, OUTPUTS
from .tensorrt import FLAVOURS, PLAIN, EngineOptions

LICENCE: Final = "Apache-2.0"
FAMILY: Final = "uva-net"
_TOOLS: Final = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
_LIMITS: Final = (
    "Trained mostly on photographs taken from the ground; straight-down aerial views are a small share.",
)


def export_bundle(
    source: Path | str,
    destination: Path,
    *,
    name: str,
    to: Sequence[str] = DEFAULT,
    splits: Splits | None = None,
    engines: EngineOptions = PLAIN,
    qat_steps: int = 0,
    accuracy: Mapping[str, Mapping[str, float]] | None = None,
) -> Bundle:
    """Make the bundle of a checkpoint, or other artifacts of a bundle's network, and the weights for the reference.

    Every artifact is run on the golden clip by every backend that is installed before anything is written at
    `destination`; a bundle that stood there stays until then.

    Args:
        source: a checkpoint; or a bundle, by its path or the name of one that ships.
        to: what to make, words of `uva_edge.export.artifacts.MAKERS`.
        splits: footage to calibrate with and to judge by; INT8 needs it.
        engines: how TensorRT engines are built.
        qat_steps: of fine-tuning before INT8, on the train split (`uva_edge.export.qat`); 0 for none.
        accuracy: data set -> metric -> value, as measured on the checkpoint; a bundle brings its own.

    Raises:
        DataError: not a checkpoint, or one with a lineage of another form; or the footage does not do.
        BundleError: the bundle is damaged.
        ExportError: a graph can't be made; ParityError: one does not compute what the checkpoint does.
        OptionError: `to` has an unknown word, or needs `splits`.
        OutputError: the bundle can't be written.
    """
    if accuracy is None:
        accuracy = Bundle.open(source).manifest.accuracy if names_bundle(source) else {}
    material = Material(exportable(source), splits, engines, qat_steps, name)
    return write_verified(material, destination, name=name, to=to, accuracy=accuracy)


def names_bundle(source: Path | str) -> bool:
    """Whether this is a bundle's directory, archive or name; anything else is a checkpoint's path."""
    path = Path(source)
    return (
        path.is_dir()
        or path.suffix == ".zip"
        or (not path.exists() and path.name == str(source) and not path.suffix)
    )


def exportable(source: Path | str) -> Exportable:
    """The network of a checkpoint or a bundle, on its way into a bundle; raises as `export_bundle`."""
    return _from_bundle(Bundle.open(source)) if names_bundle(source) else _from_checkpoint(Path(source))


def _from_checkpoint(checkpoint: Path) -> Exportable:
    # Read once: a training run may replace the file while this takes its time.
    data = read_checkpoint(checkpoint)
    network, record = load_checkpoint(data, name=str(checkpoint))
    return _exportable(network, _lineage(record, data, checkpoint))


def _from_bundle(bundle: Bundle) -> Exportable:
    found = next((item for item in bundle.manifest.artifacts if item.format == "torch"), None)
    if found is None or bundle.manifest.network.family != FAMILY:
        raise ExportError(
            f"bundle {bundle.name}: expected the weights of a {FAMILY} (format torch) to export from, got family "
            f"{bundle.manifest.network.family} with {', '.join(item.format for item in bundle.manifest.artifacts)}; "
            "export from its checkpoint"
        )
    network, _ = load_checkpoint(bundle.read(found.files[0]), name=f"{bundle.name}/{found.files[0].path}")
    subject = _exportable(network, dataclasses.replace(bundle.manifest.lineage, created_with=tool_versions()))
    return dataclasses.replace(subject, integers=_integers(bundle))


def _integers(bundle: Bundle) -> tuple[Integers, dict[str, float]] | None:
    manifest = bundle.manifest
    for artifact in manifest.artifacts:
        if artifact.format == INTEGERS:
            topology = Topology.of(manifest.network, manifest.contract)
            kept = {name: value for name, value in artifact.parity.items() if name in GATED}
            return Integers.from_bytes(bundle.read(artifact.files[0]), topology), kept
    return None


def _exportable(network: UvaNet, lineage: Lineage) -> Exportable:
    return Exportable(
        network=_network(network),
        contract=contract_of(network),
        reference=ClipStep(network).eval(),
        deployed=ClipStep(folded(network)).eval(),
        weights=checkpoint_bytes(network, {}),
        lineage=lineage,
        limits=_LIMITS,
    )


def write_verified(
    material: Material,
    destination: Path,
    *,
    name: str,
    accuracy: Mapping[str, Mapping[str, float]],
    to: Sequence[str] = DEFAULT,
) -> Bundle:
    """Make the artifacts of a network, run them all, and only then write the bundle; raises as `export_bundle`."""
    expect_place(destination)
    subject, sources = material.subject, make(material, to)
    facts: dict[str, Any] = {
        "name": name,
        "network": subject.network,
        "contract": subject.contract,
        "golden": material.golden,
        "accuracy": accuracy,
        "lineage": subject.lineage,
    }
    with tempfile.TemporaryDirectory(prefix="uva-edge-export-") as scratch:
        outcomes = verify(write_bundle(Path(scratch) / "bundle", artifacts=sources, **facts))
    _gate(sources, outcomes)
    measured = [
        dataclasses.replace(source, parity={**source.parity, **_parity(source.name, outcomes)})
        for source in sources
    ]
    documents = {"README.md": model_card(artifacts=measured, limits=subject.limits, **facts).encode()}
    return write_bundle(destination, artifacts=measured, documents=documents, **facts)


def _ran(name: str, outcomes: Sequence[Outcome]) -> bool:
    return any(outcome.case.artifact == name and outcome.status in ("PASS", "FAIL") for outcome in outcomes)


def _gate(sources: Sequence[ArtifactSource], outcomes: Sequence[Outcome]) -> None:
    failures = [f"  {outcome.case}: {outcome.message}" for outcome in outcomes if outcome.status == "FAIL"]
    if failures:
        raise ParityError(
            "nothing was written, since these don't compute what the checkpoint does:\n" + "\n".join(failures)
        )
    for source in sources:
        readers = [backend for backend in BACKENDS.values() if source.format in backend.formats]
        if not readers or (source.format in FLAVOURS.values() and not _ran(source.name, outcomes)):
            continue  # for another device; its maker measured the graph that it was built from
        if not passed(outcome for outcome in outcomes if outcome.case.artifact == source.name):
            raise ParityError(
                f"nothing was written, since no backend here could run {source.name}; "
                "pip install 'uva-edge[export]' brings what is needed"
            )


def _parity(name: str, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The largest errors of an artifact over all backends and T; what YUV loses is not the artifact's."""
    found = [
        outcome.errors.as_parity()
        for outcome in outcomes
        if outcome.case.artifact == name and outcome.case.color is None and outcome.errors
    ]
    worst = {"max_abs_map": max, "max_abs_state": max, "min_cc": min}
    return {key: pick(errors[key] for errors in found) for key, pick in worst.items() if found}


def _network(network: UvaNet) -> Network:
    cost = cost_of(network)
    options: dict[str, Any] = dict(network.config.options())
    return Network(FAMILY, options, cost.parameters, cost.macs_per_step)


def contract_of(network: UvaNet) -> Contract:
    """The clip step of UVA-Net."""
    config = network.config
    side = config.resolution
    return Contract(
        resolution=side,
        pairing=config.pairing,
        output=config.output,
        frames=TensorSpec(INPUTS[0], "uint8", ("T", side, side, 3)),
        state_in=TensorSpec(INPUTS[1], "float32", config.state_shape),
        maps=TensorSpec(OUTPUTS[0], "float32", ("T", side, side)),
        state_out=TensorSpec(OUTPUTS[1], "float32", config.state_shape),
    )


def tool_versions() -> dict[str, str]:
    """What a bundle is made with."""
    return {"uva_edge": uva_edge.__version__, **{tool: version(tool) for tool in _TOOLS}}


def _lineage(record: Mapping[str, Any], data: bytes, checkpoint: Path) -> Lineage:
    recipe, commit = record.get("recipe", {}), record.get("commit")
    lines, teacher = record.get("data", []), record.get("teacher", "")
    if not (
        isinstance(recipe, dict)
        and isinstance(lines, list)
        and all(isinstance(value, str) for value in (*lines, teacher, commit or ""))
    ):
        raise DataError(
            f"{checkpoint}: its lineage has recipe {recipe!r}, data {lines!r}, teacher {teacher!r}, commit "
            f"{commit!r}; expected an object, a list of strings, a string, and a string or null"
        )
    return Lineage(
        created_with=tool_versions(),
        recipe=recipe,
        data=tuple(lines),
        teacher=teacher,
        source_commit=commit,
        checkpoint_sha256=hashlib.sha256(data).hexdigest(),
        licence=LICENCE,
    )
