"""A network with both emotion outputs, small enough to be computed by hand, and a detector that finds bright pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from benchmarks.accuracy.emotions import emotion_figures
from benchmarks.accuracy.readings import CONVENTIONS, Networks, emotions_output
from benchmarks.accuracy.truth import Truth
from benchmarks.accuracy.units_on_photographs import units_on_photographs
from benchmarks.accuracy.units_on_renders import units_on_renders
from benchmarks.accuracy.whole_pictures import Taught, with_faces
from converters.training.affect.rendered_faces import RenderedPeople, rendered_people
from converters.training.fer2013 import LABELS, find_faces
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.package import Package, load_package
from edge.result import ACTION_UNITS, EMOTIONS
from edge.stage import ActionUnits, BoxRegion, CropInput, Emotions, Landmarks, Output, Presence, Stage
from tests.toy import make_affect, save_graph
from tests.toy_kinds import manifest_of, save

GEOMETRY = "EDGE_FACE_GEOMETRY"

Points = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

# A face that fills the crop, so that it is found again where it was: eyes, then the four points that span a head that looks straight ahead.
_POINTS = np.array([[2, 3, 0], [3, 3, 0], [5, 3, 0], [6, 3, 0], [0, 4, 0], [8, 4, 0], [4, 0, 0], [4, 8, 0]], np.float32)
# Bright is happy to those who look, and angry by FER2013's labels; dark is sad, and neutral.
_SEEN = Emotions(tensor="seen", activation="softmax", labels=EMOTIONS, convention="seen")
_FER2013 = Emotions(tensor="fer2013", activation="softmax", labels=LABELS, convention="fer2013", shown=False)


def _logits(labels: tuple[str, ...], bright: str, dark: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    row = np.zeros((1, len(labels)), np.float32)
    row[0, labels.index(bright)], row[0, labels.index(dark)] = 8, -8
    return row


def _package(folder: Path, *emotions: Emotions, sureness: float = 1.0, points: Points = _POINTS, admit_presence: float = 0.9) -> Package:
    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("ReduceMean", ["crop"], ["mean4"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean4", "column"], ["mean"]),
        helper.make_node("MatMul", ["mean", "seen_row"], ["seen"]),
        helper.make_node("MatMul", ["mean", "fer2013_row"], ["fer2013"]),
        helper.make_node("MatMul", ["mean", "units_row"], ["units"]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "points_row"], ["points"]),
        helper.make_node("Add", ["nothing", "sureness"], ["presence"]),
    ]
    sizes = {"points": 24, "presence": 1, "seen": 7, "fer2013": 7, "units": 15}
    constants = {
        "column": np.array([-1, 1]),
        "seen_row": _logits(EMOTIONS, "happy", "sad"),
        "fer2013_row": _logits(LABELS, "angry", "neutral"),
        "units_row": np.full((1, 15), 4.0, np.float32),
        "points_row": points.reshape(1, -1),
        "zero": np.float32(0),
        "sureness": np.float32(sureness),
    }
    save_graph(folder / "face.onnx", nodes, {"crop": ["N", 1, 8, 8]}, {name: ["N", size] for name, size in sizes.items()}, constants)
    outputs: tuple[Output, ...] = (
        Landmarks(tensor="points", left_eye=(0, 1), right_eye=(2, 3), axes=(4, 5, 6, 7), admit_presence=admit_presence),
        Presence(tensor="presence", activation="none", min_score=0.5),
        *emotions,
        ActionUnits(tensor="units", activation="sigmoid", labels=ACTION_UNITS, quantity="presence", learned_from="arithmetic"),
    )
    spec = CropInput(tensor="crop", color="gray", size_wh_px=(8, 8), region=BoxRegion(), scale=1 / 127.5, offset=-1.0)
    return load_package(save(folder, manifest_of(Stage(name="face", model="face.onnx", input=spec, outputs=outputs))))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return _package(tmp_path_factory.mktemp("models") / "both", _SEEN, _FER2013)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def _pictures(*grays: int, side: int = 48) -> Pixels:
    return np.stack([np.full((side, side), gray, np.uint8) for gray in grays])


def _silent(_: str) -> None:
    return None


def test_each_convention_is_read_from_its_own_output(both: Package) -> None:
    with Networks(both, "fp32") as networks:
        read = networks.whole(_pictures(250, 5, 240))
    assert [EMOTIONS[top] for top in read["seen"].argmax(axis=1)] == ["happy", "sad", "happy"]
    assert [EMOTIONS[top] for top in read["fer2013"].argmax(axis=1)] == ["angry", "neutral", "angry"]
    assert read["seen"].sum(axis=1) == pytest.approx(np.ones(3))


def test_one_output_serves_both_conventions(tmp_path: Path) -> None:
    with Networks(_package(tmp_path / "one", _SEEN), "fp32") as networks:
        assert networks.output("fer2013") == networks.output("seen")
        read = networks.whole(_pictures(250, 5))
    assert (read["seen"] == read["fer2013"]).all()


def test_pictures_of_any_number_are_read_in_their_order(both: Package) -> None:
    grays = [250 if number % 3 else 5 for number in range(150)]  # more than two batches
    with Networks(both, "fp32") as networks:
        read = networks.whole(_pictures(*grays))["seen"]
    assert [EMOTIONS[top] for top in read.argmax(axis=1)] == ["happy" if gray == 250 else "sad" for gray in grays]


def test_a_hidden_output_is_read_on_the_runtimes_path_too(both: Package, cache: Path) -> None:
    pictures = _pictures(250, 5, 250)
    faces = find_faces(pictures, load_package(both.detector_path()), say=_silent)
    assert [face is not None for face in faces] == [True, False, True]
    tops = {}
    with Networks(both, "fp32") as networks:
        for convention in CONVENTIONS:
            readings = networks.faces(with_faces(pictures, faces, _silent), 3, convention)
            assert readings.found.tolist() == [True, False, True]
            assert np.isnan(readings.emotions[1]).all()
            tops[convention] = [EMOTIONS[top] for top in readings.emotions[[0, 2]].argmax(axis=1)]
    assert tops == {"seen": ["happy", "happy"], "fer2013": ["angry", "angry"]}
    assert readings.pose_deg[0] == pytest.approx([0, 0, 0], abs=1e-6)
    figures = emotion_figures(Truth("seen", np.arange(3), np.array([1, 5, 2])), readings.emotions, output="o", labels="l")
    assert (figures.n, figures.n_without_face, figures.accuracy) == (3, 1, 0.0)


@pytest.mark.parametrize(("sureness", "points"), [(0.8, _POINTS), (1.0, 0.75 * _POINTS + 1)], ids=["unsure", "elsewhere"])
def test_a_face_that_the_runtime_would_not_let_in_is_missed(sureness: float, points: Points, tmp_path: Path, cache: Path) -> None:
    package = _package(tmp_path / "models" / "one", _SEEN, sureness=sureness, points=points)
    pictures = _pictures(250)
    faces = find_faces(pictures, load_package(package.detector_path()), say=_silent)
    with Networks(package, "fp32") as networks:
        assert not networks.faces(with_faces(pictures, faces, _silent), 1, "seen").found[0]


def test_who_is_let_in_is_the_packages_own_limit(tmp_path: Path, cache: Path) -> None:
    pictures, found = _pictures(250), []
    for admit_presence in (0.79, 0.81):
        package = _package(tmp_path / "models" / f"from-{admit_presence}", _SEEN, sureness=0.8, admit_presence=admit_presence)
        faces = find_faces(pictures, load_package(package.detector_path()), say=_silent)
        with Networks(package, "fp32") as networks:
            found.append(bool(networks.faces(with_faces(pictures, faces, _silent), 1, "seen").found[0]))
    assert found == [True, False]


def test_a_package_without_the_seven_emotions_is_refused(tmp_path: Path) -> None:
    make_affect(tmp_path / "pair")
    with pytest.raises(ConfigError, match=r"package 'toy-affect': expected the emotions neutral, happy, .* in 'pair', got happy, sad"):
        emotions_output(load_package(tmp_path / "pair"), "seen")


def test_a_package_without_emotions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="package 'toy' has no network that reads emotions from a crop"):
        emotions_output(_package(tmp_path / "none"), "seen")


def _renders(n_people: int, brightness: Callable[[np.ndarray[tuple[int, ...], np.dtype[np.float64]]], object]) -> RenderedPeople:
    """Pictures whose brightness says something of the units: those of `ACTION_UNITS` are drawn all together, and weaker or stronger."""
    rng = np.random.default_rng(3)
    n = 4 * n_people
    strength = np.where(np.arange(n) % 2, rng.uniform(0.2, 1.0, n), 0.0)
    grays = np.asarray(brightness(strength), np.float64)
    pictures = np.stack([np.full((64, 64), 0.4 * gray) for gray in grays])
    pictures[:, 24:32, 24:32] = grays[:, np.newaxis, np.newaxis]  # one cell of the detector
    return RenderedPeople(
        pictures=np.asarray(pictures, np.uint8),
        units=np.repeat(strength[:, np.newaxis], 15, axis=1).astype(np.float32),
        pose=np.zeros((n, 3), np.float32),
        person=np.arange(n) // 4,
        traits={
            name: np.asarray(values, np.float32) for name, values in (("skin", np.linspace(0, 1, n)), ("glasses", np.zeros(n)), ("beard", np.arange(n) % 2))
        },
    )


def test_units_that_follow_what_was_drawn_are_found_out(both: Package) -> None:
    renders = _renders(12, lambda strength: 180 + 70 * strength)
    with Networks(both, "fp32") as networks:
        figures = units_on_renders(networks, load_package(both.detector_path()), renders, _silent)
    assert (figures.n, figures.n_found, figures.n_people) == (48, 48, 12)
    assert figures.mean_auc.estimate == 1.0
    assert figures.mean_pearson == pytest.approx(1.0, abs=0.02)
    assert figures.pose_error_deg is not None
    assert max(most for _, most in figures.pose_error_deg.values()) < 1e-3
    without, _ = figures.bins["glasses (none below 0.01)"]
    assert (without.of, without.n) == (48, 48)
    beardless, bearded = figures.bins["beard (none below 0.01)"]
    assert (beardless.of, bearded.of, beardless.mean_auc, bearded.mean_auc) == (24, 24, None, None)  # all drawn, or none: no area


def test_renders_without_a_face_are_refused(both: Package) -> None:
    with Networks(both, "fp32") as networks, pytest.raises(ConfigError, match="expected faces in at least 10 of 48 renders, got 0"):
        units_on_renders(networks, load_package(both.detector_path()), _renders(12, np.zeros_like), _silent)


def test_units_that_have_nothing_to_do_with_it_are_found_out_too(both: Package) -> None:
    renders = _renders(40, lambda strength: np.random.default_rng(5).integers(180, 250, strength.size))
    with Networks(both, "fp32") as networks:
        figures = units_on_renders(networks, load_package(both.detector_path()), renders, _silent)
    assert figures.mean_auc.low < 0.5 < figures.mean_auc.high


def test_a_unit_that_copies_an_emotion_fails_within_it(both: Package) -> None:
    """Over all faces the copy goes with the teacher; among the happy it does not, and that is what the figures say."""
    rng = np.random.default_rng(9)
    n, column = 400, ACTION_UNITS.index("AU12")
    emotion = np.where(np.arange(n) % 2, EMOTIONS.index("happy"), EMOTIONS.index("neutral"))
    smile = np.where(emotion == EMOTIONS.index("happy"), rng.uniform(0.4, 1.0, n), rng.uniform(0.0, 0.1, n))
    taught = np.tile(smile[:, np.newaxis], (1, 15))
    lessons = Taught(taught, np.zeros((n, 3)), np.zeros((n, 17, 2)))
    # Of every fifth the teacher is not sure when it is mirrored.
    contradicted = np.where(np.arange(n)[:, np.newaxis] % 5, taught + rng.normal(0, taught.std(), (n, 15)), np.nan)
    mirrored = Taught(contradicted, np.zeros((n, 3)), np.zeros((n, 17, 2)))
    with Networks(both, "fp32") as networks:
        readings = networks.faces(((lambda: np.zeros((8, 8, 3), np.uint8), None) for _ in range(n)), n, "seen")
    assert not readings.found.any()
    with pytest.raises(ConfigError, match="expected at least 20 pictures of 400 in which package and teacher find a face, got 0"):
        units_on_photographs(readings, lessons, mirrored, emotion, teacher="t", is_teacher=False)
    readings.found[:] = True
    readings.units[:] = rng.uniform(0, 0.05, (n, 15)) + 0.8 * (emotion == EMOTIONS.index("happy"))[:, np.newaxis]
    figures = units_on_photographs(readings, lessons, mirrored, emotion, teacher="t", is_teacher=False)
    assert figures.correlation["AU12"].overall.pearson.estimate > 0.9
    assert abs(figures.correlation["AU12"].within["happy"].pearson.estimate) < 0.2
    assert "angry" not in figures.correlation["AU12"].within
    readings.units[:, column] = taught[:, column]
    figures = units_on_photographs(readings, lessons, mirrored, emotion, teacher="t", is_teacher=False)
    assert figures.correlation["AU12"].within["happy"].pearson.estimate == pytest.approx(1)
    # With as much noise as signal in one of two readings: sqrt(1/2) with each other, and sqrt(1 / (1 + 1/4)) of the truth with their mean.
    twice = figures.correlation["AU12"]
    assert (twice.teacher_mirrored.n, twice.with_mean.n) == (320, 320)
    assert twice.teacher_mirrored.pearson.estimate == pytest.approx(0.707, abs=0.06)
    assert twice.with_mean.pearson.estimate == pytest.approx(0.894, abs=0.04)
    check = next(each for each in figures.emotions if each.unit == "AU12")
    assert (check.n, check.n_neutral, check.auc and check.auc.estimate) == (200, 200, 1.0)
    assert figures.pose_error_deg is None  # the readings have none
    alone = units_on_photographs(readings, lessons, mirrored, emotion, teacher="t", is_teacher=True)
    assert (alone.correlation, alone.not_compared) == ({}, "the package is the teacher")


def test_rendered_people_are_measured_with_the_default_package(models: Path) -> None:
    path = os.environ.get(GEOMETRY, "")
    if not path:
        pytest.skip(f"the geometry is not in the repository: {GEOMETRY}=ict_facekit.npz runs this")
    package = load_package(models / "default")
    renders = rendered_people(Path(path), split="test", n_people=12, per_person=4, say=_silent, processes=1)
    with Networks(package, "fp32") as networks:
        figures = units_on_renders(networks, load_package(package.detector_path()), renders, _silent)
    assert figures.n == 48
    assert figures.n_found > 40
    assert figures.per_unit["AU26"].auc.estimate > 0.75  # an open mouth is hard to miss
    assert figures.per_unit["AU26"].auc.low < figures.per_unit["AU26"].auc.estimate
    assert figures.pose_error_deg is not None
    assert figures.pose_error_deg["yaw"][0] < 6
    first, *_, last = figures.bins["size of the face (px)"]
    assert first.bin.endswith("(picture 160)")
    assert last.n <= first.n
