"""What a viewer may switch to: bundles by name, and of backends and precisions those that can run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from uva_edge.bundle import Bundle, shipped_bundles
from uva_edge.errors import OptionError

from ..predictor import SaliencyPredictor, Stream
from ..registry import BACKENDS
from ..selection import PRECISIONS, Decision, plan_for


@dataclass(frozen=True)
class Choice:
    """What is asked of a `SaliencyPredictor`."""

    bundle: str
    backend: str = "auto"
    precision: str = "auto"

    def __str__(self) -> str:
        return f"{self.bundle}, backend {self.backend}, precision {self.precision}"


@dataclass(frozen=True)
class Engine:
    """A predictor and its stream, which is that of the one source."""

    choice: Choice
    predictor: SaliencyPredictor
    stream: Stream

    def as_dict(self) -> dict[str, Any]:
        """JSON values: what was asked for, what runs, and why."""
        predictor = self.predictor
        return {
            "asked": asdict(self.choice),
            "bundle": predictor.bundle.name,
            "grid": list(predictor.grid),
            "explain": [str(decision) for decision in predictor.decisions],
            **predictor.info.as_dict(),
        }


class Choices:
    """The bundles that ship and the one that was given, on this machine's backends.

    A viewer names one of these and nothing else, least of all a path.

    Args:
        given: the name or path of a bundle, the first of the list.
        threads: of the engines.
    """

    def __init__(self, given: str, threads: int = 1) -> None:
        self._bundles = (given, *(name for name in shipped_bundles() if name != given))
        self._threads = threads

    def open(self, choice: Choice) -> Engine:
        """Load it, which may take seconds.

        Raises:
            OptionError: a bundle that is not of the list, or one without live maps.
            UvaEdgeError: whatever else `SaliencyPredictor` raises.
        """
        if choice.bundle not in self._bundles:
            raise OptionError(f"bundle must be one of {', '.join(self._bundles)}; got {choice.bundle[:80]!r}")
        predictor = SaliencyPredictor(
            choice.bundle, backend=choice.backend, precision=choice.precision, threads=self._threads
        )
        try:
            return Engine(choice, predictor, predictor.stream())
        except BaseException:
            predictor.close()
            raise

    def offers(self, engine: Engine) -> dict[str, Any]:
        """JSON values: what the engine could be switched to, one thing at a time.

        `bundles` is a list of names, `backends` and `precisions` map a name to why it can't run here, or to "".
        """
        choice, bundle = engine.choice, engine.predictor.bundle
        backends = {name: self._why_not(bundle, name, choice.precision) for name in BACKENDS}
        precisions = {name: self._why_not(bundle, choice.backend, name) for name in PRECISIONS}
        return {
            "bundles": list(self._bundles),
            "backends": {"auto": "", "fastest": "", **backends},
            "precisions": precisions,
        }

    def _why_not(self, bundle: Bundle, backend: str, precision: str) -> str:
        candidates: Mapping[str, Any] = {backend: BACKENDS[backend]} if backend in BACKENDS else BACKENDS
        # Nothing is imported for this: that a package is broken shows when it is chosen.
        plans = [plan_for(bundle, candidate, precision, imports=False) for candidate in candidates.values()]
        refusals = [plan for plan in plans if isinstance(plan, Decision)]
        if len(refusals) < len(plans):
            return ""
        if len(refusals) == 1:
            return f"{refusals[0].reason}{refusals[0].fix and '; ' + refusals[0].fix}"
        return f"no backend can run {bundle.name} at {precision} here"
