"""Write pysaliency_scores.json: what pysaliency gives for maps that a test scores again.

    pip install pysaliency==0.2.22 torch; python tests/golden/pysaliency_scores.py

It is no dependency of the tests, for it brings numba, SciPy and torch and is built on the spot. The maps are
in the file too, so the test needs nothing but it. Only pysaliency's conventions that are ours too are compared:

- AUC is `pysaliency.roc.general_roc` (trapezoid area over all thresholds, so ties count half) of fixated pixels
  against the pixels that Judd takes, those that are not fixated; `SaliencyMapModel.AUC` takes all pixels.
- KLD is `MIT_KLDiv`. Its regularisation is 2.2204e-16, ours 2**-52 = 2.22045e-16; and where the map is zero and
  the density is not, the value is a matter of that number.
- CC with a constant map is 0; with a constant density it is NaN there and 0 here, and is left out.
- NSS of a constant map is 0, but -1 there for constants whose mean is rounded, such as 0.7: 0.75 is taken.
- A map with negative values is shifted by SIM and KLD there and refused here; it is left out.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pysaliency.metrics import CC, NSS, SIM, MIT_KLDiv
from pysaliency.roc import general_roc

SHAPE = (9, 12)


def maps(rng: np.random.Generator) -> dict[str, np.ndarray]:
    one_pixel = np.zeros(SHAPE)
    one_pixel[4, 7] = 3.0
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    return {
        "random": rng.random(SHAPE),
        "random, heavy tail": rng.random(SHAPE) ** 8 * 1000,
        "few levels": rng.integers(0, 3, SHAPE).astype(float),
        "sparse": np.where(rng.random(SHAPE) < 0.1, rng.random(SHAPE), 0.0),
        "smooth": np.exp(-(((x - 6) / 3) ** 2) - ((y - 4) / 2) ** 2),
        "one pixel": one_pixel,
        "constant": np.full(SHAPE, 0.75),
        "zero": np.zeros(SHAPE),
    }


def fixations(rng: np.random.Generator) -> dict[str, np.ndarray]:
    some = np.stack([rng.integers(0, side, 15) for side in SHAPE], axis=1)
    return {"fifteen": some, "one": some[:1], "repeated": np.concatenate([some[:4], some[:2], some[:2]])}


def judd(saliency: np.ndarray, points: np.ndarray) -> float:
    others = np.ones(saliency.shape, bool)
    others[tuple(points.T)] = False
    return float(general_roc(saliency[tuple(points.T)], saliency[others])[0])


def main() -> None:
    rng = np.random.default_rng(20)
    scored, densities = maps(rng), {name: m for name, m in maps(rng).items() if m.any()}
    points, negatives = fixations(rng), np.stack([rng.integers(0, side, 60) for side in SHAPE], axis=1)
    scores = []
    for name, saliency in scored.items():
        for key, at in points.items():
            values = {
                "nss": float(NSS(saliency, at[:, 1], at[:, 0]).mean()),
                "auc_judd": judd(saliency, at),
                "auc_shuffled": float(general_roc(saliency[tuple(at.T)], saliency[tuple(negatives.T)])[0]),
            }
            scores += [(metric, name, key, value) for metric, value in values.items()]
        for key, density in densities.items():
            with np.errstate(divide="ignore"):  # it takes the logarithm of zeros, and its exponential
                divergence = float(MIT_KLDiv(saliency, density))
            values = {"sim": float(SIM(saliency, density)), "kld": divergence}
            if np.ptp(density):
                values["cc"] = float(CC(saliency, density))
            scores += [(metric, name, key, value) for metric, value in values.items()]
    document = {
        "versions": {name: version(name) for name in ("pysaliency", "numpy", "numba")},
        "maps": {name: saliency.tolist() for name, saliency in scored.items()},
        "densities": {name: density.tolist() for name, density in densities.items()},
        "fixations": {name: at.tolist() for name, at in points.items()},
        "negatives": negatives.tolist(),
        "scores": scores,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(document, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
