"""Scores of a network: on stills against human fixations, on clips against the teacher's maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from uva_edge.data.batches import whole_frame
from uva_edge.data.clips import Clip
from uva_edge.data.stills import Still
from uva_edge.errors import OptionError
from uva_edge.metrics import auc_judd, cc, fixation_density, fixation_pixels, nss, resize_map
from uva_edge.models.uva_net import Pairing, UvaNet, to_map

_CHUNK = 32


def predict_pairs(
    network: UvaNet, frames: NDArray[np.uint8], others: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Maps float32 [N, R, R] in [0, 1] for N pairs, in eval mode; the network's mode is put back after."""
    training = network.training
    network.eval()
    maps = []
    try:
        with torch.inference_mode():
            for start in range(0, len(frames), _CHUNK):
                part = slice(start, start + _CHUNK)
                logits = network(torch.from_numpy(frames[part]), torch.from_numpy(others[part]))
                maps.append(to_map(logits, network.config.output).numpy())
    finally:
        network.train(training)
    return np.concatenate(maps)


def score_stills(network: UvaNet, stills: Sequence[Still]) -> dict[str, float]:
    """NSS, CC and AUC-Judd at the images' size, each still paired with itself; means over the stills.

    Raises:
        OptionError: no stills, or a map that can't be scored since it holds NaN.
    """
    if not stills:
        raise OptionError("expected at least one still to score, got none")
    inputs = np.stack([whole_frame(still.image, network.config.resolution) for still in stills])
    scores = []
    for still, small in zip(stills, predict_pairs(network, inputs, inputs), strict=True):
        height, width = still.image.shape[:2]
        size = (width, height)
        saliency = resize_map(small, size)
        fixations = fixation_pixels(still.fixations, size)
        density = fixation_density(still.fixations, size)
        scores.append((nss(saliency, fixations), cc(saliency, density), auc_judd(saliency, fixations)))
    means = np.mean(scores, axis=0)
    return dict(zip(("nss", "cc", "auc"), map(float, means), strict=True))


def score_clips(network: UvaNet, clips: Iterable[Clip]) -> dict[str, float]:
    """CC with the teacher's maps at their size, the mean per clip and then over the clips.

    Raises:
        OptionError: no clips, or a map that can't be scored since it holds NaN.
    """
    per_clip = []
    for clip in clips:
        inputs = np.stack([whole_frame(frame, network.config.resolution) for frame in clip.frames])
        height, width = clip.teacher.shape[1:]
        maps = predict_pairs(network, inputs, _partners(inputs, network.config.pairing))
        per_clip.append(
            np.mean(
                [
                    cc(resize_map(saliency, (width, height)), teacher.astype(np.float32))
                    for saliency, teacher in zip(maps, clip.teacher, strict=True)
                ]
            )
        )
    if not per_clip:
        raise OptionError("expected at least one clip to score, got none")
    return {"cc": float(np.mean(per_clip))}


def _partners(inputs: NDArray[np.uint8], pairing: Pairing) -> NDArray[np.uint8]:
    """The frame before each frame, or the one after; at the end of the clip, the frame itself."""
    if pairing == "causal":
        return np.concatenate((inputs[:1], inputs[:-1]))
    return np.concatenate((inputs[1:], inputs[-1:]))
