"""``backend="fastest"``: measure every backend that can run the bundle on this device, and remember."""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import uva_edge
from uva_edge.bundle import Bundle
from uva_edge.environment import probe_cpu
from uva_edge.errors import BackendError
from uva_edge.golden import Golden
from uva_edge.gpu import probe_gpus

from .backend import Session, SessionOptions, State
from .registry import BACKENDS, GPU
from .selection import Decision, Plan, Selection, candidates, nothing_left, plan_for
from .user_cache import cache_root

_ROUNDS: Final = 7
_STEPS_PER_ROUND: Final = 10
_MAX_CACHE_BYTES: Final = 1 << 20


def select_fastest(bundle: Bundle, precision: str, options: SessionOptions) -> Selection:
    """The backend with the shortest median step here, at the precision ``auto`` in float32 or in INT8 that passed its
    gate; the result is kept in the user's cache directory.

    Raises:
        OptionError: an unknown precision.
        NoBackendError: nothing runs; the message holds every reason.
        BundleError: an artifact is damaged.
    """
    plans: dict[str, Plan] = {}
    decisions: list[Decision] = []
    for candidate in candidates(bundle, precision, unmeasured=True):
        plan = plan_for(bundle, BACKENDS[candidate.backend], candidate.precision)
        if isinstance(plan, Plan):
            plans[candidate.label] = plan
        else:
            decisions.append(replace(plan, backend=candidate.label))
    key = _key(bundle, plans, options)
    seconds = _recall(key, plans)
    if seconds is None:
        seconds, failures = measure(bundle, plans, options)
        decisions += failures
        if not failures:  # what failed today is tried again tomorrow
            _remember(key, seconds)
    if not seconds:
        raise nothing_left(bundle, precision, decisions)
    ranked = sorted(seconds, key=lambda name: (seconds[name], name))
    measured = [
        Decision(name, "possible" if rank else "chosen", f"{seconds[name] * 1e3:.3f} ms a step here")
        for rank, name in enumerate(ranked)
    ]
    return Selection(plans[ranked[0]], (*measured, *decisions))


def measure(
    bundle: Bundle, plans: Mapping[str, Plan], options: SessionOptions
) -> tuple[dict[str, float], list[Decision]]:
    """Median seconds of a step with T = 1 by backend, and the backends that failed, with their reasons.

    The backends take turns, so that a change of the clock or the load meets all of them.
    """
    golden = bundle.golden()
    state = np.zeros(bundle.manifest.contract.state_shape, golden.state.dtype)
    sessions: dict[str, Session] = {}
    failures: list[Decision] = []
    with ExitStack() as stack:
        for name, plan in plans.items():
            try:
                session = plan.backend.load(bundle, plan.step, options)
                stack.callback(session.close)
                _seconds_per_step(session, golden, state)  # warms up
            except BackendError as error:
                failures.append(Decision(name, "rejected", str(error)))
            else:
                sessions[name] = session
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(_ROUNDS):
            for name, session in sessions.items():
                times[name].append(_seconds_per_step(session, golden, state))
    return {name: statistics.median(values) for name, values in times.items()}, failures


def _seconds_per_step(session: Session, golden: Golden, state: State) -> float:
    start = time.perf_counter()
    for step in range(_STEPS_PER_ROUND):
        index = step % len(golden.frames)
        session.run(golden.frames[index : index + 1], state)
    return (time.perf_counter() - start) / _STEPS_PER_ROUND


# --- what is remembered: JSON, key -> backend -> seconds ------------------------------------------------
# A cache that can't be read or written costs the next start a second; it is no reason to fail this one.
# RuntimeError: no home directory can be found, or the JSON is nested without end.


def cache_path() -> Path:
    """Where measurements are kept: $XDG_CACHE_HOME/uva_edge/fastest.json, or below ~/.cache.

    Raises RuntimeError where the user has no home.
    """
    return cache_root() / "fastest.json"


def _key(bundle: Bundle, plans: Mapping[str, Plan], options: SessionOptions) -> str:
    """Changes with whatever can change the ranking: weights, artifacts, engines, threads, processor, GPU."""
    cpu = probe_cpu()
    facts: list[Any] = [uva_edge.__version__, bundle.sha256, options.threads, cpu.model, cpu.features]
    for name, plan in sorted(plans.items()):
        facts.append([name, plan.step.name, plan.backend.installed().version])
    if any(plan.backend.name in GPU for plan in plans.values()):
        facts.append(str(probe_gpus()))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _recall(key: str, plans: Mapping[str, Plan]) -> dict[str, float] | None:
    """What was measured for exactly these backends; None if there is nothing, or nothing that makes sense."""
    found = _load().get(key)
    if not isinstance(found, dict) or set(found) != set(plans):
        return None
    if not all(isinstance(value, float) and math.isfinite(value) and value > 0 for value in found.values()):
        return None
    return found


def _load() -> dict[str, Any]:
    try:
        with cache_path().open("rb") as file:
            data = json.loads(file.read(_MAX_CACHE_BYTES))
    except (OSError, ValueError, RuntimeError):
        return {}
    return data if isinstance(data, dict) else {}


def _remember(key: str, seconds: dict[str, float]) -> None:
    with suppress(OSError, RuntimeError):
        path = cache_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            temporary.write_text(json.dumps({**_load(), key: seconds}), encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
