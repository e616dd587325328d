"""SSNet: the spatial stream of Bak et al., "Spatio-Temporal Saliency Networks for Dynamic Saliency Prediction"
(IEEE TMM 2018, arXiv 1607.04730). By the authors' network definition it is SalNet, trained on frames of video.
"""

from __future__ import annotations

from .salnet import SalNet


class SSNet(SalNet):
    """25,806,209 parameters, 320x240."""

    name = "ssnet"
