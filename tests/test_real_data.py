"""The shipped weights on human fixations and real clips, where the data lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uva_edge import SaliencyPredictor
from uva_edge.data.still_images import list_stills
from uva_edge.data.teacher_clips import list_clips
from uva_edge.metrics import cc, fixation_density, fixation_pixels, nss, resize_map

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

pytestmark = pytest.mark.skipif(not (DATA / "images.csv").exists(), reason=f"no data at {DATA}")


@pytest.mark.parametrize(("bundle", "least"), [("uva-64", 1.80), ("uva-32", 1.55)])
def test_nss_on_unseen_stills(bundle: str, least: float) -> None:
    """Each still by itself, through the whole runtime, at the still's own size."""
    scores, correlations = [], []
    with SaliencyPredictor(bundle) as predictor:
        for still in list_stills(DATA, "val", dataset="osie"):
            (frame,) = still.read()
            assert frame.fixations is not None
            saliency = predictor.predict(frame.image)
            resized = resize_map(saliency.map, saliency.size)
            scores.append(nss(resized, fixation_pixels(frame.fixations, saliency.size)))
            correlations.append(cc(resized, fixation_density(frame.fixations, saliency.size)))
    assert len(scores) == 100
    assert np.mean(scores) >= least
    assert np.mean(correlations) >= 0.45


@pytest.mark.parametrize("bundle", ["uva-64", "uva-32"])
def test_maps_of_unseen_clips_follow_the_teacher(bundle: str) -> None:
    """Chained, on every fourth validation clip; far above what a centred blob gets."""
    ours, centre = [], []
    with SaliencyPredictor(bundle) as predictor:
        for clip in list_clips(DATA, "val")[::4]:
            frames = list(clip.read())
            maps = predictor.predict_clip([frame.image for frame in frames])
            for frame, small in zip(frames, maps, strict=True):
                assert frame.teacher is not None
                teacher = frame.teacher.astype(np.float32)
                height, width = teacher.shape
                y, x = np.mgrid[0:height, 0:width]
                blob = np.exp(-(((x / width - 0.5) / 0.2) ** 2) - ((y / height - 0.5) / 0.2) ** 2)
                ours.append(cc(resize_map(small, (width, height)), teacher))
                centre.append(cc(blob, teacher))
    assert np.mean(ours) > 0.7
    assert np.mean(ours) > np.mean(centre) + 0.1
