"""The shipped weights on human fixations and real clips, where the data lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uva_edge import SaliencyPredictor
from uva_edge.data.still_images import list_stills
from uva_edge.data.teacher_clips import list_clips
from uva_edge.metrics import auc_judd, cc, fixation_density, fixation_pixels, nss, resize_map

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

pytestmark = pytest.mark.skipif(not (DATA / "images.csv").exists(), reason=f"no data at {DATA}")


@pytest.mark.parametrize(
    ("bundle", "dataset", "least"),
    [
        ("uva-64", "osie", {"nss": 2.00, "cc": 0.63, "auc": 0.86}),
        ("uva-64", "sun500", {"nss": 1.60, "cc": 0.69}),
        ("uva-32", "osie", {"nss": 1.78, "cc": 0.59, "auc": 0.84}),
    ],
)
def test_unseen_stills(bundle: str, dataset: str, least: dict[str, float]) -> None:
    """Each still by itself, through the whole runtime, at the still's own size."""
    scores: dict[str, list[float]] = {"nss": [], "cc": [], "auc": []}
    with SaliencyPredictor(bundle) as predictor:
        for still in list_stills(DATA, "val", dataset=dataset):
            (frame,) = still.read()
            assert frame.fixations is not None
            saliency = predictor.predict(frame.image)
            resized, fixations = resize_map(saliency.map, saliency.size), frame.fixations
            pixels = fixation_pixels(fixations, saliency.size)
            scores["nss"].append(nss(resized, pixels))
            scores["cc"].append(cc(resized, fixation_density(fixations, saliency.size)))
            scores["auc"].append(auc_judd(resized, pixels))
    assert len(scores["nss"]) == {"osie": 100, "sun500": 80}[dataset]
    for metric, value in least.items():
        assert np.mean(scores[metric]) >= value, metric


@pytest.mark.parametrize(("bundle", "least"), [("uva-64", 0.88), ("uva-32", 0.84)])
def test_maps_of_unseen_clips_follow_the_teacher(bundle: str, least: float) -> None:
    """Chained, on all validation clips."""
    scores = []
    with SaliencyPredictor(bundle) as predictor:
        for clip in list_clips(DATA, "val"):
            frames = list(clip.read())
            maps = predictor.predict_clip([frame.image for frame in frames])
            found = []
            for frame, small in zip(frames, maps, strict=True):
                assert frame.teacher is not None
                height, width = frame.teacher.shape
                found.append(cc(resize_map(small, (width, height)), frame.teacher.astype(np.float32)))
            scores.append(np.mean(found))
    assert np.mean(scores) >= least
