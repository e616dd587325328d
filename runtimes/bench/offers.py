"""What a bundle offers here: every backend in every precision that it has an artifact for, those that can't run with
the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uva_edge.bundle import Bundle

from ..agreement import TOLERANCES
from ..backend import Backend
from ..conformance import refusal_of
from ..registry import BACKENDS, backend
from ..selection import Plan, fitting_plan
from .report import Status


@dataclass(frozen=True)
class Offer:
    """A backend in one precision. `refusal`: why it can't run here, as a status and a sentence."""

    plan: Plan
    precision: str
    refusal: tuple[Status, str] | None

    @property
    def backend(self) -> Backend:
        return self.plan.backend

    @property
    def name(self) -> str:
        """Of its row."""
        return f"{self.backend.name}/{self.precision}"


def offers(
    bundle: Bundle,
    backends: Sequence[str] = tuple(BACKENDS),
    precisions: Sequence[str] = tuple(TOLERANCES),
    threads: int = 1,
) -> list[Offer]:
    """In the order of the registry.

    Args:
        backends, precisions: those to take, by name.
        threads: of the engine.

    Raises:
        OptionError: there is no backend of such a name.
    """
    found = []
    for candidate in map(backend, backends):
        plans = {precision: fitting_plan(bundle, candidate, precision) for precision in precisions}
        fitting = {precision: plan for precision, plan in plans.items() if plan is not None}
        if fitting:
            refusal = refusal_of(bundle, candidate, threads)
            found += [Offer(plan, precision, refusal) for precision, plan in fitting.items()]
    return found
