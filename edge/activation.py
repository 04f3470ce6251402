"""Raw network outputs to probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.stage import Activation

# Logits beyond this are certain; the limit keeps exp() from overflowing. Source: MediaPipe's TensorsToDetectionsCalculator, score_clipping_thresh.
_LOGIT_LIMIT = 100.0


def activated(rows: NDArray[np.float32], activation: Activation) -> NDArray[np.float64]:
    """Apply a package's activation.

    Args:
        rows: float32[N, K] as the network gave them.
        activation: `none`, `sigmoid` or `softmax` (over each row).

    Returns:
        float64[N, K], a new array.
    """
    values = rows.astype(np.float64)
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(values, -_LOGIT_LIMIT, _LOGIT_LIMIT))), dtype=np.float64)
    if activation == "softmax":
        values = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(values / values.sum(axis=1, keepdims=True), dtype=np.float64)
    return values
