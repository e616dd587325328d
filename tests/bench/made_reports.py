"""Reports to read, write, show and compare: one as a run on a small machine gives it, and any at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from uva_edge.runtimes.bench.report import (
    SCHEMA,
    STATUSES,
    BundleFacts,
    Kind,
    Report,
    Result,
    Status,
    WorstFrame,
    succeeded,
)

_MACHINE: dict[str, Any] = {
    "python": "3.11.7",
    "platform": "Linux-6.1-aarch64-with-glibc2.36",
    "cpu": {"model": "Cortex-A76", "architecture": "aarch64", "features": ["neon", "dotprod"], "cores": 4},
    "gpu": {"driver": None, "gpus": [], "problem": "there is no NVIDIA driver here"},
    "engines": {
        "onnxruntime": {"status": "ok", "version": "1.23.2", "reason": "", "fix": ""},
        "openvino": {"status": "ok", "version": "2026.4.1", "reason": "", "fix": ""},
        "torch": {
            "status": "missing",
            "version": None,
            "reason": "torch is not installed",
            "fix": "pip install 'uva-edge[torch]'",
        },
    },
}
_CONDITIONS = {
    "governor": "ondemand",
    "load": "0.31 before, 1.02 after",
    "throttling": "the processor was slowed for heat 3 times",
    "power": "mains",
}
_REMARKS = (
    "The processor was slowed for heat while it was measured: the times are those of a hot device.",
    "The governor is ondemand, so the first frames are slower; set it to performance for times that repeat.",
)

# name of the case, error that it makes, its limits (max_abs, min_cc), median time in ms at 32x32
_CASES = (
    ("native/native-fp32/T=1", 2e-6, (1e-4, 0.99999), 0.41),
    ("native/native-int8/T=1", 4e-2, (1.0, 0.99), 0.22),
    ("onnxruntime/onnx-fp32-t1/T=1", 1e-6, (1e-4, 0.99999), 0.55),
    ("onnxruntime/onnx-fp32/T=16", 1e-6, (1e-4, 0.99999), 0.48),
    ("onnxruntime/onnx-fp32/T=all", 1e-6, (1e-4, 0.99999), 0.46),
    ("onnxruntime/onnx-int8-t1/T=1", 5e-2, (1.0, 0.99), 0.47),
    ("openvino/onnx-fp32/T=1", 3e-6, (1e-4, 0.99999), 0.72),
    ("openvino/onnx-fp32/T=16/S=4", 3e-6, (1e-4, 0.99999), 0.61),
    ("openvino/openvino-int8/T=1", 9e-2, (1.0, 0.99), 0.66),
)


def result(
    kind: Kind = "speed",
    bundle: str = "uva-32",
    case: str = "native/native-fp32/T=1",
    status: Status = "PASS",
    message: str = "as promised",
    figures: dict[str, float] | None = None,
    limits: dict[str, Any] | None = None,
    series: dict[str, tuple[float, ...]] | None = None,
) -> Result:
    """A row of which only what matters is said."""
    return Result(kind, bundle, case, status, message, figures or {}, limits or {}, series or {})


def report(*results: Result, **facts: Any) -> Report:
    """A report of these rows; its verdict is theirs."""
    names = list(dict.fromkeys(row.bundle for row in results))
    given: dict[str, Any] = {
        "schema": SCHEMA,
        "passed": succeeded(row.status for row in results),
        "created": "2026-11-21T23:40:00Z",
        "uva_edge": "0.1.0",
        "machine": _MACHINE,
        "conditions": _CONDITIONS,
        "remarks": (),
        "options": {"threads": 1, "frames": 300, "task": True},
        "bundles": tuple(BundleFacts(name, "ab" * 32, ()) for name in names),
        "results": results,
    }
    return Report(**{**given, **facts})


def run_on_a_small_machine(seed: int = 0) -> Report:
    """Two bundles, three kinds of checks; one case fails in accuracy, one in speed, some can't be checked."""
    rng = np.random.default_rng(seed)
    rows = []
    for bundle, slower in (("uva-32", 1.0), ("uva-64", 3.6)):
        for case, error, limits, median in _CASES:
            rows.append(_golden_row(rng, bundle, case, error, limits))
            rows.append(_speed_row(rng, bundle, case, median * slower))
        rows += [_task_row(rng, bundle, case) for case, *_ in _CASES if case.endswith("T=1")]
        for kind in ("golden", "speed"):
            rows += [
                result(
                    kind,
                    bundle,
                    f"torch/checkpoint/T={length}",
                    "SKIPPED",
                    "torch is not installed; pip install 'uva-edge[torch]'",
                )
                for length in ("1", "16", "all")
            ]
        rows.append(
            result(
                "speed",
                bundle,
                "native/native-int8/T=1/S=4",
                "UNSUPPORTED",
                "native runs one stream a call; use onnxruntime or openvino for several",
            )
        )
    artifacts = tuple(
        {
            "name": name,
            "format": name.split("-")[0],
            "precision": name.split("-")[1],
            "bytes": 677073,
            "sha256": "c9" * 32,
        }
        for name in ("onnx-fp32", "onnx-int8", "openvino-int8", "native-int8")
    )
    bundles = tuple(
        BundleFacts(name, start * 32, artifacts) for name, start in (("uva-32", "5e"), ("uva-64", "d4"))
    )
    return report(*rows, remarks=_REMARKS, bundles=bundles)


def _golden_row(
    rng: np.random.Generator, bundle: str, case: str, error: float, limits: tuple[float, float]
) -> Result:
    fails = bundle == "uva-64" and "openvino-int8" in case
    growth = np.linspace(1, 2, 48) * rng.lognormal(0, 0.3, 48) * (4 if fails else 1)
    errors = np.minimum(error * growth, 1.0)
    largest = float(errors.max())
    min_cc = 0.98173 if fails else 1 - min(0.006, largest * 0.01)
    max_abs, least_cc = limits
    return result(
        "golden",
        bundle,
        case,
        "FAIL" if fails else "PASS",
        f"CC 0.98173 < {least_cc:g} at frame 37" if fails else f"within {max_abs:g} and CC {least_cc:g}",
        {
            "max_abs_map": largest,
            "max_abs_state": largest / 3,
            "nmse": largest**2 / 4,
            "min_cc": min_cc,
            "argmax_shift_px": 1.0 if error > 1e-3 else 0.0,
            "first_frame": float(errors[0]),
            "last_frame": float(errors[-1]),
        },
        {"max_abs_map": ("<=", max_abs), "max_abs_state": ("<=", max_abs), "min_cc": (">=", least_cc)},
        {"error": tuple(errors.tolist())},
    )


def _speed_row(rng: np.random.Generator, bundle: str, case: str, median: float) -> Result:
    times = median * rng.lognormal(0, 0.06, 600)
    times[rng.random(600) < 0.02] *= 3
    fps = 1000 / float(times.mean())
    fails = bundle == "uva-64" and case == "openvino/onnx-fp32/T=1"
    figures = {"fps": fps, "load_ms": 38.2 * median, "first_frame_ms": 4.1 * median, "rss_mb": 92.4 + median}
    for stage, share in (("input", 0.1), ("session", 0.85), ("result", 0.05), ("total", 1.0)):
        for percentile in (50, 95, 99):
            figures[f"{stage}_p{percentile}_ms"] = share * float(np.percentile(times, percentile))
    return result(
        "speed",
        bundle,
        case,
        "FAIL" if fails else "PASS",
        f"{fps:.0f} FPS, 400 were asked for with --min-fps; native-int8 reaches them"
        if fails
        else "measured",
        figures,
        {"fps": (">=", 400.0)},
        {"total_ms": tuple(times.tolist())},
    )


def _task_row(rng: np.random.Generator, bundle: str, case: str) -> Result:
    reference = {"nss": 1.8789, "cc": 0.6192, "auc": 0.8521}
    loss = 0.004 if "int8" in case else 0.0
    figures = {name: value * (1 - loss * rng.random()) for name, value in reference.items()}
    figures |= {f"{name}_reference": value for name, value in reference.items()}
    return result(
        "task",
        bundle,
        case,
        message="NSS lost at most 1 %",
        figures=figures,
        limits={"nss": (">=", 0.99 * reference["nss"])},
    )


def worst_frame(
    frame: NDArray[np.uint8], reference: NDArray[np.float32], case: str = _CASES[0][0], noise: float = 1e-2
) -> WorstFrame:
    """A backend that is off by so much, at random."""
    rng = np.random.default_rng(len(case))
    found = np.clip(reference + noise * rng.standard_normal(reference.shape), 0, 1).astype(np.float32)
    return WorstFrame("uva-32", case, 7, frame, reference, found)


# --- any report -----------------------------------------------------------------------------------------

_words = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_numbers = st.floats(-1e12, 1e12, allow_nan=False) | st.just(0.0)
_figure_names = st.sampled_from(
    ("fps", "nss", "nss_reference", "max_abs_map", "total_p50_ms", "total_p99_ms", "rss_mb", "of_its_own")
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _numbers | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=6,
)


def results(words: st.SearchStrategy[str] = _words) -> st.SearchStrategy[Result]:
    return st.builds(
        Result,
        kind=st.sampled_from(("golden", "task", "speed")),
        bundle=words,
        case=words,
        status=st.sampled_from(STATUSES),
        message=words,
        figures=st.dictionaries(_figure_names | words, _numbers, max_size=5),
        limits=st.dictionaries(_figure_names, st.tuples(st.sampled_from(("<=", ">=")), _numbers), max_size=3),
        series=st.dictionaries(
            st.sampled_from(("error", "total_ms", "other")),
            st.lists(_numbers, max_size=30).map(tuple),
            max_size=2,
        ),
    )


def reports(words: st.SearchStrategy[str] = _words) -> st.SearchStrategy[Report]:
    rows = st.lists(results(words), max_size=6)
    return st.builds(
        lambda rows, **facts: report(*rows, **facts),
        rows,
        created=words,
        uva_edge=words,
        machine=st.dictionaries(words, _json, max_size=3),
        conditions=st.dictionaries(words, words, max_size=3),
        remarks=st.lists(words, max_size=3).map(tuple),
        options=st.dictionaries(words, _json, max_size=3),
        bundles=st.lists(
            st.builds(
                BundleFacts,
                words,
                words,
                st.lists(st.dictionaries(words, _json, max_size=3), max_size=2).map(tuple),
            ),
            max_size=2,
        ).map(tuple),
    )
