"""What is known of FER2013's pictures: their class by FER2013, and by what ten people saw in them (FER+)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy.metrics import Labels, Numbers
from benchmarks.accuracy.readings import Convention
from converters.training.fer2013 import LABELS, Split, emotion_votes, majorities
from edge.errors import ConfigError
from edge.result import EMOTIONS


@dataclass(frozen=True)
class Truth:
    """The pictures of a split whose class is known by one convention.

    Attributes:
        convention: Whose labels.
        rows: int64[M], their places in the split.
        emotion: int64[M], indices into `edge.result.EMOTIONS`.
        shares: float64[M, 7]: of the votes for those seven; None for FER2013's own labels.
    """

    convention: Convention
    rows: Labels
    emotion: Labels
    shares: Numbers | None = None


def fer2013_truth(split: Split) -> Truth:
    """Return FER2013's own class of each picture that has one."""
    rows = np.flatnonzero(split.labels >= 0)
    emotion_of_label = np.array([EMOTIONS.index(label) for label in LABELS])
    return Truth("fer2013", rows, emotion_of_label[split.labels[rows]])


def clear_majorities(split: Split) -> Truth:
    """Return what more than half of the people saw, where that is one of the seven, see `converters.training.fer2013.majorities`.

    Raises:
        ConfigError: The votes of FER+ are not at hand.
    """
    if split.votes is None:
        raise ConfigError(
            "--data holds no votes of FER+",
            hint="an .npz with uint8 ferplus_votes[N,10], or FER+'s fer2013new.csv beside Kaggle's table (github.com/microsoft/FERPlus)",
        )
    emotion = majorities(split.votes)
    rows = np.flatnonzero(emotion >= 0)
    votes = emotion_votes(split.votes[rows])
    return Truth("seen", rows, emotion[rows], votes / votes.sum(axis=1, keepdims=True))
