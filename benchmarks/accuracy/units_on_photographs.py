"""Action units on real faces. Nobody has coded them: they are compared with the teacher's, and with what emotions should show."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.metrics import Labels, Numbers, auc, pearson, spearman
from benchmarks.accuracy.readings import FaceReadings
from benchmarks.accuracy.whole_pictures import Taught
from benchmarks.estimates import Interval
from converters.training.affect.teacher import SOUND_UNITS
from edge.errors import ConfigError
from edge.result import ACTION_UNITS, EMOTIONS

# Classes with fewer faces say little of a correlation within them.
LEAST_OF_CLASS = 50
_LEAST_IN_ALL = 20

# Units that an emotion should show, and neutral faces should not. Source: Ekman and Friesen's EMFACS prototypes; each against neutral.
EMOTION_CHECKS = (("AU12", "happy"), ("AU6", "happy"), ("AU26", "surprised"), ("AU5", "surprised"), ("AU4", "angry"), ("AU9", "disgusted"))


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How two readings of an action unit go together on `n` faces; NaN where one of them does not vary."""

    n: int
    pearson: Interval
    spearman: Interval


class WithTeacher(msgspec.Struct, frozen=True, kw_only=True):
    """An action unit of the package and of the teacher.

    Attributes:
        overall: Over all faces.
        within: Among those in which people clearly saw one emotion, by emotion.
        teacher_mirrored: The teacher with itself: what it says of a picture, and of the same picture mirrored. Nobody can agree with who contradicts
            himself: true values have a correlation of about the square root of this with either reading. Source: Spearman 1904, American Journal of
            Psychology 15(1).
        with_mean: The package with the mean of these two readings, in which half of the contradiction is gone.
    """

    overall: Agreement
    within: dict[str, Agreement]
    teacher_mirrored: Agreement
    with_mean: Agreement


class EmotionCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an action unit tells an emotion from neutral.

    Attributes:
        unit: Which.
        emotion: Faces in which people clearly saw it, against those in which they saw nothing.
        n: Of the emotion.
        n_neutral: Of neutral.
        auc: Area under the ROC curve; None where the package does not give the unit.
        teacher_auc: The teacher's; None where it does not give the unit.
    """

    unit: str
    emotion: str
    n: int
    n_neutral: int
    auc: Interval | None
    teacher_auc: Interval | None


class UnitsOnPhotographs(msgspec.Struct, frozen=True, kw_only=True):
    """Action units on FER2013's PublicTest and PrivateTest.

    Attributes:
        teacher: Name and SHA-256 of its package.
        n_pictures: Of both splits.
        n_both: Pictures in which the package finds a face and the teacher is sure of one: all that follows is over these.
        n_of_class: Of them, those with a clear majority, by emotion.
        correlation: With the teacher, by unit, where the teacher is sound; empty where the package is the teacher.
        not_compared: Why there is no correlation, or none for a unit.
        emotions: Whether units tell emotions from neutral.
        pose_error_deg: Median distance of yaw, pitch and roll from the teacher's; None where the package is the teacher or gives no pose.
    """

    teacher: str
    n_pictures: int
    n_both: int
    n_of_class: dict[str, int]
    correlation: dict[str, WithTeacher]
    not_compared: str
    emotions: tuple[EmotionCheck, ...]
    pose_error_deg: dict[str, float] | None


def units_on_photographs(readings: FaceReadings, lessons: Taught, mirrored: Taught, emotion: Labels, *, teacher: str, is_teacher: bool) -> UnitsOnPhotographs:
    """Compare a package's action units with the teacher's and with what people saw.

    Args:
        readings: N pictures.
        lessons: The same pictures.
        mirrored: The same, mirrored.
        emotion: int64[N], the clear majority, an index into `edge.result.EMOTIONS`; -1 where there is none.
        teacher: What to call it.
        is_teacher: The package is the teacher itself.

    Raises:
        ConfigError: There is next to no face that both find.
    """
    both = readings.found & lessons.sure
    if both.sum() < _LEAST_IN_ALL:
        raise ConfigError(
            f"expected at least {_LEAST_IN_ALL} pictures of {both.size} in which package and teacher find a face, got {int(both.sum())}",
            hint="--data takes the whole of FER2013, or a good part of it",
        )
    units, taught, emotion = readings.units[both], lessons.units[both], emotion[both]
    classes = {name: emotion == number for number, name in enumerate(EMOTIONS)}
    pose = np.abs(readings.pose_deg[both] - lessons.pose_deg[both])
    lacking = [unit for unit in SOUND_UNITS if np.isnan(units[:, ACTION_UNITS.index(unit)]).any()]
    return UnitsOnPhotographs(
        teacher=teacher,
        n_pictures=both.size,
        n_both=int(both.sum()),
        n_of_class={name: int(chosen.sum()) for name, chosen in classes.items()},
        correlation={} if is_teacher else _correlations(units, taught, mirrored.units[both], classes, [unit for unit in SOUND_UNITS if unit not in lacking]),
        not_compared="the package is the teacher" if is_teacher else f"not given: {', '.join(lacking)}" if lacking else "",
        emotions=tuple(_check(unit, name, units, taught, classes) for unit, name in EMOTION_CHECKS),
        pose_error_deg=None if is_teacher or np.isnan(pose).any() else dict(zip(("yaw", "pitch", "roll"), np.median(pose, axis=0).tolist(), strict=True)),
    )


def _correlations(units: Numbers, taught: Numbers, mirrored: Numbers, classes: Mapping[str, NDArray[np.bool_]], named: list[str]) -> dict[str, WithTeacher]:
    groups = {"": np.ones(len(units), bool), **{name: chosen for name, chosen in classes.items() if chosen.sum() >= LEAST_OF_CLASS}}
    # One group after the other, so that its samples are drawn once for all units.
    found: dict[str, dict[str, Agreement]] = {unit: {} for unit in named}
    for group, chosen in groups.items():
        for unit in named:
            column = ACTION_UNITS.index(unit)
            found[unit][group] = _agreement(units[chosen, column], taught[chosen, column])
    twice: dict[str, tuple[Agreement, Agreement]] = {}
    for unit in named:
        ours, first, second = (each[:, ACTION_UNITS.index(unit)] for each in (units, taught, mirrored))
        sure = ~np.isnan(second)
        twice[unit] = _agreement(first[sure], second[sure]), _agreement(ours[sure], (first[sure] + second[sure]) / 2)
    return {
        unit: WithTeacher(
            overall=of[""], within={group: each for group, each in of.items() if group}, teacher_mirrored=twice[unit][0], with_mean=twice[unit][1]
        )
        for unit, of in found.items()
    }


def _agreement(ours: Numbers, theirs: Numbers) -> Agreement:
    return Agreement(n=ours.size, pearson=pearson(ours, theirs), spearman=spearman(ours, theirs))


def _check(unit: str, emotion: str, units: Numbers, taught: Numbers, classes: Mapping[str, NDArray[np.bool_]]) -> EmotionCheck:
    chosen, column = classes[emotion] | classes["neutral"], ACTION_UNITS.index(unit)
    present = classes[emotion][chosen]
    n, n_neutral = int(present.sum()), int((~present).sum())
    areas = [None if np.isnan(each).any() or not n or not n_neutral else auc(present, each) for each in (units[chosen, column], taught[chosen, column])]
    return EmotionCheck(unit=unit, emotion=emotion, n=n, n_neutral=n_neutral, auc=areas[0], teacher_auc=areas[1])
