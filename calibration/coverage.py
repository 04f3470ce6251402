"""What a set covers: features as a point to measure distances by, and as bins that a person can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calibration.set_file import SPLITS, Features, Item, Split
from edge.result import ACTION_UNITS, EMOTIONS

# By how much two faces differ clearly, in the unit of each feature: the weights of the distance. Sizes and sharpness count in octaves.
_CLEARLY = {"yaw_deg": 12.0, "pitch_deg": 8.0, "roll_deg": 12.0, "side_px": 1.0, "brightness": 30.0, "contrast": 12.0, "side_light": 20.0, "sharpness": 1.0}
_IN_OCTAVES = {"side_px", "sharpness"}
# An action unit from rest to half its range, and two different emotions, differ clearly.
_ACTION_UNIT = 0.5
_EMOTION = 1.0

# Feature: limits of its bins. The poses are those at which networks begin to fail, and at which the default package withholds its numbers.
_BINS: Mapping[str, tuple[float, ...]] = {
    "yaw_deg": (-35, -15, -5, 5, 15, 35),
    "pitch_deg": (-30, -10, 10, 30),
    "roll_deg": (-15, -5, 5, 15),
    "side_px": (48, 96, 192),
    "brightness": (60, 100, 140, 180),
    "contrast": (25, 40, 55),
    "side_light": (-40, -15, 15, 40),
    "sharpness": (0.15, 0.5, 1.5),
}
# From here on an action unit is said to be there.
_THERE = 0.3


def point(features: Features) -> NDArray[np.float64]:
    """Return where a face lies among others, float64[K]: two that differ clearly in one feature are one unit apart."""
    values = [_value(features, name) / clearly for name, clearly in _CLEARLY.items()]
    units = [features.action_units.get(name, 0.0) / _ACTION_UNIT for name in ACTION_UNITS]
    emotions = [float(features.emotion == name) * _EMOTION / np.sqrt(2) for name in EMOTIONS]
    return np.array(values + units + emotions)


def coverage(items: Sequence[Item]) -> dict[str, dict[str, tuple[int, int]]]:
    """Count pictures by feature and bin: in calibration and in held-out."""
    table: dict[str, dict[str, tuple[int, int]]] = {}
    for name, limits in _BINS.items():
        numbers = {split: np.bincount(np.digitize(_of(items, split, name), limits), minlength=len(limits) + 1) for split in SPLITS}
        table[name] = {_bin_name(limits, place): (int(numbers[SPLITS[0]][place]), int(numbers[SPLITS[1]][place])) for place in range(len(limits) + 1)}
    table["emotion"] = {name: _count(items, partial(_shows, name)) for name in EMOTIONS}
    table["action_units"] = {name: _count(items, partial(_moves, name)) for name in ACTION_UNITS}
    table["withheld"] = {"yes": _count(items, lambda face: bool(face.reasons)), "no": _count(items, lambda face: not face.reasons)}
    return table


def coverage_lines(table: Mapping[str, Mapping[str, tuple[int, int]]]) -> list[str]:
    """Return the table for a terminal: `bin calibration/held-out`, a feature in each line."""
    return [f"  {name:12}" + "  ".join(f"{which} {first}/{second}" for which, (first, second) in bins.items()) for name, bins in table.items()]


def _value(features: Features, name: str) -> float:
    value = float(getattr(features, name))
    return float(np.log2(max(value, 0.01))) if name in _IN_OCTAVES else value


def _of(items: Sequence[Item], split: Split, name: str) -> list[float]:
    return [float(getattr(item.features, name)) for item in items if item.split == split]


def _bin_name(limits: tuple[float, ...], place: int) -> str:
    if place == 0:
        return f"<{limits[0]:g}"
    return f">{limits[-1]:g}" if place == len(limits) else f"{limits[place - 1]:g}..{limits[place]:g}"


def _shows(emotion: str, features: Features) -> bool:
    return features.emotion == emotion


def _moves(action_unit: str, features: Features) -> bool:
    return features.action_units.get(action_unit, 0.0) >= _THERE


def _count(items: Sequence[Item], holds: Callable[[Features], bool]) -> tuple[int, int]:
    first, second = (sum(item.split == split and holds(item.features) for item in items) for split in SPLITS)
    return first, second
