"""Which backend runs a bundle here: every candidate is taken, or rejected with the reason.

An explicit backend either runs or raises: nothing falls back. `auto` ranks by processor class and takes the
first that the machine can run; `fastest` measures all of them (see `uva_edge.runtimes.fastest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from uva_edge.bundle import Bundle
from uva_edge.environment import probe_cpu
from uva_edge.errors import BackendUnavailableError, NoBackendError, OptionError
from uva_edge.manifest import Artifact

from .agreement import LARGEST_NSS_LOSS, LEAST_CC
from .backend import Backend
from .engines import build_command
from .registry import BACKENDS, GPU, INT8_FASTER, PRIORITY, backend, runs_family

Verdict: TypeAlias = Literal["chosen", "possible", "rejected"]

PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16", "int8")
_AUTO_PRECISION: Final = "fp32"
_NOTHING_REFUSED: Final[Mapping[tuple[str, str], str]] = MappingProxyType({})


@dataclass(frozen=True)
class Plan:
    """A backend with the artifacts that it would run: `step` for one frame at a time, `clip` for many."""

    backend: Backend
    step: Artifact
    clip: Artifact


@dataclass(frozen=True)
class Candidate:
    """A backend at a precision; as text its name, and the precision where another than float32 came up by itself."""

    backend: str
    precision: str
    label: str


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
    refused: Mapping[tuple[str, str], str] = _NOTHING_REFUSED,
) -> Selection:
    """Choose a backend for a bundle: one by name, or the best that this machine can run for ``auto``.

    Args:
        refused: (backend, artifact) -> reason, of those that ``auto`` passes over: their engines refused them.

    Raises:
        OptionError: an unknown backend or precision.
        BackendUnavailableError: the named backend can't run the bundle here; the message says how to mend it.
        NoBackendError: for ``auto``, when no backend is left; the message holds every reason.
    """
    if name != "auto":
        return _select_named(bundle, backend(name), precision)
    order, processor = candidates(bundle, precision), probe_cpu().processor_class
    decisions: list[Decision] = []
    chosen, best = None, ""
    for rank, candidate in enumerate(order, start=1):
        label = candidate.label
        plan = plan_for(bundle, BACKENDS[candidate.backend], candidate.precision, imports=chosen is None)
        if isinstance(plan, Decision):
            decisions.append(replace(plan, backend=label))
        elif words := refused.get((candidate.backend, plan.step.name)):
            decisions.append(Decision(label, "rejected", words))
        elif chosen is None:
            chosen, best = plan, label
            reason = f"rank {rank} of {len(order)} on {processor}, runs {plan.step.name}"
            decisions.append(Decision(label, "chosen", reason))
        else:
            reason = f"rank {rank} of {len(order)} on {processor}, after {best}"
            decisions.append(Decision(label, "possible", reason))
    if chosen is None:
        raise nothing_left(bundle, precision, decisions)
    return Selection(chosen, tuple(decisions))


def nothing_left(bundle: Bundle, precision: str, decisions: Iterable[Decision]) -> NoBackendError:
    """The error with every reason."""
    reasons = "\n".join(f"  {decision}" for decision in decisions)
    return NoBackendError(
        f"no backend can run bundle {bundle.name} at precision {precision} here:\n{reasons}"
    )


def candidates(bundle: Bundle, precision: str, *, unmeasured: bool = False) -> tuple[Candidate, ...]:
    """What ``auto`` tries on this processor, best first.

    With the precision ``auto`` that is float32, and INT8 before it where the gate was passed at export and the
    backend's INT8 measured faster on such a processor; `unmeasured` adds all other INT8, to be measured here. A GPU
    comes before both.
    """
    processor = probe_cpu().processor_class
    ranked = PRIORITY[processor]
    if precision != "auto":
        return tuple(Candidate(name, precision, name) for name in ranked)
    able = [name for name in ranked if _gated_int8(bundle, BACKENDS[name])]
    faster = [name for name in able if unmeasured or name in INT8_FASTER.get(processor, ())]
    integer = [Candidate(name, "int8", f"{name} (int8)") for name in faster]
    floats = [Candidate(name, _AUTO_PRECISION, name) for name in ranked]
    on_gpu = [candidate for candidate in floats if candidate.backend in GPU]
    return (*on_gpu, *integer, *(candidate for candidate in floats if candidate not in on_gpu))


def _gated_int8(bundle: Bundle, backend: Backend) -> bool:
    plan = fitting_plan(bundle, backend, "int8")
    if plan is None:
        return False
    found = plan.step.parity
    correlated = all(found.get(name, 0.0) >= LEAST_CC for name in ("cc_stills", "cc_clips", "cc_golden"))
    return correlated and found.get("nss_loss", 1.0) <= LARGEST_NSS_LOSS


def plan_for(bundle: Bundle, candidate: Backend, precision: str, *, imports: bool = True) -> Plan | Decision:
    """How a backend would run the bundle, or why not; without `imports` a broken package goes unnoticed.

    Raises:
        OptionError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    family = bundle.manifest.network.family
    if not runs_family(candidate.name, family):
        return Decision(candidate.name, "rejected", f"it runs no networks of the family {family}")
    wanted = _AUTO_PRECISION if precision == "auto" else precision
    plan = fitting_plan(bundle, candidate, wanted)
    if plan is None:  # this first: no installation would mend it, unless there is no GPU at all
        found = candidate.installed()
        if candidate.name in GPU and not found.ok:
            return Decision(candidate.name, "rejected", found.reason, found.fix)
        return _no_artifact(bundle, candidate, wanted)
    availability = candidate.probe() if imports else candidate.installed()
    if not availability.ok:
        return Decision(candidate.name, "rejected", availability.reason, availability.fix)
    return plan


def fitting_plan(bundle: Bundle, candidate: Backend, precision: str) -> Plan | None:
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


def _no_artifact(bundle: Bundle, candidate: Backend, precision: str) -> Decision:
    offers = ", ".join(
        f"{artifact.name} ({artifact.format}, {artifact.precision})" for artifact in bundle.manifest.artifacts
    )
    formats = " or ".join(candidate.formats)
    reason = f"needs an artifact of any length in format {formats} at {precision}; the bundle has {offers}"
    return Decision(
        candidate.name, "rejected", reason, build_command(bundle, candidate.formats[0], precision)
    )
