"""How much of what the float network predicts an artifact of lower precision keeps: the gate of DESIGN.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from uva_edge.golden import Golden
from uva_edge.manifest import Contract
from uva_edge.metrics import nss, resize_map
from uva_edge.runtimes.agreement import LARGEST_NSS_LOSS, LEAST_CC, correlations
from uva_edge.runtimes.backend import Frames, Maps, Run, first_state
from uva_edge.runtimes.chaining import run_chained

from .calibration import Evidence


@dataclass(frozen=True)
class Fidelity:
    """What an artifact keeps of the float32 predictions.

    Attributes:
        cc_stills: mean CC with the float maps over stills.
        cc_clips: over the frames of chained moving clips; `cc_worst_clip` is the mean of the worst of them.
        cc_golden: the least of the frames of the golden clip, chained: what `uva-edge verify` asks on a device.
        nss: on the fixations of the stills, and `nss_float` that of the float maps.
    """

    cc_stills: float
    cc_clips: float
    cc_worst_clip: float
    cc_golden: float
    nss: float
    nss_float: float

    @property
    def nss_loss(self) -> float:
        """Relative to the float network; negative is a gain."""
        return 1 - self.nss / self.nss_float

    def misses(self) -> list[str]:
        """What of the gate is missed, as sentences; empty is a pass."""
        missed = [
            f"{name} {value:.4f} < {LEAST_CC}"
            for name, value in (
                ("CC on stills", self.cc_stills),
                ("CC on moving clips", self.cc_clips),
                ("CC on the worst frame of the golden clip", self.cc_golden),
            )
            if not value >= LEAST_CC
        ]
        if not self.nss_loss <= LARGEST_NSS_LOSS:
            missed.append(
                f"NSS {self.nss:.3f} loses {self.nss_loss:.1%} of {self.nss_float:.3f}, more than 1%"
            )
        return missed

    @property
    def margin(self) -> float:
        """What is left until the nearest bar of the gate; negative is a miss."""
        least = min(self.cc_stills, self.cc_clips, self.cc_golden)
        return min(least - LEAST_CC, LARGEST_NSS_LOSS - self.nss_loss)

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self), "nss_loss": self.nss_loss}


GATED: Final = (*Fidelity.__dataclass_fields__, "nss_loss")
"""What `Fidelity.as_dict` holds."""


class Judge:
    """Compares artifacts with a float reference on the same evidence."""

    def __init__(self, evidence: Evidence, contract: Contract, reference: Run, golden: Golden) -> None:
        self._evidence, self._contract, self._golden = evidence, contract, golden
        self._clips = [self._chained(reference, clip) for clip in evidence.clips]
        self._stills = self._pictures(reference)
        self._nss = self._score(self._stills)

    @property
    def perfect(self) -> Fidelity:
        """Of the reference itself."""
        return Fidelity(
            cc_stills=1, cc_clips=1, cc_worst_clip=1, cc_golden=1, nss=self._nss, nss_float=self._nss
        )

    def __call__(self, run: Run) -> Fidelity:
        pairs = zip(self._evidence.clips, self._clips, strict=True)
        clips = [correlations(self._chained(run, clip), expected) for clip, expected in pairs]
        stills = self._pictures(run)
        golden = self._chained(run, self._golden.frames)[self._golden.mapped]
        return Fidelity(
            cc_stills=float(correlations(stills, self._stills).mean()),
            cc_clips=float(np.concatenate(clips).mean()),
            cc_worst_clip=min(float(values.mean()) for values in clips),
            cc_golden=float(correlations(golden, self._golden.maps).min()),
            nss=self._score(stills),
            nss_float=self._nss,
        )

    def _chained(self, run: Run, clip: Frames) -> Maps:
        """One frame at a time, as a camera gives them."""
        return run_chained(run, self._contract, clip, 1)[0]

    def _pictures(self, run: Run) -> Maps:
        """Each still as the first frame of a stream of its own."""
        stills = (still.frame for still in self._evidence.stills)
        return np.concatenate([run(frame, first_state(self._contract, run, frame))[0] for frame in stills])

    def _score(self, maps: Maps) -> float:
        pairs = zip(maps, self._evidence.stills, strict=True)
        # A constant map says nothing about where people look: its NSS is 0, and `nss` gives that.
        return float(np.mean([nss(resize_map(found, still.size), still.fixations) for found, still in pairs]))
