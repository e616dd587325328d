"""Which backend is chosen, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.errors import BackendUnavailableError, NoBackendError, OptionError, SessionError
from uva_edge.runtimes import SaliencyPredictor
from uva_edge.runtimes.registry import BACKENDS, INT8_FASTER, PRIORITY, backend
from uva_edge.runtimes.selection import PRECISIONS, select

BROKEN = Availability(
    "broken", "1.0", "beta is installed but can't be imported: OSError: libbeta.so.1", "pip uninstall beta"
)


def test_auto_takes_the_first(fp32: Bundle, fake: Any, install: Callable[..., None]) -> None:
    install(fake("alpha"), fake("beta"), fake("gamma"))
    selection = select(fp32)
    assert selection.plan.backend.name == "alpha"
    verdicts = [(decision.backend, decision.verdict) for decision in selection.decisions]
    assert verdicts == [("alpha", "chosen"), ("beta", "possible"), ("gamma", "possible")]
    assert "rank 1 of 3" in selection.decisions[0].reason


def test_the_order_is_the_processors(
    fp32: Bundle,
    fake: Any,
    install: Callable[..., None],
    processor: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(fake("alpha"), fake("beta"))
    monkeypatch.setitem(PRIORITY, "neon", ("beta", "alpha"))
    for features, expected in ((("avx2",), "alpha"), (("asimd",), "beta"), ((), "alpha")):
        processor(features=features)
        selection = select(fp32)
        assert selection.plan.backend.name == expected, features
        assert [decision.backend for decision in selection.decisions] == sorted(
            ("alpha", "beta"), reverse=expected == "beta"
        )


def test_auto_skips_what_cannot_run_and_says_why(
    fp32: Bundle, fake: Any, install: Callable[..., None], missing: Callable[[str], Availability]
) -> None:
    install(
        fake("alpha", availability=missing("alpha")),
        fake("beta", availability=BROKEN),
        fake("gamma", formats=("tensorrt",)),
        fake("delta"),
        fake("epsilon", availability=missing("epsilon")),
    )
    selection = select(fp32)
    assert selection.plan.backend.name == "delta"
    lines = {decision.backend: str(decision) for decision in selection.decisions}
    assert list(lines) == ["alpha", "beta", "gamma", "delta", "epsilon"]
    assert "rejected" in lines["alpha"]
    assert "pip install 'uva-edge[alpha]'" in lines["alpha"]
    assert "libbeta.so.1" in lines["beta"]
    assert "pip uninstall beta" in lines["beta"]
    assert "format tensorrt at fp32; the bundle has onnx-fp32 (onnx, fp32)" in lines["gamma"]
    assert "chosen, rank 4 of 5" in lines["delta"]
    assert "rejected" in lines["epsilon"]
    assert "pip install 'uva-edge[epsilon]'" in lines["epsilon"]


def test_nothing_is_imported_that_is_not_tried(
    fp32: Bundle, fake: Any, install: Callable[..., None], missing: Callable[[str], Availability]
) -> None:
    backends = [
        fake("useless", formats=("tensorrt",)),
        fake("absent", availability=missing("absent")),
        fake("chosen"),
        fake("later"),
    ]
    install(*backends)
    assert select(fp32).plan.backend.name == "chosen"
    assert {item.name: item.probes for item in backends} == {
        "useless": 0,
        "absent": 1,
        "chosen": 1,
        "later": 0,
    }


def test_no_backend_lists_every_reason(
    fp32: Bundle, fake: Any, install: Callable[..., None], missing: Callable[[str], Availability]
) -> None:
    install(
        fake("alpha", availability=missing("alpha")),
        fake("beta", availability=BROKEN),
        fake("gamma", formats=("c",)),
    )
    with pytest.raises(NoBackendError) as raised:
        select(fp32)
    message = str(raised.value)
    for words in ("bundle tiny", "pip install 'uva-edge[alpha]'", "libbeta.so.1", "in format c at fp32"):
        assert words in message
    assert message.count("\n") == 3, "a line for each backend"


@pytest.mark.parametrize("status", ["missing", "broken"])
def test_an_explicit_backend_never_becomes_another(
    status: str, fp32: Bundle, fake: Any, install: Callable[..., None], missing: Callable[[str], Availability]
) -> None:
    availability = missing("alpha") if status == "missing" else BROKEN
    able = fake("beta")
    install(able, fake("alpha", availability=availability))
    with pytest.raises(BackendUnavailableError) as raised:
        SaliencyPredictor(fp32.location, backend="alpha")
    for words in ("'alpha'", availability.reason, availability.fix):
        assert words in str(raised.value)
    assert able.probes == 0
    assert not able.sessions


def test_an_explicit_backend_that_can_run_is_taken(
    fp32: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    first = fake("alpha")
    install(first, fake("beta"))
    selection = select(fp32, "beta")
    assert selection.plan.backend.name == "beta"
    assert [str(decision) for decision in selection.decisions] == ["beta: chosen, asked for by name"]
    assert first.probes == 0


@pytest.mark.parametrize("name", ["onnx", "ONNXRuntime", "", None, 3, ["onnxruntime"]])
def test_an_unknown_backend_is_told_the_names(name: Any, fp32: Bundle) -> None:
    with pytest.raises(OptionError) as raised:
        SaliencyPredictor(fp32.location, backend=name)
    assert repr(name) in str(raised.value)
    for known in ("auto", "fastest", "onnxruntime", "openvino", "torch"):
        assert known in str(raised.value)


@pytest.mark.parametrize("choice", ["auto", "alpha", "fastest"])
@pytest.mark.parametrize("precision", ["fp31", "", None, 32])
def test_an_unknown_precision_is_told_the_names(
    choice: str, precision: Any, fp32: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    install(fake("alpha"))
    with pytest.raises(OptionError) as raised:
        SaliencyPredictor(fp32.location, backend=choice, precision=precision)
    assert repr(precision) in str(raised.value)
    assert all(known in str(raised.value) for known in PRECISIONS)


@pytest.mark.parametrize(
    ("choice", "error"),
    [("auto", NoBackendError), ("alpha", BackendUnavailableError), ("fastest", NoBackendError)],
)
def test_a_precision_that_the_bundle_lacks_names_what_it_has(
    choice: str, error: type[Exception], fp32: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    install(fake("alpha"))
    with pytest.raises(error) as raised:
        SaliencyPredictor(fp32.location, backend=choice, precision="int8")
    message = str(raised.value)
    assert "at int8" in message
    assert "onnx-fp32 (onnx, fp32), onnx-fp32-t1 (onnx, fp32)" in message


def test_a_precision_that_was_asked_for_is_run(
    tiny: Callable[..., Bundle], fake: Any, install: Callable[..., None]
) -> None:
    mixed = tiny(
        ("full", "onnx", "fp32", None), ("half", "onnx", "fp16", None), ("small", "onnx", "int8", None)
    )
    install(fake("alpha"))
    for precision, expected in (("auto", "full"), ("fp32", "full"), ("fp16", "half"), ("int8", "small")):
        assert select(mixed, precision=precision).plan.clip.name == expected, precision
    with pytest.raises(NoBackendError, match="at bf16"):
        select(mixed, precision="bf16")


def test_one_frame_and_clips_have_artifacts_of_their_own(
    fp32: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    alpha = fake("alpha")
    install(alpha)
    plan = select(fp32).plan
    assert (plan.step.name, plan.clip.name) == ("onnx-fp32-t1", "onnx-fp32")
    frames = fp32.golden().frames
    with SaliencyPredictor(fp32.location) as predictor:  # the fake refuses T > 1 in an artifact for T = 1
        predictor.stream(color="rgb").push(frames[0])
        assert [session.artifact.name for session in alpha.sessions] == ["onnx-fp32-t1"]
        predictor.predict_clip(frames, color="rgb")
        predictor.predict_clip(frames, color="rgb")
        assert [session.artifact.name for session in alpha.sessions] == ["onnx-fp32-t1", "onnx-fp32"]
    assert all(session.closes for session in alpha.sessions)


def test_one_artifact_serves_both_where_there_is_no_other(
    tiny: Callable[..., Bundle], fake: Any, install: Callable[..., None]
) -> None:
    alpha = fake("alpha")
    install(alpha)
    bundle = tiny(("only", "onnx", "fp32", None), ("sixteen", "onnx", "fp32", 16))
    with SaliencyPredictor(bundle.location) as predictor:
        predictor.predict_clip(bundle.golden().frames, color="rgb")
    assert [session.artifact.name for session in alpha.sessions] == ["only"]
    assert alpha.sessions[0].closes


def test_a_static_artifact_alone_cannot_run_clips(
    tiny: Callable[..., Bundle], fake: Any, install: Callable[..., None]
) -> None:
    install(fake("alpha"))
    with pytest.raises(NoBackendError, match="of any length in format onnx at fp32"):
        select(tiny(("t1", "onnx", "fp32", 1)))


def test_formats_are_taken_in_the_backends_order(
    tiny: Callable[..., Bundle], fake: Any, install: Callable[..., None]
) -> None:
    install(fake("alpha", formats=("openvino", "onnx")))
    both = tiny(("onnx-fp32", "onnx", "fp32", None), ("ir-fp32", "openvino", "fp32", None), name="both")
    assert select(both).plan.clip.name == "ir-fp32"
    reduced = tiny(("onnx-fp32", "onnx", "fp32", None), ("ir-int8", "openvino", "int8", None), name="reduced")
    assert select(reduced).plan.clip.name == "onnx-fp32"
    assert select(reduced, precision="int8").plan.clip.name == "ir-int8"


def test_auto_passes_over_an_engine_that_refuses_the_artifact(
    fp32: Bundle, fake: Any, install: Callable[..., None]
) -> None:
    install(fake("alpha", refuses="alpha 0.9 knows no opset 18"), fake("beta"))
    with SaliencyPredictor(fp32.location) as predictor:
        assert predictor.backend == "beta"
        assert predictor.explain().splitlines() == [
            "alpha: rejected, alpha 0.9 knows no opset 18",
            str(predictor.decisions[1]),
        ]
    with pytest.raises(SessionError, match="opset 18"):
        SaliencyPredictor(fp32.location, backend="alpha")
    install(fake("alpha", refuses="no opset 18"), fake("beta", refuses="no opset 19"))
    with pytest.raises(NoBackendError, match=r"(?s)no opset 18.*no opset 19"):
        SaliencyPredictor(fp32.location)


def test_the_same_machine_decides_the_same(
    fp32: Bundle, fake: Any, install: Callable[..., None], missing: Callable[[str], Availability]
) -> None:
    install(fake("alpha", availability=missing("alpha")), fake("beta"), fake("gamma"))
    assert len({select(fp32).decisions for _ in range(5)}) == 1


def test_every_backend_has_a_rank_on_every_processor() -> None:
    assert set(PRIORITY) == {"avx512_vnni", "avx512", "avx2", "neon", "generic"}
    for processor, order in PRIORITY.items():
        assert sorted(order) == sorted(BACKENDS), processor
    for name, item in BACKENDS.items():
        assert item.name == name
        assert backend(name) is item
        assert item.formats


# --- INT8 that nobody asked for -------------------------------------------------------------------------

PASSED = {"cc_stills": 0.999, "cc_clips": 0.998, "cc_golden": 0.995, "nss_loss": 0.001}


@pytest.mark.parametrize(
    ("features", "parity", "chosen"),
    [
        (("avx512f", "avx512_vnni"), PASSED, "int8"),
        (("avx512f",), PASSED, "fp32"),
        (("avx2",), PASSED, "fp32"),
        (("avx512f", "avx512_vnni"), {}, "fp32"),
        (("avx512f", "avx512_vnni"), {**PASSED, "cc_clips": 0.98}, "fp32"),
        (("avx512f", "avx512_vnni"), {**PASSED, "cc_golden": 0.98}, "fp32"),
        (("avx512f", "avx512_vnni"), {**PASSED, "nss_loss": 0.02}, "fp32"),
    ],
)
def test_auto_takes_int8_where_it_is_faster_and_passed_its_gate(
    features: tuple[str, ...],
    parity: dict[str, float],
    chosen: str,
    tiny: Callable[..., Bundle],
    fake: Any,
    install: Callable[..., None],
    processor: Callable[..., None],
) -> None:
    install(fake("onnxruntime"), fake("openvino", formats=("openvino", "onnx")))
    processor(features=features)
    both = tiny(
        ("onnx-fp32", "onnx", "fp32", None), ("ir-int8", "openvino", "int8", None, parity), name="both"
    )
    selection = select(both)
    assert selection.plan.step.precision == chosen
    assert select(both, precision="fp32").plan.step.precision == "fp32"
    if chosen == "int8":
        assert selection.decisions[0].backend == "openvino (int8)"
        assert "runs ir-int8" in selection.decisions[0].reason
        refused = {("openvino", "ir-int8"): "it broke"}
        again = select(both, refused=refused)
        assert again.plan.step.precision == "fp32"
        assert str(again.decisions[0]) == "openvino (int8): rejected, it broke"


def test_one_engines_refusal_is_not_anothers(fp32: Bundle, fake: Any, install: Callable[..., None]) -> None:
    install(fake("alpha"), fake("beta"))
    selection = select(fp32, refused={("alpha", "onnx-fp32-t1"): "it broke"})
    assert selection.plan.backend.name == "beta"


def test_every_backend_with_fast_int8_is_there() -> None:
    for processor, names in INT8_FASTER.items():
        assert set(names) <= set(PRIORITY[processor])
