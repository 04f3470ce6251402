"""Numbers to names: columns, action units that are labels themselves, and rule E2."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import InferenceFailed
from edge.estimate import NumberRow, with_neutral
from edge.result import top_label
from edge.stage import ActionUnits, Emotions, Named, Scores

OTHERS = ("happy", "surprised", "angry", "disgusted", "sad", "afraid")


def scores(most: float) -> dict[str, float]:
    return {name: most if name == "sad" else most / 2 for name in OTHERS}


@pytest.mark.parametrize("below", [0.2, 0.5, 0.8])
def test_neutral_falls_from_one_to_zero_and_meets_the_others_at_the_limit(below: float) -> None:
    most = np.linspace(0, 1, 1001)
    neutral = np.array([with_neutral(scores(m), below)["neutral"] for m in most])
    assert neutral[0] == 1
    assert neutral[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(neutral) < 0).all()
    assert np.abs(np.diff(neutral)).max() < 0.001 * max(1 - below, below) / min(1 - below, below) + 1e-9  # no jump
    assert with_neutral(scores(below), below)["neutral"] == pytest.approx(below)


@pytest.mark.parametrize("below", [0.2, 0.5, 0.8])
def test_neutral_is_the_top_emotion_exactly_where_no_other_is_above_the_limit(below: float) -> None:
    for most in (0.0, below / 2, below - 1e-6, below + 1e-6, (1 + below) / 2, 1.0):
        assert top_label(with_neutral(scores(most), below)) == ("neutral" if most < below else "sad")


@pytest.mark.parametrize(("neutral_below", "names"), [(0.5, ["neutral", "happy", "sad"]), (None, ["happy", "sad"])])
def test_emotions_stand_in_the_contract_s_order(neutral_below: float | None, names: list[str]) -> None:
    output = Emotions(tensor="x", activation="none", labels=("sad", "happy"), neutral_below=neutral_below)
    (estimate,) = rows_of([output], np.array([[0.1, 0.2]], np.float32))
    emotions = estimate["emotions"]
    assert isinstance(emotions, dict)
    assert list(emotions) == list(output.names) == names
    assert (emotions["sad"], emotions["happy"]) == pytest.approx((0.1, 0.2))


def test_logits_are_no_scores() -> None:
    output = Scores(tensor="x", activation="none", labels=("a", "b"))
    message = r"expected scores from 0 to 1 in 'x', got -3.7 to 2\n  the network's last layer gives logits: its package must name the activation"
    with pytest.raises(InferenceFailed, match=message):
        rows_of([output], np.array([[0.5, 0.5], [2, -3.7]], np.float32))
    assert rows_of([output], np.array([[1.0005, -0.0005]], np.float32))[0]["scores"] == {"a": 1.0, "b": 0.0}  # rounding


def rows_of(outputs: list[Named], rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> list[dict[str, object]]:
    numbers = NumberRow(outputs)
    values = np.concatenate([numbers.part(output, rows) for output in outputs], axis=1)
    estimates = [numbers.estimate(row) for row in values]
    return [{"emotions": e.emotions, "action_units": e.action_units, "scores": e.scores} for e in estimates]


def test_columns_are_read_alone() -> None:
    """Softmax runs over an output's own columns, and each output takes its own."""
    rows = np.array([[0.25, 0.5, 0.0, np.log(3), 100.0], [1.5, -0.5, 0.0, 0.0, -100.0]], np.float32)
    outputs: list[Named] = [
        Scores(tensor="x", activation="softmax", labels=("a", "b"), columns=(2, 4)),
        ActionUnits(tensor="x", activation="none", labels=("AU4", "AU1"), quantity="presence", learned_from="none", columns=(0, 2)),
        Emotions(tensor="x", activation="sigmoid", labels=("sad",), columns=(4, 5)),
    ]
    first, second = rows_of(outputs, rows)
    assert first["scores"] == pytest.approx({"a": 0.25, "b": 0.75})
    assert first["action_units"] == {"AU4": 0.25, "AU1": 0.5}
    assert first["emotions"] == pytest.approx({"sad": 1.0})
    assert second["scores"] == pytest.approx({"a": 0.5, "b": 0.5})
    assert second["action_units"] == {"AU4": 1.0, "AU1": 0.0}  # what lies outside is cut off
    assert second["emotions"] == pytest.approx({"sad": 0.0})
    moved = rows_of([Scores(tensor="x", activation="softmax", labels=("a", "b"), columns=(3, 5))], rows)[0]
    assert moved["scores"] != pytest.approx(first["scores"])
