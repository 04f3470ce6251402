"""What `python -m converters quantize` refuses before it begins, and what it never does without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from calibration import CalibrationSet
from calibration.set_file import pixels_sha256
from converters.quantization import feeds
from converters.quantization.candidates import Candidate
from converters.quantization.card import CARD, Calibrated, PrecisionCard, StageCard, make_card, table
from converters.quantization.feeds import Recording, record
from converters.quantization.gate import compare_numbers
from converters.quantization.labelled import Labelled, accuracy, emotions_of, read_labelled
from converters.quantization.measured import Bench
from converters.quantization.quantize import quantize
from converters.quantization.sensitivity import Sensitivity
from converters.training.fer2013 import read_fer2013
from edge.errors import ConfigError
from edge.package import file_sha256, load_package
from edge.stage import ActionUnits, BoxRegion, CropInput, Emotions, Stage
from tests.converters.test_quantize_command import whole_picture_package, with_manifest
from tests.toy import save_graph
from tests.toy_kinds import manifest_of, save


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path, small_set: CalibrationSet) -> None:
    package = load_package(whole_picture_package(tmp_path / "toy"))
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"^/proc/toy cannot be written: "):
        quantize(package, small_set, ("fp16",), calibrator="max", folder=Path("/proc/toy"), say=said.append)
    assert said == []
    quantize(package, small_set, ("fp16",), calibrator="max", folder=tmp_path / "new" / "toy", say=said.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "toy"]


def fer2013(path: Path) -> Path:
    pictures = np.random.default_rng(0).integers(0, 256, (30, 48, 48), np.uint8)
    np.savez(path, images=pictures, fer2013_label=np.arange(30) % 7, usage=np.arange(30) % 3)
    return path


def test_what_is_evaluated_on_is_read_at_the_start(emotion: Path, small_set: CalibrationSet, tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_text("no arrays")
    said: list[str] = []
    with pytest.raises(ConfigError, match=r"bad\.npz cannot be read as FER2013"):
        quantize(load_package(emotion), small_set, ("int8",), calibrator="max", folder=tmp_path / "new", evaluate=tmp_path / "bad.npz", say=said.append)
    assert said == []


def test_pictures_that_the_set_knows_are_no_evaluation(emotion: Path, small_set: CalibrationSet, tmp_path: Path) -> None:
    package = load_package(emotion)
    data = read_labelled(fer2013(tmp_path / "fer2013.npz"), package, small_set)
    path = emotion / "emotion.onnx"
    (stage,) = package.manifest.stages
    (output,) = emotions_of(stage)
    measured = accuracy(stage, output, path, path, data)
    assert (measured.data, measured.n, measured.agreement) == ("fer2013.npz PrivateTest", 10, 1)
    hashes = [pixels_sha256(np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8)) for picture in data.split.pictures[:2]]
    items = small_set.manifest.items
    cut = tuple(msgspec.structs.replace(item, source_sha256=sha256) for item, sha256 in zip(items, hashes, strict=False))
    knows = with_manifest(small_set, tmp_path / "knows", items=(*cut, *items[2:]))
    with pytest.raises(ConfigError, match=r"pictures that calibration set 'small' does not know, it shares 2 with fer2013\.npz PrivateTest"):
        read_labelled(tmp_path / "fer2013.npz", package, knows)


SAD_FIRST = ("sad", "angry", "disgusted", "afraid", "happy", "surprised", "neutral")


def always(path: Path, label: str) -> Path:
    """Write a network that sees the same in every crop."""
    row = np.eye(7, dtype=np.float32)[[SAD_FIRST.index(label)]]
    nodes = [
        helper.make_node("ReduceMean", ["crop"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "row"], ["p"]),
    ]
    save_graph(path, nodes, {"crop": ["N", 1, 8, 8]}, {"p": ["N", 7]}, {"zero": np.zeros(1, np.float32), "row": row})
    return path


def two_conventions() -> Stage:
    spec = CropInput(tensor="crop", color="gray", size_wh_px=(8, 8), region=BoxRegion(), scale=1 / 255)
    seen = Emotions(tensor="p", activation="none", labels=SAD_FIRST, convention="seen")
    given = Emotions(tensor="p", activation="none", labels=SAD_FIRST, convention="fer2013", shown=False)
    return Stage(name="face", model="face.onnx", input=spec, outputs=(seen, given))


def voted(path: Path) -> Labelled:
    """PrivateTest of 7 black pictures, one of each class, of which people saw sadness in 5."""
    votes = np.zeros((21, 10), np.uint8)
    votes[:, 3] = 10  # all saw sadness ...
    votes[2] = (0, 0, 0, 5, 5, 0, 0, 0, 0, 0)  # ... but here, where no more than half did,
    votes[5, 7], votes[5, 3] = 10, 0  # and here, where they saw contempt
    np.savez(path, images=np.zeros((21, 48, 48), np.uint8), fer2013_label=np.arange(21) % 7, usage=np.arange(21) % 3, ferplus_votes=votes)
    return Labelled(f"{path.name} PrivateTest", read_fer2013(path).splits["PrivateTest"])


def test_what_people_see_is_measured_on_what_people_saw(tmp_path: Path) -> None:
    data, stage, path = voted(tmp_path / "votes.npz"), two_conventions(), always(tmp_path / "face.onnx", "sad")
    people, own = (accuracy(stage, output, path, path, data) for output in emotions_of(stage))
    assert (people.output, people.n, people.value) == ("emotions", 5, 1.0)
    assert people.data == "votes.npz PrivateTest, clear majorities of FER+"
    assert (own.output, own.n, own.value) == ("emotions (fer2013)", 7, 1 / 7)


def test_a_network_that_loses_points_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    always(folder / "face.onnx", "sad")
    package = load_package(save(folder, manifest_of(two_conventions(), detector="blazeface")))
    calibrated = Calibrated(name="none", sha256="", n_calibration=0, n_held_out=0, n_left_out=0)
    bench = Bench(package, calibrated, Recording({}, list, 0, 0, 0), tmp_path, voted(tmp_path / "votes.npz"), print)
    kept = bench.card("fp16", {"face": Candidate(onnx.load(always(tmp_path / "same.onnx", "sad")))})
    assert [(each.output, each.value) for each in kept.accuracy] == [("emotions", 1.0), ("emotions (fer2013)", 1 / 7)]
    assert kept.stages["face"].verdict == "kept"
    changed = bench.card("fp16", {"face": Candidate(onnx.load(always(tmp_path / "other.onnx", "happy")))})
    assert changed.stages["face"].verdict == "refused"
    assert changed.stages["face"].reason == "accuracy lost of emotions is 1 over 5, at most 0.007 is allowed"
    assert (changed.accuracy, (tmp_path / "face.fp16.onnx").exists()) == ((), False)


def test_votes_are_needed_for_what_people_see(tmp_path: Path, emotion: Path, small_set: CalibrationSet) -> None:
    package = load_package(emotion)
    (stage,) = package.manifest.stages
    (output,) = emotions_of(stage)
    sees = msgspec.structs.replace(stage, outputs=(msgspec.structs.replace(output, convention="seen"),))
    package = msgspec.structs.replace(package, manifest=msgspec.structs.replace(package.manifest, stages=(sees,)))
    with pytest.raises(ConfigError, match=r"fer2013\.npz has no votes of FER\+, which emotions 'Identity' were taught"):
        read_labelled(fer2013(tmp_path / "fer2013.npz"), package, small_set)


def test_pictures_that_are_not_read_are_counted(tmp_path: Path, small_set: CalibrationSet, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whole_picture_package(tmp_path / "toy")
    assert record(load_package(folder), small_set, "held-out").n_unread == 0
    n_left = len(small_set.pictures("calibration")) - 80
    assert n_left > 0
    monkeypatch.setattr(feeds, "_MOST_PICTURES", 80)
    said: list[str] = []
    _, card = quantize(load_package(folder), small_set, ("fp16",), calibrator="max", folder=folder, say=said.append)
    assert card.precisions["fp16"].calibration.n_unread == n_left
    assert any(f"{n_left} pictures of 'small' are NOT looked at" in line for line in said)


def with_dropped(folder: Path, small_set: CalibrationSet, spoil: Callable[[Path], dict[str, Any]]) -> list[str]:
    """Make FP16, change what the package says of it, make INT8."""
    quantize(load_package(folder), small_set, ("fp16",), calibrator="max", folder=folder, say=print)
    manifest = load_package(folder).manifest
    changed = msgspec.structs.replace(manifest, **spoil(folder))
    files = {**changed.files, CARD: file_sha256(folder / CARD)}
    changed = msgspec.structs.replace(changed, files=files, evidence={CARD: files[CARD]})
    (folder / "package.toml").write_bytes(msgspec.toml.encode(changed))
    said: list[str] = []
    quantize(load_package(folder), small_set, ("int8",), calibrator="max", folder=folder, say=said.append)
    return [line for line in said if "DROPPED" in line]


def test_a_precision_that_was_judged_in_another_form_is_dropped_aloud(tmp_path: Path, small_set: CalibrationSet) -> None:
    folder = whole_picture_package(tmp_path / "toy")
    (line,) = with_dropped(folder, small_set, lambda _: {"keep_fp32": {"network": ("c1",)}})
    assert line.startswith("fp16, which the package offered, is DROPPED: it was judged with other nodes of network in FP32; make all")
    package = load_package(folder)
    assert (package.offers, package.manifest.keep_fp32) == (("fp32", "int8"), {})
    assert not (folder / "network.fp16.onnx").exists()
    assert with_dropped(whole_picture_package(tmp_path / "other"), small_set, lambda _: {}) == []


def test_a_card_that_cannot_be_read_is_not_lost_in_silence(tmp_path: Path, small_set: CalibrationSet) -> None:
    def spoil(folder: Path) -> dict[str, Any]:
        (folder / CARD).write_text("{}")
        return {}

    folder = whole_picture_package(tmp_path / "toy")
    (line,) = with_dropped(folder, small_set, spoil)
    assert line.startswith("fp16, which the package offered, is DROPPED: card.json is missing or cannot be read")
    assert load_package(folder).offers == ("fp32", "int8")


def slow(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same numbers, with many products of zeros."""
    side, graph = 1024, model.graph
    graph.node[-1].output[0] = "fast"
    graph.initializer.extend(
        numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in (("in", (2, side)), ("on", (side, side)), ("out", (side, 2)))
    )
    names = ["fast", *(f"slow{i}" for i in range(10))]
    for one, other, weight in zip(names, names[1:], ["in", *["on"] * 8, "out"], strict=False):
        graph.node.append(helper.make_node("MatMul", [one, weight], [other], name=other))
    graph.node.append(helper.make_node("Add", ["fast", names[-1]], ["scores"], name="slow_end"))
    return model


def test_what_is_not_faster_here_always_says_so(tmp_path: Path, small_set: CalibrationSet) -> None:
    package = load_package(whole_picture_package(tmp_path / "toy"))
    model = slow(onnx.load(tmp_path / "toy" / "network.onnx"))
    held_out = record(package, small_set, "held-out")
    calibrated = Calibrated(name="small", sha256="", n_calibration=0, n_held_out=0, n_left_out=0)
    (tmp_path / "made").mkdir()
    back = (Sensitivity(block="c2", harm=1.0),)
    for candidate in (Candidate(model), Candidate(model, back=back, n_blocks=3, full=model)):
        said: list[str] = []
        measured = Bench(package, calibrated, held_out, tmp_path / "made", None, said.append).card("int8", {"network": candidate})
        (line,) = said
        assert line.startswith("network: int8 is NOT faster on this machine (batch 1: ")
        stage = measured.stages["network"]
        assert (stage.verdict, stage.faster_here) == ("kept", False)
        assert line in table(make_card("toy", {"int8": measured}, trained=True))


def test_what_has_no_correlation_is_named_in_the_table() -> None:
    output = ActionUnits(tensor="p", activation="none", labels=("AU1", "AU9"), quantity="intensity", learned_from="made up")
    rows = np.random.default_rng(0).random((40, 2))
    rows[:, 1] = 0
    stage = StageCard(precision="fp16", verdict="kept", metrics=tuple(compare_numbers(output, rows, rows, "action_units")), fp32_sha256="")
    calibrated = Calibrated(name="small", sha256="", n_calibration=0, n_held_out=40, n_left_out=0)
    card = make_card("toy", {"fp16": PrecisionCard(calibration=calibrated, stages={"au": stage}, machine="none", versions={})}, trained=True)
    (line,) = (line for line in table(card) if "action unit error, action_units" in line)
    assert "action unit error, action_units; hardly vary, no correlation: AU9  " in line
