"""Sound as a picture, as document 004's networks see it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.frame import Samples
from edge.stage import Spectrogram

# Any number would do; a fixed one makes a result that can be had again.
_NOISE_SEED = 4


def spectrogram(samples: Samples, spec: Spectrogram) -> NDArray[np.float32]:
    """Compute the power of the sound over frequency and time.

    White noise is added; segments, their mean taken away, go through a tapered window and a Fourier transform; one-sided power, divided by its maximum, with
    frequency growing upwards and time to the right, is resized (bicubic, which overshoots a little). The factor that would make it a density cancels out.

    Args:
        samples: int16[n], one channel, at least one segment of them.
        spec: Segments, window, noise and size.

    Returns:
        float32[height, width], about in [0, 1].

    Source: the code of document 004, which adds noise of deviation 1, calls `scipy.signal.spectrogram` with its defaults (Tukey window 0.25, segments of 256
    samples that overlap by 32, constant detrending) and divides by the maximum.
    """
    noisy = samples + _noise(len(samples), spec.noise)
    segments = np.lib.stride_tricks.sliding_window_view(noisy, spec.segment)[:: spec.segment - spec.overlap]
    spectra = np.fft.rfft((segments - segments.mean(axis=1, keepdims=True)) * _tukey(spec.segment, spec.taper), axis=1)
    power = spectra.real**2 + spectra.imag**2
    # Negative frequencies count with the positive ones; 0 and, in an even segment, the highest have none.
    power[:, 1 : power.shape[1] - (spec.segment % 2 == 0)] *= 2
    picture = power.T[::-1] / power.max()
    return np.asarray(cv2.resize(picture, spec.size_wh_px, interpolation=cv2.INTER_CUBIC), dtype=np.float32)


@lru_cache(maxsize=4)
def _noise(n: int, deviation: float) -> NDArray[np.float64]:
    return np.random.default_rng(_NOISE_SEED).normal(0.0, deviation, n)


@lru_cache(maxsize=4)
def _tukey(n: int, taper: float) -> NDArray[np.float64]:
    """Periodic window: half a cosine over the part `taper`, one half of it at each end."""
    phase = np.arange(n) / n
    edge = np.minimum(phase, 1 - phase)
    return np.asarray(np.where(edge < taper / 2, (1 - np.cos(2 * np.pi * edge / max(taper, 1e-12))) / 2, 1.0))
