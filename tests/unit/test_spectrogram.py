"""The spectrogram of document 004, against the library that the document uses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.signal

from edge import spectrogram as module
from edge.frame import Samples
from edge.spectrogram import spectrogram
from edge.stage import Spectrogram

SPEC = Spectrogram(tensor="x", rate_hz=16000, duration_s=1.0, segment=256, overlap=32, taper=0.25, noise=1.0, size_wh_px=(98, 80))


def voice(n: int = 16000) -> Samples:
    t_s = np.arange(n) / 16000
    return np.asarray(6000 * np.sin(2 * np.pi * (300 + 900 * t_s) * t_s) + 2000 * np.sin(2 * np.pi * 3000 * t_s) * (t_s > 0.5), np.int16)


def as_the_document_does(samples: Samples, spec: Spectrogram) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    noisy = samples + np.random.default_rng(module._NOISE_SEED).normal(0, spec.noise, samples.shape)
    *_, power = scipy.signal.spectrogram(noisy, spec.rate_hz, window=("tukey", spec.taper), nperseg=spec.segment, noverlap=spec.overlap)
    upright = np.flipud(power)
    return np.asarray(cv2.resize(upright / np.amax(np.absolute(upright)), dsize=spec.size_wh_px, interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize(
    ("segment", "overlap", "taper", "size_wh_px"), [(256, 32, 0.25, (98, 80)), (255, 31, 0.5, (64, 64)), (128, 0, 1.0, (40, 20)), (64, 63, 0.0, (33, 65))]
)
def test_it_is_what_the_document_computes(segment: int, overlap: int, taper: float, size_wh_px: tuple[int, int]) -> None:
    spec = Spectrogram(tensor="x", rate_hz=16000, duration_s=1.0, segment=segment, overlap=overlap, taper=taper, noise=1.0, size_wh_px=size_wh_px)
    ours = spectrogram(voice(), spec)
    assert ours.dtype == np.float32
    assert ours.shape == (size_wh_px[1], size_wh_px[0])
    assert ours == pytest.approx(as_the_document_does(voice(), spec), abs=1e-6)


def test_scipys_defaults_are_the_documents_settings() -> None:
    *_, default = scipy.signal.spectrogram(voice().astype(np.float64), 16000)
    *_, ours = scipy.signal.spectrogram(voice().astype(np.float64), 16000, window=("tukey", SPEC.taper), nperseg=SPEC.segment, noverlap=SPEC.overlap)
    assert (default == ours).all()


def test_frequency_grows_upwards_and_time_to_the_right() -> None:
    t_s = np.arange(16000) / 16000
    tone = (8000 * np.sin(2 * np.pi * 6000 * t_s) * (t_s > 0.75)).astype(np.int16)
    row, column = np.unravel_index(spectrogram(tone, SPEC).argmax(), (80, 98))
    assert row == pytest.approx((1 - 6000 / 8000) * 80, abs=2)
    assert column > 0.74 * 98


def test_a_result_can_be_had_again_and_silence_is_noise() -> None:
    silence = np.zeros(16000, np.int16)
    first = spectrogram(silence, SPEC)
    assert np.isfinite(first).all()
    assert first.std() > 0.01
    assert (spectrogram(silence, SPEC) == first).all()
    assert (silence == 0).all()
