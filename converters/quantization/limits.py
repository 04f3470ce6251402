"""How far a network in a lower precision may be from its FP32, and where each limit comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MetricName = Literal[
    "non-finite numbers",
    "numbers the runtime refuses",
    "signal to noise",
    "label agreement",
    "label agreement, lower bound",
    "KL divergence",
    "accuracy lost",
    "action unit error",
    "action unit error, root mean square",
    "action unit correlation",
    "score error",
    "score error, root mean square",
    "score correlation",
    "landmark error",
    "landmark error, 95th percentile",
    "head pose error",
    "head pose error, 95th percentile",
    "presence agreement",
    "detections agreed",
    "eye position error",
    "detection score error",
    "embedding cosine",
]


@dataclass(frozen=True)
class Limit:
    """How far a number may be from what equal networks would give.

    Attributes:
        value: Still allowed.
        ideal: What equal networks give.
        unit: Of both; empty for parts of one and counts.
        why: Where the value comes from.
    """

    value: float
    ideal: float
    unit: str
    why: str


# The figures of `default` and ResNet18 are over the default calibration set's held-out part, 160 pictures.
LIMITS: Mapping[MetricName, Limit] = {
    "non-finite numbers": Limit(0, 0, "", "a network that overflows gives no number at all"),
    "numbers the runtime refuses": Limit(0, 0, "", "scores outside of 0 to 1 end a run of edge-run: see edge.estimate"),
    "signal to noise": Limit(
        15,
        math.inf,
        "dB",
        "of packages that were never trained. An untrained ResNet18 in INT8 has 17 dB; 12 where it was calibrated with normal noise, 8 where the scale of its "
        "input is half of what it must be, 2 where it is a quarter",
    ),
    "label agreement": Limit(0.97, 1, "", "what is required of fer's mini-Xception in INT8, taken for all"),
    "label agreement, lower bound": Limit(0.90, 1, "", "of its 95 % interval (Wilson): fewer than 35 inputs are too few even where all agree"),
    "KL divergence": Limit(0.05, 0, "nat", "the mean: 0.8, 0.1, 0.1 turned into 0.67, 0.2, 0.13 is as much. The default package's emotions in INT8: 0.004"),
    "accuracy lost": Limit(0.007, 0, "", "on pictures with labels, where `--evaluate` names some: what is required of our own network and of mini-Xception"),
    "action unit error": Limit(
        0.05, 0, "", "the mean of the absolute error, of each. A face that is let in with its eyes 16 px apart is off by as much on average; FP16 by 0.006"
    ),
    "action unit error, root mean square": Limit(
        0.1,
        0,
        "",
        "of each: twice the mean's, so that a few faces that are far off count, as 0.9 on 2 of 160 at rest. FP16: 0.008, INT8: 0.05",
    ),
    "action unit correlation": Limit(0.95, 1, "", "of each one that varies: a tenth of its variance is noise then"),
    "score error": Limit(0.05, 0, "", "as action unit error; where scores are no distribution, nothing else says whether their values are right"),
    "score error, root mean square": Limit(0.1, 0, "", "as action unit error, root mean square"),
    "score correlation": Limit(0.95, 1, "", "as action unit correlation"),
    "landmark error": Limit(0.02, 0, "eye distances", "the mean over points; FP16 has 0.0006. What follows from landmarks is judged by limits of its own"),
    "landmark error, 95th percentile": Limit(0.05, 0, "eye distances", "over inputs: half the radius of an iris (11.7 mm across, pupils 63 mm apart)"),
    "head pose error": Limit(
        2,
        0,
        "degrees",
        "the mean of the worst of yaw, pitch and roll, which follow from the landmarks' depth too. FP16 has 0.01; a mesh half in INT8, whose landmarks are "
        "just within their limits in the picture, 1.6",
    ),
    "head pose error, 95th percentile": Limit(5, 0, "degrees", "over inputs; FP16 has 0.02, that mesh 4.1"),
    "presence agreement": Limit(0.97, 1, "", "as label agreement"),
    "detections agreed": Limit(0.97, 1, "", "as label agreement: of all faces that either finds, those that both find in the same place"),
    "eye position error": Limit(0.05, 0, "eye distances", "the mean; two readings of a newcomer must agree within 0.07, see `Landmarks` in edge.stage"),
    "detection score error": Limit(0.05, 0, "", "the mean over faces that both find; a detection counts from 0.5 on"),
    "embedding cosine": Limit(0.98, 1, "", "the mean: a 25th of its power is noise then"),
}
