"""Which backend runs a bundle here: every candidate is taken, or rejected with the reason.

An explicit backend either runs or raises: nothing falls back. `auto` ranks by processor class and takes the
first that the machine can run; `fastest` measures all of them (see `uva_edge.runtimes.fastest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from uva_edge.bundle import Bundle
from uva_edge.environment import probe_cpu
from uva_edge.errors import BackendUnavailableError, NoBackendError, OptionError
from uva_edge.manifest import Artifact

from .backend import Backend
from .registry import BACKENDS, PRIORITY, backend

Verdict: TypeAlias = Literal["chosen", "possible", "rejected"]

PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16", "int8")
_AUTO_PRECISION: Final = "fp32"
_NOTHING_REFUSED: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Plan:
    """A backend with the artifacts that it would run: `step` for one frame at a time, `clip` for many."""

    backend: Backend
    step: Artifact
    clip: Artifact


@dataclass(frozen=True)
class Decision:
    """One line of an explanation: what became of a backend, why, and how to mend it where it was rejected."""

    backend: str
    verdict: Verdict
    reason: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f" ({self.fix})" if self.fix else ""
        return f"{self.backend}: {self.verdict}, {self.reason}{fix}"


@dataclass(frozen=True)
class Selection:
    """The plan that was taken, and why the others were not."""

    plan: Plan
    decisions: tuple[Decision, ...]


def select(
    bundle: Bundle,
    name: str = "auto",
    precision: str = "auto",
    *,
    refused: Mapping[str, str] = _NOTHING_REFUSED,
) -> Selection:
    """Choose a backend for a bundle: one by name, or the best that this machine can run for ``auto``.

    Args:
        refused: backend -> reason, of those that ``auto`` passes over: their engines refused the artifact.

    Raises:
        OptionError: an unknown backend or precision.
        BackendUnavailableError: the named backend can't run the bundle here; the message says how to mend it.
        NoBackendError: for ``auto``, when no backend is left; the message holds every reason.
    """
    if name != "auto":
        return _select_named(bundle, backend(name), precision)
    order, processor = ranking(), probe_cpu().processor_class
    decisions: list[Decision] = []
    chosen: Plan | None = None
    for rank, candidate in enumerate(order, start=1):
        if candidate in refused:
            decisions.append(Decision(candidate, "rejected", refused[candidate]))
            continue
        plan = plan_for(bundle, BACKENDS[candidate], precision, imports=chosen is None)
        if isinstance(plan, Decision):
            decisions.append(plan)
        elif chosen is None:
            chosen = plan
            reason = f"rank {rank} of {len(order)} on {processor}, runs {plan.step.name}"
            decisions.append(Decision(candidate, "chosen", reason))
        else:
            reason = f"rank {rank} of {len(order)} on {processor}, after {chosen.backend.name}"
            decisions.append(Decision(candidate, "possible", reason))
    if chosen is None:
        raise nothing_left(bundle, precision, decisions)
    return Selection(chosen, tuple(decisions))


def nothing_left(bundle: Bundle, precision: str, decisions: Iterable[Decision]) -> NoBackendError:
    """The error with every reason."""
    reasons = "\n".join(f"  {decision}" for decision in decisions)
    return NoBackendError(
        f"no backend can run bundle {bundle.name} at precision {precision} here:\n{reasons}"
    )


def ranking() -> tuple[str, ...]:
    """Names of the backends in the order in which ``auto`` tries them on this processor."""
    return PRIORITY[probe_cpu().processor_class]


def plan_for(bundle: Bundle, candidate: Backend, precision: str, *, imports: bool = True) -> Plan | Decision:
    """How a backend would run the bundle, or why not; without `imports` a broken package goes unnoticed.

    Raises:
        OptionError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    wanted = _AUTO_PRECISION if precision == "auto" else precision
    plan = _fitting_plan(bundle, candidate, wanted)
    if plan is None:  # this first: no installation would mend it
        return Decision(candidate.name, "rejected", _no_artifact(bundle, candidate, wanted))
    availability = candidate.probe() if imports else candidate.installed()
    if not availability.ok:
        return Decision(candidate.name, "rejected", availability.reason, availability.fix)
    return plan


def _fitting_plan(bundle: Bundle, candidate: Backend, precision: str) -> Plan | None:
    for format_ in candidate.formats:
        fitting = [
            artifact
            for artifact in bundle.manifest.artifacts
            if (artifact.format, artifact.precision) == (format_, precision)
        ]
        any_length = next((artifact for artifact in fitting if artifact.frames is None), None)
        if any_length is not None:
            one_frame = next((artifact for artifact in fitting if artifact.frames == 1), any_length)
            return Plan(candidate, one_frame, any_length)
    return None


def _select_named(bundle: Bundle, candidate: Backend, precision: str) -> Selection:
    plan = plan_for(bundle, candidate, precision)
    if isinstance(plan, Decision):
        fix = f". To mend it: {plan.fix}" if plan.fix else ""
        raise BackendUnavailableError(
            f"backend {candidate.name!r} was asked for and can't run bundle {bundle.name}: {plan.reason}{fix}"
        )
    return Selection(plan, (Decision(candidate.name, "chosen", "asked for by name"),))


def _no_artifact(bundle: Bundle, candidate: Backend, precision: str) -> str:
    offers = ", ".join(
        f"{artifact.name} ({artifact.format}, {artifact.precision})" for artifact in bundle.manifest.artifacts
    )
    formats = " or ".join(candidate.formats)
    return f"needs an artifact of any length in format {formats} at {precision}; the bundle has {offers}"
