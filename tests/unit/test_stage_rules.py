"""Contradictions in a manifest's stages: each is named, and what has none passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.errors import PackageError
from edge.package import Quality, check_manifest, load_package
from edge.stage import (
    ActionUnit,
    ActionUnits,
    Boxes,
    BoxRegion,
    ClipAudioInput,
    CropInput,
    EmbeddingInput,
    Emotions,
    EyesRegion,
    FrameInput,
    Landmarks,
    PointsInput,
    Presence,
    Scores,
    Stage,
    StageInput,
    frame_labels,
)
from tests.toy_kinds import MIDDLE, SOUND, make_clip_stage, make_embedding_stages, make_frame_stage, make_landmark_stage, manifest_of, save

replace = msgspec.structs.replace

CROP = CropInput(tensor="crop", color="gray", size_wh_px=(8, 8), region=MIDDLE, scale=1.0)
FRAME = FrameInput(tensor="picture", color="rgb", size_wh_px=(8, 8), resize="stretch", scale=1.0)
CLIP = ClipAudioInput(tensor="clip", color="gray", size_wh_px=(8, 8), region=MIDDLE, scale=1.0, n_frames=4, duration_s=0.5, frames_as="channels", audio=SOUND)
EMOTIONS = Emotions(tensor="e", activation="none", labels=("happy", "sad"))
SCORES = Scores(tensor="s", activation="none", labels=("a", "b"))
UNITS = ActionUnits(tensor="u", activation="none", labels=("AU1", "AU2"), quantity="presence", learned_from="none")
LANDMARKS = Landmarks(tensor="p", left_eye=(0, 1), right_eye=(2, 3), axes=(4, 5, 6, 7))
BOXES = Boxes(tensor="b", score_tensor="c", anchors=((8, 1),), eyes=(0, 1), min_score=0.5, max_overlap=0.3)


def stage(spec: StageInput = CROP, *outputs: Any, name: str = "one") -> Stage:
    return Stage(name=name, model="one.onnx", input=spec, outputs=outputs)


def check(*stages: Stage, **settings: Any) -> None:
    check_manifest(manifest_of(*stages, **({"files": {"one.onnx": ""}} | settings)), where="here")


def sound(**changes: Any) -> Stage:
    return stage(replace(CLIP, audio=replace(SOUND, **changes)), SCORES)


AFTER_CROP = EmbeddingInput(tensor="x", stage="one", source="features")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage(CROP, SCORES), stage(CROP, EMOTIONS)], "two stages are called 'one'"),
        ([stage(CROP, BOXES)], "task 'face-affect' with an output of role 'boxes' in stage 'one'"),
        ([stage(FRAME, LANDMARKS), stage(CROP, SCORES, name="two")], "stage 'one' has landmarks, which are read in crops of a face alone"),
        ([stage(FRAME, Presence(tensor="p", activation="none", min_score=0.5)), stage(CROP, name="two")], "which has no presence"),
        ([stage(replace(FRAME, resize="tiles"), SCORES), stage(CROP, EMOTIONS, name="two")], "'one' takes tiles, which are for detection alone"),
        ([stage(CROP)], "stage 'one' has no outputs, and no later stage reads it"),
        ([stage(FRAME, SCORES)], "detector 'toy-detector' is named, but no stage takes faces"),
        ([stage(CROP, SCORES), stage(CROP, SCORES, name="two")], "two outputs say the face's scores"),
        ([stage(FRAME, EMOTIONS, replace(EMOTIONS, tensor="f")), stage(CROP, EMOTIONS, name="two")], "two outputs say the picture's emotions"),
        ([stage(CROP, replace(EMOTIONS, convention="seen"), replace(EMOTIONS, tensor="f", convention="fer2013"))], "two outputs say the face's emotions"),
        ([stage(CROP, replace(EMOTIONS, convention="seen", shown=False), SCORES)], "none of the outputs that say the face's emotions is shown"),
        ([stage(CROP, EMOTIONS, replace(EMOTIONS, tensor="f", shown=False))], "'f' are not shown: expected a convention that no other output has, got ''"),
        ([stage(CROP, replace(EMOTIONS, convention="seen"), replace(EMOTIONS, tensor="f", convention="seen", shown=False))], "no other output has, got 'seen'"),
        ([stage(CROP, UNITS), stage(FRAME, replace(UNITS, quantity="intensity"), name="two")], "presences in one output and intensities in another"),
        ([stage(CLIP, SCORES), replace(sound(rate_hz=16000), name="two", outputs=(EMOTIONS,))], "sound at different rates: 8000 Hz, 16000 Hz"),
        ([stage(PointsInput(tensor="x", stage="mesh", indices=(0,)), SCORES)], "takes landmarks of 'mesh', which is no earlier stage with landmarks"),
        ([stage(CROP, SCORES), stage(PointsInput(tensor="x", stage="one", indices=(0,)), EMOTIONS, name="two")], "no earlier stage with landmarks"),
        (
            [stage(CROP, LANDMARKS), stage(PointsInput(tensor="x", stage="one", indices=()), SCORES, name="two")],
            r"'two' takes landmarks by their indices, from 0; got \[\]",
        ),
        ([stage(CROP, LANDMARKS), stage(PointsInput(tensor="x", stage="one", indices=(0, -1)), SCORES, name="two")], r"from 0; got \[0, -1\]"),
        ([stage(CLIP, LANDMARKS, SCORES)], "stage 'one' has landmarks, which are read in crops of a face alone"),
        ([stage(CROP, replace(LANDMARKS, left_eye=(0, -1)), SCORES)], r"landmarks have indices from 0; got \(0, -1\)"),
        ([stage(CROP, replace(LANDMARKS, admit_presence=1.0), SCORES)], "admit_presence lies between 0 and 1, admit_eye_shift over 0; got 1.0 and 0.07"),
        ([stage(CROP, replace(LANDMARKS, admit_eye_shift=float("nan")), SCORES)], "admit_eye_shift over 0; got 0.9 and nan"),
        ([stage(CROP, Presence(tensor="p", activation="sigmoid", min_score=7.0), SCORES)], "min_score lies between 0 and 1; got 7.0"),
        ([stage(CROP, replace(EMOTIONS, activation="softmax", neutral_below=0.5))], "those of a softmax add up to 1"),
        ([stage(replace(CLIP, duration_s=61.0), SCORES)], "no longer than 60; got duration_s 61.0"),
        ([stage(AFTER_CROP, SCORES)], "stage 'one' takes 'features' of 'one', which is no earlier stage"),
        ([stage(AFTER_CROP, SCORES, name="two"), stage(CROP)], "stage 'two' takes 'features' of 'one', which is no earlier stage"),
        ([stage(replace(CROP, size_wh_px=(0, 8)), SCORES)], r"an input of \(0, 8\) pixels"),
        ([stage(replace(CROP, scale=(1.0, 1.0, 1.0)), SCORES)], "scale has 3 numbers for 1 channels of gray"),
        ([stage(CROP, EMOTIONS), stage(replace(FRAME, offset=(0.0, 1.0)), SCORES, name="two")], "offset has 2 numbers for 3 channels of rgb"),
        ([stage(replace(CROP, scale=0.0), SCORES)], "scale must be finite and not 0; got 0.0"),
        ([stage(replace(CROP, offset=float("nan")), SCORES)], "offset must be finite; got nan"),
        ([stage(replace(CROP, region=BoxRegion(expand=0.0)), SCORES)], "stage 'one': expand is over 0; got 0"),
        ([stage(replace(CLIP, region=EyesRegion(eye_distance=0.0, eye_line=0.3)), SCORES)], "eye_distance is over 0 and eye_line finite; got 0 and 0.3"),
        ([stage(replace(CLIP, n_frames=1), SCORES)], "a clip has at least 2 frames; got n_frames 1"),
        ([stage(replace(CLIP, duration_s=0.0), SCORES)], "a clip lasts longer than 0 s and no longer than 60; got duration_s 0.0"),
        ([sound(tensor="clip")], "clip and sound go to the same tensor 'clip'"),
        ([sound(rate_hz=0)], "sound needs a rate_hz over 0 and a duration_s over 0, up to 60; got 0 Hz, 0.8 s"),
        ([sound(duration_s=float("inf"))], "sound needs a rate_hz over 0 and a duration_s over 0, up to 60; got 8000 Hz, inf s"),
        ([sound(overlap=256)], "overlap is less than a segment; got segment 256, overlap 256"),
        ([sound(segment=1, overlap=0)], "a segment has at least 2 samples"),
        ([sound(duration_s=0.01)], "0.01 s of sound at 8000 Hz are less than one segment of 256 samples"),
        ([sound(taper=1.5)], "taper is a part of a segment, from 0 to 1; got 1.5"),
        ([sound(noise=0.0)], "noise is over 0, or silence would be divided by nothing; got 0.0"),
        ([sound(size_wh_px=(8, 0))], r"a spectrogram of \(8, 0\) pixels"),
        ([stage(CROP, replace(SCORES, labels=()))], "scores must have labels, each once; got none"),
        ([stage(CROP, replace(SCORES, labels=("a", "a")))], "scores must have labels, each once; got a, a"),
        ([stage(CROP, replace(SCORES, columns=(0, 3)))], "scores has 2 labels for columns 0 to 3"),
        ([stage(CROP, replace(SCORES, columns=(2, 0)))], "scores has 2 labels for columns 2 to 0"),
        ([stage(CROP, replace(SCORES, columns=(-1, 1)))], "scores has 2 labels for columns -1 to 1"),
        ([stage(CROP, replace(EMOTIONS, labels=("joy",)))], "emotions must be some of .*; got joy"),
        ([stage(CROP, replace(EMOTIONS, neutral_below=1.0))], "neutral_below lies between 0 and 1; got 1.0"),
        ([stage(CROP, replace(EMOTIONS, labels=("neutral", "sad"), neutral_below=0.5))], "'neutral' is among the labels"),
        ([stage(CROP, replace(UNITS, labels=("AU1", "smile")))], "'smile' is not one of AU1, "),
        ([stage(CROP, replace(UNITS, units=(ActionUnit(label="AU12", shapes=("AU1",), rest=0, full=1),) * 2))], "each action unit once; got AU12, AU12"),
    ],
)
def test_contradictions_are_named(stages: list[Stage], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        check(*stages)


def test_limits_that_nothing_can_meet_are_named() -> None:
    """A limit that is never looked at would be taken for one that is kept."""
    for limits in (Quality(max_yaw_deg=30), Quality(max_pitch_deg=20)):
        check(stage(CROP, LANDMARKS, SCORES), quality=limits)
        with pytest.raises(PackageError, match="quality limits the pose, which no stage tells: it takes landmarks"):
            check(stage(CROP, SCORES), quality=limits)
    check(stage(CROP, SCORES), quality=Quality(min_sharpness=0.1, min_eye_distance_px=20))
    with pytest.raises(PackageError, match="quality limits the sharpness of a crop, and no stage takes one"):
        check(stage(FRAME, SCORES), detector="", quality=Quality(min_sharpness=0.1))


def test_a_package_may_doubt_its_own_labels() -> None:
    check(stage(CROP, SCORES), low_confidence=("a", "AU6"))
    with pytest.raises(PackageError, match="'c' is neither an action unit or an emotion of the contract nor a label of the package's own"):
        check(stage(CROP, SCORES), low_confidence=("c",))


def test_a_detector_must_be_named_for_faces_alone() -> None:
    for spec in (CROP, CLIP):
        with pytest.raises(PackageError, match="stages take crops of faces, but no detector is named"):
            check(stage(spec, SCORES), detector="")
    check(stage(FRAME, SCORES), detector="")


@pytest.mark.parametrize(
    "stages",
    [
        [stage(CROP, SCORES, EMOTIONS, UNITS)],
        [stage(CLIP, SCORES)],
        [stage(CROP), stage(AFTER_CROP, SCORES, name="two")],
        [stage(FRAME, SCORES), stage(CROP, SCORES, name="two")],
        [stage(replace(FRAME, scale=(1.0, 2.0, 3.0), offset=(0.0, 1.0, 2.0)), SCORES), stage(CROP, EMOTIONS, name="two")],
        [stage(CROP, replace(UNITS, columns=(0, 2)), replace(EMOTIONS, columns=(5, 7), neutral_below=0.5))],
        [stage(CROP, replace(EMOTIONS, convention="seen"), replace(EMOTIONS, tensor="f", convention="fer2013", shown=False))],
        [stage(CROP, replace(EMOTIONS, convention="fer2013", shown=False)), stage(CROP, EMOTIONS, name="two")],
    ],
)
def test_what_does_not_contradict_itself_passes(stages: list[Stage]) -> None:
    check(*stages)


def test_what_stands_in_a_record_of_the_whole_picture() -> None:
    said = (stage(FRAME), stage(AFTER_CROP, replace(EMOTIONS, labels=("sad", "happy"), neutral_below=0.5), name="two"), stage(CROP, SCORES, name="three"))
    assert frame_labels(said) == {"emotions": ("neutral", "happy", "sad")}
    check(*said)


def test_packages_of_every_kind_survive_their_file(tmp_path: Path) -> None:
    """TOML keeps what tuples, defaults and nested tables say."""
    folder = tmp_path / "toy"
    clip = make_clip_stage(folder, n_frames=4, duration_s=0.5, audio=SOUND)
    stages = (make_frame_stage(folder), make_landmark_stage(folder), *make_embedding_stages(folder), replace(clip, outputs=(), name="unread"))
    stages = (*stages[:-1], replace(stages[0], name="second", input=replace(FRAME, scale=(1.0, 0.5, 0.25)), outputs=(UNITS,)))
    manifest = manifest_of(*stages)
    loaded = load_package(save(folder, manifest)).manifest
    assert loaded.stages == stages
    folder = tmp_path / "clip"
    clip = make_clip_stage(folder, n_frames=4, duration_s=0.5, audio=SOUND)
    assert load_package(save(folder, manifest_of(clip))).manifest.stages == (clip,)
