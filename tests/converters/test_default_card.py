"""The card of the package `default` is true: what its text says was measured, and measured of the weights that lie beside it."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.accuracy.model_card import FIGURES, TEXT, with_figures, write_card
from benchmarks.accuracy.report import AccuracyReport
from converters.default_network import FACE, FOLDER
from converters.stored_network import PACKED, stored_sha256
from tests.benchmarks.test_model_card import folder_of_weights, report_of

_WEIGHTS = FACE.model + PACKED


def _sha256(folder: Path) -> str:
    return hashlib.sha256(lzma.decompress((folder / _WEIGHTS).read_bytes())).hexdigest()


def untrue(folder: Path) -> list[str]:
    """What does not belong together."""
    report = msgspec.json.decode((folder / FIGURES).read_bytes(), type=AccuracyReport)
    text, weights = (folder / TEXT).read_text(encoding="utf-8"), _sha256(folder)
    found = {
        f"{FACE.model} is not the file that card.json names": weights != stored_sha256(folder, FACE),
        f"{FIGURES} is of other weights": weights not in {origin["sha256"] for origin in report.package["origins"]},
        f"the figures of {TEXT} are not those of {FIGURES}": text != with_figures(text, report, where=folder / TEXT),
    }
    return [problem for problem, is_so in found.items() if is_so]


def test_the_default_packages_card_is_true() -> None:
    assert untrue(FOLDER) == []


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Bytes in the place of a network, and a report of them."""
    folder = folder_of_weights(tmp_path / "weights", hashlib.sha256(b"weights").hexdigest())
    (folder / _WEIGHTS).write_bytes(lzma.compress(b"weights"))
    write_card(report_of(_sha256(folder)), folder)
    return folder


def _other_weights(folder: Path) -> None:
    (folder / _WEIGHTS).write_bytes(lzma.compress(b"trained again"))


def _other_weights_with_their_card(folder: Path) -> None:
    _other_weights(folder)
    (folder / "card.json").write_text(json.dumps({"files": {FACE.model: _sha256(folder)}, "versions": {}}))


def _better_text(folder: Path) -> None:
    path = folder / TEXT
    path.write_text(path.read_text().replace("93.0 %", "95.0 %", 1))


def _better_figures(folder: Path) -> None:
    path = folder / FIGURES
    path.write_text(path.read_text().replace('"accuracy": 0.93', '"accuracy": 0.95', 1))


@pytest.mark.parametrize(
    ("spoil", "problems"),
    [
        (_other_weights, ["face.onnx is not the file that card.json names", "accuracy.json is of other weights"]),
        (_other_weights_with_their_card, ["accuracy.json is of other weights"]),
        (_better_text, ["the figures of CARD.md are not those of accuracy.json"]),
        (_better_figures, ["the figures of CARD.md are not those of accuracy.json"]),
    ],
)
def test_a_card_that_is_not_true_is_found_out(spoil: Callable[[Path], None], problems: list[str], measured: Path) -> None:
    assert untrue(measured) == []
    spoil(measured)
    assert untrue(measured) == problems
