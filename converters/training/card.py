"""`card.json`: how a network was trained and what it came to, beside what others report; and the same as a table."""

from __future__ import annotations

from pathlib import Path

import msgspec

from converters.training.measure import Result, WholeTest

CARD = "card.json"
PICTURE = "confusion.png"


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Another recipe that was tried beside the shipped one: for information."""

    recipe: str
    validation_accuracy: float
    test_accuracy: float
    test_macro_f1: float


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """What others report.

    Attributes:
        source: Who, and on what.
        accuracy: In [0, 1].
        macro_f1: In [0, 1]; None where the source gives none.
    """

    source: str
    accuracy: float
    macro_f1: float | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """How a network was trained and what it came to.

    Attributes:
        name: Of the system.
        recipe: What was done, step by step.
        seed: Of every random number.
        data: Name and SHA-256 of the data set's file, and SHA-256 of each split's pictures and labels.
        n_training: Pictures that it was trained on, before any balancing.
        n_validation: Pictures that decided about the schedule or the choice of parameters.
        labels: Classes, in the order of the network's outputs.
        validation: On the pictures that decided.
        test: On pictures that nothing was chosen by; those in which a face was found.
        whole_test: On all of them.
        reported: By the document, and by its sources.
        remarks: What a reader must know to compare.
        variants: Other recipes.
        versions: Of the libraries.
        files: SHA-256 of the weights and of the picture of the confusion matrix.
    """

    name: str
    recipe: tuple[str, ...]
    seed: int
    data: dict[str, str]
    n_training: int
    n_validation: int
    labels: tuple[str, ...]
    validation: Result
    test: Result
    whole_test: WholeTest
    reported: tuple[Reported, ...]
    remarks: tuple[str, ...]
    variants: tuple[Variant, ...]
    versions: dict[str, str]
    files: dict[str, str]


def write_card(card: Card, folder: Path) -> None:
    """Write `card.json`."""
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")


def read_card(folder: Path) -> Card:
    """Read `card.json`."""
    return msgspec.json.decode((folder / CARD).read_bytes(), type=Card)


def table(card: Card) -> list[str]:
    """Return the lines of a table: our figures, then those that others report."""
    test, whole, validation = card.test, card.whole_test, card.validation
    rows = [
        (card.name, "pictures", "accuracy", "95 % interval", "macro F1"),
        ("PrivateTest, faces found", f"{test.n:,}", _percent(test.accuracy), _interval(test.interval), f"{test.macro_f1:.3f}"),
        ("PrivateTest, no face found is wrong", f"{whole.n:,}", _percent(whole.accuracy), _interval(whole.interval), "-"),
        ("PublicTest, faces found", f"{validation.n:,}", _percent(validation.accuracy), _interval(validation.interval), f"{validation.macro_f1:.3f}"),
    ]
    rows += [(entry.source, "-", _percent(entry.accuracy), "-", "-" if entry.macro_f1 is None else f"{entry.macro_f1:.3f}") for entry in card.reported]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([first.ljust(widths[0]), *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True))]) for first, *rest in rows]


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %"
