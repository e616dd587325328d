"""``backend="fastest"``: measure every backend that can run the bundle on this device, and remember."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from uva_edge.bundle import Bundle
from uva_edge.environment import probe_cpu
from uva_edge.errors import BackendError, NoBackendError

from .backend import Session, SessionOptions
from .registry import BACKENDS
from .selection import Decision, Plan, Selection, plan_for, ranking

_ROUNDS = 7
_STEPS_PER_ROUND = 10


def select_fastest(bundle: Bundle, precision: str, options: SessionOptions) -> Selection:
    """The backend with the shortest median step here; the result is kept in the user's cache directory.

    Raises NoBackendError when nothing runs, with every reason.
    """
    plans: dict[str, Plan] = {}
    decisions = []
    for name in ranking():
        plan = plan_for(bundle, BACKENDS[name], precision)
        if isinstance(plan, Plan):
            plans[name] = plan
        else:
            decisions.append(plan)
    key = _key(bundle, plans, options)
    seconds = _recall(key)
    if seconds is None or not set(seconds) <= set(plans):
        seconds, failures = measure(bundle, plans, options)
        decisions += failures
        _remember(key, seconds)
    if not seconds:
        reasons = "\n".join(f"  {decision}" for decision in decisions)
        raise NoBackendError(f"no backend can run bundle {bundle.name} at precision {precision} here:\n{reasons}")
    ranked = sorted(seconds, key=lambda name: (seconds[name], name))
    measured = [
        Decision(name, "chosen" if name == ranked[0] else "possible", f"{seconds[name] * 1e3:.3f} ms a step here")
        for name in ranked
    ]
    return Selection(plans[ranked[0]], (*measured, *decisions))


def measure(
    bundle: Bundle, plans: dict[str, Plan], options: SessionOptions
) -> tuple[dict[str, float], list[Decision]]:
    """Median seconds of a step with T = 1 by backend, rounds interleaved; and those that failed, with reasons."""
    sessions: dict[str, Session] = {}
    failures = []
    for name, plan in plans.items():
        try:
            sessions[name] = plan.backend.load(bundle, plan.step, options)
        except BackendError as error:
            failures.append(Decision(name, "rejected", str(error)))
    golden = bundle.golden()
    state = np.zeros(bundle.manifest.contract.state_shape, golden.state.dtype)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for round_ in range(_ROUNDS + 1):  # the first round warms up
        for name, session in sessions.items():
            start = time.perf_counter()
            for step in range(_STEPS_PER_ROUND):
                index = step % len(golden.frames)
                session.run(golden.frames[index : index + 1], state)
            if round_:
                times[name].append((time.perf_counter() - start) / _STEPS_PER_ROUND)
    for session in sessions.values():
        session.close()
    return {name: statistics.median(values) for name, values in times.items()}, failures


def cache_path() -> Path:
    """Where measurements are kept: $XDG_CACHE_HOME/uva_edge/fastest.json, or ~/.cache/... ."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "uva_edge" / "fastest.json"


def _key(bundle: Bundle, plans: dict[str, Plan], options: SessionOptions) -> str:
    """Changes with whatever can change the ranking: weights, engines, artifacts, threads, processor."""
    facts = [bundle.sha256, options.threads, probe_cpu().model, probe_cpu().features]
    facts += [[name, plan.step.name, plan.backend.installed().version] for name, plan in sorted(plans.items())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _recall(key: str) -> dict[str, float] | None:
    found = _load().get(key)
    if not isinstance(found, dict) or not found:
        return None
    return {str(name): float(value) for name, value in found.items() if isinstance(value, (int, float))}


def _load() -> dict[str, Any]:
    try:
        data = json.loads(cache_path().read_bytes()[: 1 << 20])
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _remember(key: str, seconds: dict[str, float]) -> None:
    path = cache_path()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # A cache that can't be written costs the next start a second; it is no reason to fail this one.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({**_load(), key: seconds}), encoding="utf-8")
        os.replace(temporary, path)
