"""Saliency in the frequency domain: what repeats is a peak of the amplitude spectrum, what stands out is not.

All three keep the phase of the spectrum and change its amplitude: the spectral residual ([SR] Hou & Zhang,
"Saliency Detection: A Spectral Residual Approach", CVPR 2007) keeps what is left of the log amplitude after its
local mean; PQFT ([PQFT] Guo & Zhang, IEEE TIP 19(1), 2010) sets it to 1; HFT ([HFT] Li et al., IEEE TPAMI
35(4), 2013, arXiv 1605.01999) smooths it, at the scale that gives the clearest map.

PQFT and HFT transform four planes at once, as the quaternion ``q = a + b i + c j + d k`` of each pixel. It is
the pair of complex planes ``a + b i`` and ``c + d i`` (``q = (a + b i) + (c + d i) j``), and the left-sided
hypercomplex Fourier transform with the axis i is the complex transform of each: [PQFT] computes it so. Real
factors on a spectrum change its amplitude and leave its phase and its eigenaxis.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .frame import Image, Map, Plane, intensity, shrunk, smoothed, still_baseline

_SMALL: Final = 64
"""Side of the picture in [SR] and [PQFT]; in [HFT] it is `_LARGE`."""
_LARGE: Final = 128
_SMALL_SIGMA: Final = 2.5
_LATENCY: Final = 3
"""Frames between the two that [PQFT] compares."""
_HFT_SMOOTHING: Final = 0.05 * _LARGE
_ENTROPY_SMOOTHING: Final = 0.01 * _LARGE
"""[HFT] for fixations; 0.02 for the regions of objects."""
_NOTHING: Final = 1e-6
"""Amplitudes below this part of the largest are rounding errors: they have no phase."""


# --- spectral residual ------------------------------------------------------------------------------------


@still_baseline
def spectral_residual(image: Image) -> Map:
    """The square of the picture whose log amplitude is the spectral residual, at 64x64 ([SR]).

    The residual is the log amplitude less its 3x3 mean. [SR] gives a sigma of 8 pixels for the last Gaussian;
    its authors' demonstration has 2.5, which predicts fixations better and is used here.
    """
    spectrum = np.fft.fft2(intensity(shrunk(image, _SMALL)))
    amplitude = np.abs(spectrum)
    floor = _NOTHING * amplitude.max()
    logarithm = np.log(np.maximum(amplitude, max(floor, np.finfo(np.float64).tiny)))
    # The spectrum is periodic: its neighbourhoods go around its borders.
    around = cv2.copyMakeBorder(logarithm, 1, 1, 1, 1, cv2.BORDER_WRAP)
    residual = logarithm - cv2.blur(around, (3, 3))[1:-1, 1:-1]
    picture = np.fft.ifft2(_with_amplitude(spectrum, amplitude, np.exp(residual)))
    return smoothed(np.square(np.abs(picture)).astype(np.float32), _SMALL_SIGMA)


# --- quaternion pictures ----------------------------------------------------------------------------------


def pqft(frames: Iterable[Image]) -> Iterator[Map]:
    """The square of the picture that the phase alone makes, at 64x64, with motion as one channel ([PQFT]).

    ``q = M + RG i + BY j + I k`` with the motion M, the absolute difference in intensity from the frame three
    before (from the first frame while there is none, so a still has no motion).
    """
    past: deque[Plane] = deque(maxlen=_LATENCY + 1)
    for frame in frames:
        grey, red_green, blue_yellow = _opponents(shrunk(frame, _SMALL))
        past.append(grey)
        spectrum = _transform(np.abs(grey - past[0]), red_green, blue_yellow, grey)
        phase = _with_amplitude(spectrum, _modulus(spectrum), np.ones(()))
        yield smoothed(_energy(phase), _SMALL_SIGMA)


@still_baseline
def hft(image: Image) -> Map:
    """The square of the picture whose amplitude is smoothed at the best of eight scales, at 128x128 ([HFT]).

    ``q = 0.25 RG i + 0.25 BY j + 0.5 I k``. The scale k smooths the log amplitude by a Gaussian of
    ``sigma = 2**(k - 2)``, k = 1..8: a wide one spares small salient regions, a narrow one large ones. ([HFT]
    smooths the amplitude itself, its authors' demonstration the logarithm.) The best has the least entropy,
    divided by the share of the map that lies under a central Gaussian, so that bright borders are not taken for
    clear maps.
    """
    grey, red_green, blue_yellow = _opponents(shrunk(image, _LARGE))
    spectrum = _transform(np.zeros_like(grey), 0.25 * red_green, 0.25 * blue_yellow, 0.5 * grey)
    amplitude = _modulus(spectrum)
    kernels = _circular_gaussians()
    log_amplitudes = kernels @ np.log1p(amplitude / _LARGE) @ kernels.transpose(0, 2, 1)
    candidates = (
        _energy(_with_amplitude(spectrum, amplitude, np.expm1(values) * _LARGE)) for values in log_amplitudes
    )
    return smoothed(min(candidates, key=_unclearness), _HFT_SMOOTHING)


def _opponents(bgr: NDArray[np.float32]) -> tuple[Plane, Plane, Plane]:
    """Intensity, red against green, blue against yellow ([PQFT] and [HFT] take the same broad tuning)."""
    blue, green, red = bgr[..., 0], bgr[..., 1], bgr[..., 2]
    yellow = np.maximum((red + green) / 2 - np.abs(red - green) / 2 - blue, 0)
    red_green = (red - (green + blue) / 2) - (green - (red + blue) / 2)
    blue_yellow = (blue - (red + green) / 2) - yellow
    return intensity(bgr), red_green, blue_yellow


def _transform(a: Plane, b: Plane, c: Plane, d: Plane) -> NDArray[np.complex128]:
    """[2, h, w]: the spectrum of the quaternion picture as its two complex planes."""
    return np.fft.fft2(np.stack((a + 1j * b, c + 1j * d)))


def _modulus(planes: NDArray[np.complex128]) -> NDArray[np.float64]:
    """[h, w]: the modulus of each quaternion."""
    return np.asarray(np.sqrt(np.square(np.abs(planes)).sum(axis=0)))


def _energy(spectrum: NDArray[np.complex128]) -> Plane:
    """The squared modulus of the picture of a spectrum."""
    return np.asarray(np.square(_modulus(np.fft.ifft2(spectrum))), np.float32)


def _with_amplitude(spectrum: NDArray[Any], old: NDArray[np.float64], new: NDArray[Any]) -> NDArray[Any]:
    factors = np.divide(new, old, out=np.zeros_like(old), where=old > _NOTHING * old.max())
    return np.asarray(spectrum * factors)


# --- the scale of HFT -------------------------------------------------------------------------------------


@cache
def _circular_gaussians() -> NDArray[np.float64]:
    """[8, n, n]: matrices whose products from both sides smooth a periodic plane, sigma 0.5, 1, ... 64."""
    distance = np.arange(_LARGE)[:, None] - np.arange(_LARGE)
    # Three periods on each side hold all of the widest.
    periods = distance[..., None] + _LARGE * np.arange(-4, 5)
    sigmas = 2.0 ** np.arange(-1, 7)
    kernels = np.exp(-0.5 * (periods / sigmas[:, None, None, None]) ** 2).sum(axis=-1)
    return np.asarray(kernels / kernels.sum(axis=-1, keepdims=True))


@cache
def _central_window() -> Plane:
    places = np.arange(_LARGE) - (_LARGE - 1) / 2
    bell = np.exp(-0.5 * (places / (_LARGE / 4)) ** 2)
    return np.outer(bell, bell).astype(np.float32)


def _unclearness(saliency: Plane) -> float:
    """The entropy of the smoothed map's 256 levels over the central share of its mass ([HFT])."""
    total = float(saliency.sum())
    if not total:
        return np.inf
    values = smoothed(saliency, _ENTROPY_SMOOTHING)
    low, high = float(values.min()), float(values.max())
    levels = np.rint(255 * (values - low) / ((high - low) or 1.0)).astype(np.int64)
    shares = np.bincount(levels.ravel(), minlength=256) / levels.size
    shares = shares[shares > 0]
    entropy = -float(np.sum(shares * np.log2(shares)))
    return entropy * total / float((saliency * _central_window()).sum())
