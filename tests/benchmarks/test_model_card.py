"""Figures in the model card of weights that lie in the repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy.emotions import EmotionFigures, emotion_figures
from benchmarks.accuracy.model_card import FIGURES, TEXT, require_card, with_figures, write_card
from benchmarks.accuracy.report import AccuracyReport
from benchmarks.accuracy.truth import Truth
from converters.default_network import FACE, FOLDER
from converters.errors import ConversionError
from edge.errors import ConfigError, OutputError
from edge.package import load_package

SHA256 = "5" * 64


def figures(right: int) -> EmotionFigures:
    """Of a hundred pictures."""
    truth, answers = np.arange(100) % 7, np.full((100, 7), 0.05)
    answers[np.arange(100), (truth + (np.arange(100) >= right)) % 7] = 0.7
    return emotion_figures(Truth("seen", np.arange(100), truth), answers, output="face/seen", labels="drawn")


def report_of(sha256: str = SHA256, *, right: int = 93) -> AccuracyReport:
    """A report as `python -m benchmarks accuracy` gives it, of weights with this hash."""
    return AccuracyReport(
        schema="edge.benchmark.accuracy/1",
        package={"name": "default", "sha256": "a" * 64, "precision": "fp32", "origins": [{"file": FACE.model, "sha256": sha256}]},
        data={"file": "drawn.npz", "sha256": "b" * 64},
        machine={"utc": "2026-01-02T03:04:05+00:00", "cpu": "a processor", "system": "Linux 6"},
        fer2013_private=figures(74),
        ferplus_private=figures(right),
        fer2013_private_detected=figures(73),
        ferplus_private_detected=figures(92),
        conditions={},
        action_units_real=None,
        action_units_synthetic=None,
        peers=None,
    )


def folder_of_weights(folder: Path, sha256: str = SHA256) -> Path:
    """The card's text as it stands in the repository, beside a `card.json`."""
    folder.mkdir()
    shutil.copy(FOLDER / TEXT, folder)
    (folder / "card.json").write_text(json.dumps({"files": {FACE.model: sha256}, "versions": {}}))
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return folder_of_weights(tmp_path / "weights")


def test_figures_stand_in_the_card_and_beside_it(weights: Path) -> None:
    before = (weights / TEXT).read_text()
    write_card(report_of(), weights)
    text = (weights / TEXT).read_text()
    assert "Measured on 2026-01-02 by a processor, Linux 6." in text
    assert "FER+ clear majority                     100        0    93.0 %" in text
    stored = msgspec.json.decode((weights / FIGURES).read_bytes(), type=AccuracyReport)
    assert stored.ferplus_private.accuracy == 0.93
    # What the file says is what the text says, and what was written by hand stays.
    assert with_figures(text, stored, where=weights / TEXT) == text
    start, end = "<!-- figures", "<!-- end of figures -->"
    assert text.split(start)[0] == before.split(start)[0]
    assert text.split(end)[1] == before.split(end)[1]


def test_what_is_written_twice_is_the_same_and_new_figures_replace_old_ones(weights: Path) -> None:
    contents = []
    for right in (93, 93, 88):
        write_card(report_of(right=right), weights)
        contents.append([(weights / name).read_bytes() for name in (TEXT, FIGURES)])
    assert contents[0] == contents[1] != contents[2]
    assert b" 88.0 %" in contents[2][0]
    assert b" 93.0 %" not in contents[2][0]


@pytest.mark.parametrize("spoil", [("<!-- figures", "<!-- numbers"), ("<!-- end of figures -->", ""), ("# Model card", "<!-- end of figures -->")])
def test_a_card_without_its_marks_is_refused_and_nothing_is_written(spoil: tuple[str, str], weights: Path) -> None:
    path = weights / TEXT
    path.write_text(path.read_text().replace(*spoil))
    before = path.read_text()
    with pytest.raises(ConfigError, match=r"CARD.md: expected the marks '<!-- figures: .*' and '<!-- end of figures -->', each once and in this order"):
        write_card(report_of(), weights)
    assert path.read_text() == before
    assert not (weights / FIGURES).exists()


def test_marks_in_the_wrong_order_are_refused(weights: Path) -> None:
    start, end = (line for line in (weights / TEXT).read_text().splitlines() if line.startswith("<!--"))
    with pytest.raises(ConfigError, match="each once and in this order"):
        with_figures(f"{end}\n{start}\n", report_of(), where=weights / TEXT)


def test_figures_of_other_weights_are_refused(weights: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a package made from .*face.onnx \(SHA-256 5{64}\), got 'default', made from 6{64}"):
        write_card(report_of("6" * 64), weights)
    assert not (weights / FIGURES).exists()


def test_a_folder_without_a_card_is_refused(weights: Path) -> None:
    (weights / TEXT).unlink()
    with pytest.raises(ConfigError, match=r"--card: .*CARD.md cannot be read: .*No such file"):
        write_card(report_of(), weights)


def test_weights_without_a_card_of_their_own_are_refused(weights: Path) -> None:
    (weights / "card.json").unlink()
    with pytest.raises(ConversionError, match=r"card.json cannot be read as the card of a network"):
        write_card(report_of(), weights)


def test_a_card_that_cannot_be_written_is_named(weights: Path) -> None:
    (weights / FIGURES).mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*accuracy.json: Is a directory"):
        write_card(report_of(), weights)


def test_a_package_must_come_from_the_weights_before_it_is_measured(tmp_path: Path, models: Path) -> None:
    package = load_package(models / "mesh-chain")
    origin = package.manifest.origins[0].sha256
    require_card(package, folder_of_weights(tmp_path / "its", origin))
    with pytest.raises(ConfigError, match=rf"got 'mesh-chain', made from {origin}, .*\n  python -m converters pull default --force"):
        require_card(package, folder_of_weights(tmp_path / "others"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--card: expected --geometry too, for the card tells of rendered faces"),
        (["--geometry", __file__, "--model", "mesh-chain"], "got 'mesh-chain', made from"),
    ],
)
def test_what_no_card_can_take_is_not_measured(arguments: list[str], message: str, weights: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models.is_dir()
    assert main(["accuracy", "--data", "none.npz", "--card", str(weights), *arguments]) == 2
    assert message in capsys.readouterr().err
