"""Rows of raw outputs to named numbers: columns, activations, the table of action units, and rule E2.

Rule E2 serves networks without a neutral output: a face is neutral when nothing else is seen in it. With m the largest other score and t the package's
`neutral_below`,

    neutral = 1 - m (1 - t) / t        for m <= t
    neutral = t (1 - m) / (1 - t)      for m > t

which falls from 1 at m = 0 through t at m = t to 0 at m = 1: neutral is the top emotion exactly where no other one is above t. It is read from the smoothed
scores, so that what is shown agrees with itself.

Source: document 004 for the rule, in words (neutral when all others are low); the two lines are ours, the simplest that are continuous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.activation import activated
from edge.errors import InferenceFailed
from edge.result import EMOTIONS, Estimate
from edge.smooth import Values
from edge.stage import ActionUnit, ActionUnits, Emotions, Named, role_of

# How far a softmax in float16 may lie outside of 0 to 1.
_ROUNDING = 1e-3


class NumberRow:
    """How the numbers of some outputs stand in one row, and what they are called.

    Args:
        outputs: In the order of the row.
    """

    def __init__(self, outputs: Sequence[Named]) -> None:
        self._units = {id(output): _UnitTable(output) for output in outputs if isinstance(output, ActionUnits)}
        self._layout = [_Numbers(output) for output in outputs]

    def part(self, output: Named, rows: NDArray[np.float32]) -> Values:
        """Return an output's part of the row, for each subject.

        Args:
            output: One of those given.
            rows: float32[N, K] as the network gave them.

        Returns:
            float64[N, numbers of this output], from 0 to 1.

        Raises:
            InferenceFailed: Scores that need no activation, as the package says, lie outside of 0 to 1.
        """
        values = activated(rows if output.columns is None else rows[:, slice(*output.columns)], output.activation)
        if isinstance(output, ActionUnits):
            return self._units[id(output)].intensities(values)
        if output.activation != "none":
            return values
        least, most = values.min(), values.max()
        if least < -_ROUNDING or most > 1 + _ROUNDING:
            raise InferenceFailed(
                f"expected {role_of(output)} from 0 to 1 in '{output.tensor}', got {least:.3g} to {most:.3g}",
                hint="the network's last layer gives logits: its package must name the activation, sigmoid or softmax",
            )
        return values if least >= 0 and most <= 1 else np.asarray(np.minimum(np.maximum(values, 0.0), 1.0))  # NaN stays NaN

    def estimate(self, values: Values) -> Estimate:
        """Name the numbers of a whole row, smoothed or not.

        Args:
            values: float64[K], the parts of all outputs in their order.
        """
        named: dict[str, Mapping[str, float]] = {}
        row = values.tolist()
        start = 0
        for output in self._layout:
            numbers = {name: row[start + place] for name, place in output.places}
            start += len(output.places)
            named[output.role] = numbers if output.neutral_below is None else with_neutral(numbers, output.neutral_below)
        return Estimate(**named)


class _Numbers:
    """Where the numbers of an output stand in its part of a row, in the order in which a record names them."""

    def __init__(self, output: Named) -> None:
        self.role = role_of(output)
        self.neutral_below = output.neutral_below if isinstance(output, Emotions) else None
        in_row = output.labels if isinstance(output, Emotions) else output.names
        in_record = [name for name in EMOTIONS if name in in_row] if isinstance(output, Emotions) else in_row
        self.places = [(name, in_row.index(name)) for name in in_record]


def with_neutral(others: Mapping[str, float], below: float) -> dict[str, float]:
    """Add `neutral` by rule E2; see the head of this file.

    Args:
        others: Emotion to score in [0, 1]; neutral is not among them.
        below: The score t of the rule, in (0, 1).

    Returns:
        All of them, neutral first as in the contract.
    """
    most = max(others.values())
    neutral = 1 - most * (1 - below) / below if most <= below else below * (1 - most) / (1 - below)
    return {"neutral": min(max(neutral, 0.0), 1.0), **others}


def _units(output: ActionUnits) -> tuple[ActionUnit, ...]:
    return output.units or tuple(ActionUnit(label=label, shapes=(label,), rest=0.0, full=1.0) for label in output.labels)


class _UnitTable:
    """The package's table from named activations to action units, as one matrix."""

    def __init__(self, output: ActionUnits) -> None:
        units = _units(output)
        self._means = np.zeros((len(output.labels), len(units)))
        for column, unit in enumerate(units):
            for shape in unit.shapes:
                self._means[output.labels.index(shape), column] = 1 / len(unit.shapes)
        self._log_odds = np.array([column for column, unit in enumerate(units) if unit.log_odds], dtype=np.intp)
        limits = np.array([(unit.rest, unit.full) for unit in units])
        limits[self._log_odds] = _log_odds(limits[self._log_odds])
        self._rest, self._range = limits[:, 0], limits[:, 1] - limits[:, 0]

    def intensities(self, activations: Values) -> Values:
        means = activations @ self._means
        if len(self._log_odds):
            means[:, self._log_odds] = _log_odds(means[:, self._log_odds])
        return np.asarray(np.minimum(np.maximum((means - self._rest) / self._range, 0.0), 1.0), dtype=np.float64)


def _log_odds(probability: Values) -> Values:
    # float32 sigmoids reach 0 exactly; the limit is far below any activation that a table names.
    bounded = np.minimum(np.maximum(probability, 1e-12), 1 - 1e-12)
    return np.asarray(np.log(bounded / (1 - bounded)), dtype=np.float64)
