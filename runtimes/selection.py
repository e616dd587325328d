"""Which backend runs a bundle here: every candidate is taken, or rejected with the reason.

An explicit backend either runs or raises: nothing falls back. `auto` ranks by processor class and takes the
first that the machine can run; `fastest` measures all of them (see `uva_edge.runtimes.fastest`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from uva_edge.bundle import Bundle
from uva_edge.environment import Availability, probe_cpu
from uva_edge.errors import BackendUnavailableError, NoBackendError, OptionError
from uva_edge.manifest import Artifact

from .backend import Backend
from .registry import BACKENDS, PRIORITY, backend

PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16", "int8")
_AUTO_PRECISION: Final = "fp32"


@dataclass(frozen=True)
class Plan:
    """A backend with the artifacts that it would run: `step` for one frame at a time, `clip` for many."""

    backend: Backend
    step: Artifact
    clip: Artifact

    @property
    def title(self) -> str:
        return f"{self.backend.name} ({self.step.name})"


@dataclass(frozen=True)
class Decision:
    """One line of an explanation."""

    backend: str
    verdict: str
    """``chosen``, ``possible``, ``rejected``."""
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


def select(bundle: Bundle, name: str = "auto", precision: str = "auto") -> Selection:
    """Choose a backend for a bundle: one by name, or the best that this machine can run for ``auto``.

    Raises:
        OptionError: an unknown backend or precision.
        BackendUnavailableError: the named backend can't run the bundle here; the message says how to mend it.
        NoBackendError: for ``auto``, when no backend is left; the message holds every reason.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    if name != "auto":
        return _select_named(bundle, backend(name), precision)
    order = ranking()
    decisions: list[Decision] = []
    chosen: Plan | None = None
    for rank, candidate in enumerate(order, start=1):
        plan = plan_for(bundle, BACKENDS[candidate], precision, imports=chosen is None)
        if isinstance(plan, Decision):
            decisions.append(plan)
        elif chosen is None:
            chosen = plan
            reason = f"rank {rank} of {len(order)} on {probe_cpu().processor_class}, runs {plan.step.name}"
            decisions.append(Decision(candidate, "chosen", reason))
        else:
            reason = f"rank {rank}, after {chosen.backend.name} on {probe_cpu().processor_class}"
            decisions.append(Decision(candidate, "possible", reason))
    if chosen is None:
        raise NoBackendError(
            f"no backend can run bundle {bundle.name} at precision {precision} here:\n"
            + "\n".join(f"  {decision}" for decision in decisions)
        )
    return Selection(chosen, tuple(decisions))


def ranking() -> tuple[str, ...]:
    """Names of the backends in the order in which ``auto`` tries them on this processor."""
    return PRIORITY[probe_cpu().processor_class]


def plan_for(bundle: Bundle, candidate: Backend, precision: str, *, imports: bool = True) -> Plan | Decision:
    """How a backend would run the bundle, or why not; without `imports` a broken package goes unnoticed."""
    availability = candidate.probe() if imports else candidate.installed()
    if not availability.ok:
        return _unavailable(candidate, availability)
    wanted = _AUTO_PRECISION if precision == "auto" else precision
    for format_ in candidate.formats:
        of_format = [artifact for artifact in bundle.manifest.artifacts if artifact.format == format_]
        fitting = [artifact for artifact in of_format if artifact.precision == wanted]
        any_length = next((artifact for artifact in fitting if artifact.frames is None), None)
        if any_length is not None:
            one_frame = next((artifact for artifact in fitting if artifact.frames == 1), any_length)
            return Plan(candidate, one_frame, any_length)
    return Decision(candidate.name, "rejected", _no_artifact(bundle, candidate, wanted))


def _select_named(bundle: Bundle, candidate: Backend, precision: str) -> Selection:
    plan = plan_for(bundle, candidate, precision)
    if isinstance(plan, Decision):
        fix = f" To mend it: {plan.fix}" if plan.fix else ""
        raise BackendUnavailableError(
            f"backend {candidate.name!r} was asked for and can't run bundle {bundle.name}: {plan.reason}.{fix}"
        )
    return Selection(plan, (Decision(candidate.name, "chosen", "asked for by name"),))


def _unavailable(candidate: Backend, availability: Availability) -> Decision:
    return Decision(candidate.name, "rejected", availability.reason, availability.fix)


def _no_artifact(bundle: Bundle, candidate: Backend, precision: str) -> str:
    offers = ", ".join(
        f"{artifact.name} ({artifact.format}, {artifact.precision})" for artifact in bundle.manifest.artifacts
    )
    formats = " or ".join(candidate.formats)
    return f"needs an artifact of any length in format {formats} at {precision}; the bundle has {offers}"

