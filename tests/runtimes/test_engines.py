"""Engines that were built on this device: found beside their bundle, where they fit, and built when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_cuda import FakeGpu
from fake_machine import FakeMachine, engine_bundle

from uva_edge.bundle import Bundle
from uva_edge.cli import main
from uva_edge.environment import Availability
from uva_edge.errors import BackendUnavailableError, HashMismatchError, OutputError, ParityError
from uva_edge.gpu import Gpu, GpuFacts, has_driver
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.conformance import passed, verify
from uva_edge.runtimes.engines import build_command, capability_here, place_of, with_built
from uva_edge.runtimes.machine import THIS_MACHINE
from uva_edge.runtimes.registry import BACKENDS
from uva_edge.runtimes.tensorrt import TensorRtBackend

NAMES = ("tensorrt-rtx-fp32", "tensorrt-rtx-fp32-t1")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def machine() -> FakeMachine:
    found = FakeMachine()
    found.packages = {"tensorrt_rtx_bindings": Availability("ok", "10.13.3.post1")}
    return found


def put(bundle: Bundle, **changes: Any) -> Bundle:
    place = place_of(bundle, "tensorrt-rtx", "8.6")
    place.parent.mkdir(parents=True)
    return engine_bundle(bundle, place, "tensorrt_rtx", **changes)


def added(bundle: Bundle, machine: FakeMachine) -> set[str]:
    found = with_built(bundle, machine)
    return {item.name for item in found.manifest.artifacts} - {
        item.name for item in bundle.manifest.artifacts
    }


def test_without_any_the_bundle_is_itself(bundle: Bundle, machine: FakeMachine, cache: Path) -> None:
    assert with_built(bundle, machine) is bundle
    assert not machine.driver.calls, "no GPU is asked for nothing"
    assert not cache.exists()


def test_what_was_built_is_found(bundle: Bundle, machine: FakeMachine) -> None:
    built = put(bundle)
    found = with_built(bundle, machine)
    assert added(bundle, machine) == set(NAMES)
    assert (found.location, found.sha256, found.name) == (bundle.location, bundle.sha256, bundle.name)
    for name in NAMES:
        for file in found.artifact(name).files:
            assert found.read(file) == built.read(file)
    own = bundle.artifact("onnx-fp32").files[0]
    assert found.read(own) == bundle.read(own)
    found.verify()
    assert added(Bundle.shipped("skd-32"), machine) == set(), "another bundle has none"


def test_a_predictor_runs_it(
    bundle: Bundle, machine: FakeMachine, flight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bundle)
    monkeypatch.setitem(BACKENDS, "tensorrt_rtx", TensorRtBackend("tensorrt_rtx", machine))
    for name in ("gpus", "installed"):
        monkeypatch.setattr(THIS_MACHINE, name, getattr(machine, name))
    with SaliencyPredictor(bundle.location) as predictor:
        assert (predictor.backend, predictor.info.artifact) == ("tensorrt_rtx", NAMES[1])
        assert predictor.predict_clip(flight).std() > 0


@pytest.mark.parametrize(
    "changes",
    [{"compute_capabilities": ("9.0",)}, {"version": "10.14"}, {"platform": "linux-riscv64"}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_does_not_fit_is_passed_over(
    changes: dict[str, Any], bundle: Bundle, machine: FakeMachine
) -> None:
    put(bundle, **changes)
    assert added(bundle, machine) == set()


def test_without_a_gpu_none_fits(bundle: Bundle, machine: FakeMachine) -> None:
    put(bundle)
    machine.with_driver = False
    assert added(bundle, machine) == set()


def test_a_damaged_one_is_passed_over_or_told(bundle: Bundle, machine: FakeMachine) -> None:
    place = Path(put(bundle).location)
    engine = place / "step.engine"
    engine.write_bytes(engine.read_bytes()[:-1] + b"?")
    found = with_built(bundle, machine)
    with pytest.raises(HashMismatchError, match=r"step\.engine"):
        found.read(found.artifact(NAMES[1]).files[0])
    (place / "bundle.json").write_text("{")
    assert added(bundle, machine) == set()


def test_a_user_without_a_home(bundle: Bundle, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert with_built(bundle, machine) is bundle
    with pytest.raises(OutputError, match="nowhere to keep engines: no home; set XDG_CACHE_HOME"):
        place_of(bundle, "tensorrt", "8.6")


def test_the_command_names_what_it_needs(bundle: Bundle) -> None:
    assert build_command(bundle, "onnx", "fp32") == ""
    assert build_command(bundle, "tensorrt", "fp16") == (
        f"uva-edge build-engine {bundle.location} --to tensorrt-fp16"
    )
    assert build_command(bundle, "tensorrt_rtx", "int8").endswith("--to tensorrt-rtx-int8 --data DATA")


def test_the_gpu_of_this_machine(machine: FakeMachine) -> None:
    machine.driver.gpus = [FakeGpu(capability=(12, 0)), FakeGpu()]
    assert capability_here(machine) == "12.0"
    machine.with_driver = False
    with pytest.raises(
        BackendUnavailableError, match=r"there is no NVIDIA driver here\. To mend it: .*export --to"
    ):
        capability_here(machine)


# --- the command ----------------------------------------------------------------------------------------


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["build-engine", *words])


def test_without_a_gpu_nothing_is_built(bundle: Bundle, cache: Path) -> None:
    if has_driver():
        pytest.skip("there is a driver")
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    result = run(bundle.location)
    assert result.exit_code == 1
    assert "an engine is built for the GPU of this machine, and there is no NVIDIA driver" in result.stderr
    assert not cache.exists()


def test_an_engine_is_built_and_found(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real TensorRT-RTX, which needs no GPU to build; only the GPU is made up."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra 'tensorrt-rtx'")
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    facts = GpuFacts("580.65.06", "13.0", (Gpu("NVIDIA Fake", "8.6", 8 << 30),))
    monkeypatch.setattr(THIS_MACHINE, "gpus", lambda: facts)
    result = run(bundle.location, "--to", "tensorrt-rtx-fp16")
    assert result.exit_code == 0, result.output
    place = place_of(bundle, "tensorrt-rtx-fp16", "8.6")
    assert result.stdout.strip() == str(place)
    manifest = json.loads((place / "bundle.json").read_bytes())
    assert {item["requires"].get("compute_capability") for item in manifest["artifacts"]} == {"8.6", None}
    found = with_built(bundle)
    assert {"tensorrt-rtx-fp16", "tensorrt-rtx-fp16-t1"} <= {item.name for item in found.manifest.artifacts}
    assert run(bundle.location, "--to", "onnx").exit_code == 1
    assert (
        "engines are of tensorrt or tensorrt-rtx; got 'onnx'" in run(bundle.location, "--to", "onnx").stderr
    )


# --- the gates ------------------------------------------------------------------------------------------


def test_an_engine_for_another_gpu_is_not_supported(
    bundle: Bundle, machine: FakeMachine, tmp_path: Path
) -> None:
    """A bundle may hold engines for several; one that is for this GPU has to run."""
    foreign = engine_bundle(bundle, tmp_path / "foreign", "tensorrt_rtx", compute_capabilities=("9.0",))
    outcomes = verify(foreign, backends=[TensorRtBackend("tensorrt_rtx", machine)])
    assert {outcome.status for outcome in outcomes} == {"UNSUPPORTED"}
    assert "built for compute capability 9.0" in outcomes[0].message
    assert not passed(outcomes), "nothing was checked"


def test_an_export_holds_the_engines_for_this_gpu_to_their_gate(
    bundle: Bundle, machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="needs the extra 'tensorrt-rtx'")
    pytest.importorskip("onnxscript", reason="needs the extra 'export'")
    from uva_edge.export.bundles import export_bundle
    from uva_edge.export.tensorrt import EngineOptions

    monkeypatch.setitem(BACKENDS, "tensorrt_rtx", TensorRtBackend("tensorrt_rtx", machine))
    machine.modules["tensorrt_rtx_bindings"].__version__ = rtx.__version__

    def export(capability: str) -> Bundle:
        options = EngineOptions(capabilities=(capability,))
        return export_bundle(
            bundle.location, tmp_path / "out", name="out", to=["tensorrt-rtx"], engines=options
        )

    assert export("7.5").artifact("tensorrt-rtx-fp32").requires["compute_capability"] == "7.5"
    with pytest.raises(ParityError, match=r"(?s)nothing was written.*Magic tag does not match"):
        export("8.6")  # the fake can't read a real engine, as a GPU that computes nonsense can't pass
