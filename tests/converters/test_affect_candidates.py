"""Architectures side by side: two small ones trained and measured alike, what is kept of them, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="scikit-learn is not installed (make frameworks)")
pytest.importorskip("matplotlib", reason="matplotlib is not installed (make frameworks)")

import cv2
import msgspec

from converters.__main__ import main
from converters.training.affect.candidates import CANDIDATES, Candidate
from converters.training.affect.compare import Material, compare, compare_candidates
from converters.training.affect.comparison_report import JSON, PLOT, TABLE, Comparison, table
from converters.training.affect.export import to_onnx
from converters.training.affect.labelled_faces import LabelledFaces
from converters.training.affect.learning import Schedule, Source
from converters.training.affect.network import OUTPUTS, FaceNetwork
from edge.errors import ConfigError
from tests.converters.drawn_faces import drawn_faces


class _Flat(torch.nn.Module):
    """One layer for each output: nothing in it computes in INT8."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList(torch.nn.Linear(64, n) for n in OUTPUTS.values())

    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cells = torch.nn.functional.avg_pool2d(crop, 8).flatten(1)
        return tuple(head(cells) for head in self.heads)


_DEEP = Candidate(lambda: FaceNetwork((16, 16, 32, 32), (1, 1, 1, 1)), "small")
_FLAT = Candidate(_Flat, "smaller", peak=3e-3)
_SCHEDULE = Schedule(epochs=8, batch=32, peak=5e-3, average=0.8)


def _faces(n: int, seed: int, source: str) -> LabelledFaces:
    faces = drawn_faces(n, seed)
    return replace(faces, units=np.where(faces.units < 0.4, np.float32(0), faces.units), source=source)


@pytest.fixture(scope="module")
def material() -> Material:
    return Material([Source(_faces(256, 0, "learned"), are_crops=False)], _faces(96, 1, "photographs"), _faces(64, 2, "renders"))


@pytest.fixture(scope="module")
def compared(material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("compared")
    return compare({"deep": _DEEP, "flat": _FLAT}, material, _SCHEDULE, folder, say=lambda _: None), folder


def test_both_are_trained_and_measured_alike(compared: tuple[Comparison, Path]) -> None:
    comparison, folder = compared
    deep, flat = comparison.rows
    assert msgspec.json.decode((folder / JSON).read_bytes(), type=Comparison) == comparison
    assert deep.result.faces == flat.result.faces == {"learned": 256, "photographs": 96, "renders": 64}
    assert (deep.result.schedule["peak"], flat.result.schedule["peak"]) == (5e-3, 3e-3)
    assert deep.result.n_parameters > flat.result.n_parameters > 0
    assert deep.result.n_macs > flat.result.n_macs > 0
    for row in comparison.rows:
        assert (row.result.fp32.fer2013.n, row.result.fp32.ferplus.n, row.result.fp32.n_renders, row.result.fp32.n_taught) == (96, 96, 64, 96)
        assert len(row.result.fp32.unit_auc) == 15
        assert [timing.batch for timing in row.fp32] == [1, 8]
        assert row.fp32[0].ms < row.fp32[1].ms
    # The mouth's brightness is AU12: what was learned shows.
    assert deep.result.fp32.unit_auc["AU12"] > 0.8


def test_what_has_no_int8_says_why(compared: tuple[Comparison, Path]) -> None:
    (deep, flat), folder = compared[0].rows, compared[1]
    assert deep.result.int8 is not None
    assert deep.result.int8_refused == ""
    assert [timing.batch for timing in deep.int8] == [1, 8]
    assert flat.result.int8 is None
    assert flat.int8 == ()
    assert "nothing to quantise" in flat.result.int8_refused
    assert not (folder / "flat" / "int8.onnx").exists()
    page = (folder / TABLE).read_text()
    assert page == table(compared[0])
    assert "- flat has no INT8 form: nothing to quantise" in page
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    assert [row[0] for row in rows] == ["| candidate", "| deep", "| flat"]
    assert [row.count("–") for row in rows] == [0, 0, 5]
    assert {len(row) for row in rows} == {16}


def test_the_picture_shows_something(compared: tuple[Comparison, Path]) -> None:
    picture = cv2.imread(str(compared[1] / PLOT))
    assert picture is not None
    assert picture.shape[1] > picture.shape[0] > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_what_is_finished_is_not_trained_again(compared: tuple[Comparison, Path], material: Material, tmp_path: Path) -> None:
    before, folder = compared[0], Path(shutil.copytree(compared[1], tmp_path / "again"))
    said: list[str] = []
    again = compare({"deep": _DEEP}, material, _SCHEDULE, folder, say=said.append)
    assert said == ["deep: measured already", "timing 2 networks in turns"]
    assert again.rows[0].result == before.rows[0].result


def test_a_result_of_other_settings_is_refused(compared: tuple[Comparison, Path], material: Material) -> None:
    with pytest.raises(ConfigError, match=r"deep/result.json was made with .*'epochs': 8.*asked for is .*'epochs': 3"):
        compare({"deep": _DEEP}, material, replace(_SCHEDULE, epochs=3), compared[1], say=lambda _: None)
    with pytest.raises(ConfigError, match=r"'renders': 64.*asked for is .*'renders': 32"):
        compare({"deep": _DEEP}, replace(material, renders=_faces(32, 2, "renders")), _SCHEDULE, compared[1], say=lambda _: None)


def test_a_result_that_cannot_be_read_is_refused(material: Material, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "result.json").write_text('{"name": "deep"}')
    with pytest.raises(ConfigError, match=r"result.json cannot be read: .*\n.*remove it: the checkpoint beside it is measured again"):
        compare({"deep": _DEEP}, material, _SCHEDULE, tmp_path, say=lambda _: None)


class _Dead(FaceNetwork):
    def forward(self, crop: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return super().forward(crop * 0)


def test_what_does_not_learn_is_refused(material: Material, tmp_path: Path) -> None:
    dead = Candidate(lambda: _Dead((8, 8, 8, 8), (1, 1, 1, 1)), "blind")
    with pytest.raises(ConfigError, match=r"dead did not learn: it gives the same for every face, or no finite numbers\n.*give it a lower peak"):
        compare({"dead": dead}, material, _SCHEDULE, tmp_path, say=lambda _: None)
    assert not (tmp_path / "dead" / "result.json").exists()


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_candidate_takes_our_crop_and_gives_our_outputs(name: str) -> None:
    torch.manual_seed(0)
    model = to_onnx(CANDIDATES[name].build().eval())
    sizes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:] for value in (*model.graph.input, *model.graph.output)}
    assert sizes == {"crop": [1, 64, 64], **{output: [n] for output, n in OUTPUTS.items()}}


def test_emotions_after_units_know_nothing_but_the_units() -> None:
    torch.manual_seed(0)
    network = CANDIDATES["ours-after-units"].build().eval()
    _, _, seen, fer2013, units = network(torch.randn(2, 1, 64, 64))
    (seen.sum() + fer2013.sum()).backward()
    assert units.shape == (2, 15)
    assert [name for name, parameter in network.named_parameters() if parameter.grad is not None and name.startswith("joint")] == []


def test_wrong_names_and_numbers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = tmp_path / "nothing"
    with pytest.raises(ConfigError, match=r"expected candidates from ours, .*, got vgg"):
        compare_candidates(nothing, nothing, tmp_path, only=("ours", "vgg"), say=print)
    with pytest.raises(ConfigError, match="expected at least one epoch, got 0"):
        compare_candidates(nothing, nothing, tmp_path, epochs=0, say=print)
    assert main(["train", "candidates", "--data", "x.npz", "--geometry", "y.npz", "--only", "vgg"]) == 2
    assert "got vgg" in capsys.readouterr().err
    assert main(["train", "candidates", "--data", "x.npz"]) == 2
    assert "training 'candidates' needs --geometry" in capsys.readouterr().err
    assert main(["train", "default", "--data", "x.npz", "--geometry", "y.npz", "--epochs", "3"]) == 2
    assert "--epochs is for candidates, not for default" in capsys.readouterr().err
    assert main(["train", "pca-mlp", "--data", "x.csv", "--geometry", "y.npz"]) == 2
    assert "--geometry is for default and candidates, not for pca-mlp" in capsys.readouterr().err
