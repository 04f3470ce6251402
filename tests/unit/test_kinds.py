"""Every kind of input through the whole data path, on pictures and sounds whose answer is known by arithmetic."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.errors import SpecMismatch
from edge.frame import Frame, Sound
from edge.result import FaceResult, FrameResult
from edge.stage import ActionUnits, Emotions
from tests.toy import spot_frame
from tests.toy_kinds import MIDDLE, SOUND, make_clip_stage, make_embedding_stages, make_frame_stage, make_landmark_stage, manifest_of, save

Spots = list[tuple[int, int, int]]
# The dimmest spot that the detector takes for a face with a margin; a frame's number is added to it.
DIM = 180


def frames_at(fps: float, pictures: list[Spots]) -> list[Frame]:
    return [spot_frame(seq, spots, fps=fps) for seq, spots in enumerate(pictures)]


def analyzed(folder: Path, frames: list[Frame], **settings: object) -> list[FrameResult]:
    analyzer = Analyzer(Config(model=str(folder), smooth="none", **settings))  # type: ignore[arg-type]
    try:
        return [analyzer.step(frame, StageTimes()) for frame in frames]
    finally:
        analyzer.close()


def brightening(n: int, at: tuple[int, int] = (28, 36)) -> list[Spots]:
    return [[(*at, DIM + seq)] for seq in range(n)]


def frame_numbers(face: FaceResult, n: int = 4) -> list[int] | None:
    """Which frames a clip was made of; None where there is none."""
    if face.raw is None:
        assert face.estimate is None
        return None
    assert face.raw.scores is not None
    return [round(face.raw.scores[f"frame {index}"] * 255) - DIM for index in range(n)]


@pytest.fixture
def clip_package(tmp_path: Path) -> Path:
    return save(tmp_path / "toy", manifest_of(make_clip_stage(tmp_path / "toy", n_frames=4, duration_s=0.5)))


@pytest.mark.parametrize(("fps", "first", "back"), [(30, 15, [15, 10, 5, 0]), (24, 12, [12, 8, 4, 0]), (10, 5, [5, 3, 2, 0])])
@pytest.mark.parametrize("frames_as", ["channels", "depth"])
def test_a_clip_is_equally_spaced_in_media_time(tmp_path: Path, frames_as: str, fps: float, first: int, back: list[int]) -> None:
    package = save(tmp_path / "toy", manifest_of(make_clip_stage(tmp_path / "toy", n_frames=4, duration_s=0.5, frames_as=frames_as)))
    for result in analyzed(package, frames_at(fps, brightening(first + 10))):
        (face,) = result.faces
        if result.seq < first:
            assert (face.status, face.reasons, face.estimate) == ("warming_up", (), None)
            assert not any(name.startswith("infer") for name in result.stage_ms)
        else:
            assert (face.status, frame_numbers(face)) == ("ok", [result.seq - each for each in back])


def test_colours_of_a_deep_clip_are_not_mixed_with_its_frames(tmp_path: Path) -> None:
    """float32[N, C, n, H, W]: a network over a colour clip gets each colour's frames together."""
    from edge.crop import batch, clips_of
    from edge.stage import ClipInput

    size = {"size_wh_px": (2, 1), "region": MIDDLE, "scale": (1.0, 1.0, 1.0), "n_frames": 2, "duration_s": 1.0}
    crops = [np.array([[[r, 10 + r, 20 + r]] * 2], np.uint8) for clip in (1, 5) for r in (clip, clip + 1)]
    spec = ClipInput(tensor="x", color="rgb", frames_as="depth", **size)  # type: ignore[arg-type]
    deep = clips_of(batch(crops, spec), spec)
    assert deep[:, :, :, 0, 0].tolist() == [[[1, 2], [11, 12], [21, 22]], [[5, 6], [15, 16], [25, 26]]]
    flat = clips_of(batch(crops, spec), msgspec.structs.replace(spec, frames_as="channels"))
    assert flat[:, :, 0, 0].tolist() == [[1, 11, 21, 2, 12, 22], [5, 15, 25, 6, 16, 26]]


def test_each_face_has_a_clip_of_its_own_and_ready_ones_are_one_batch(clip_package: Path) -> None:
    pictures = [[(12, 12, DIM + seq)] + ([(52, 52, DIM + seq + 20)] if seq >= 8 else []) for seq in range(40)]
    results = analyzed(clip_package, frames_at(30, pictures))
    for result in results:
        by_track = {face.track: face for face in result.faces}
        assert set(by_track) == ({1, 2} if result.seq >= 8 else {1})
        seq = result.seq
        assert frame_numbers(by_track[1]) == ([seq - 15, seq - 10, seq - 5, seq] if seq >= 15 else None)
        if seq >= 8:
            assert frame_numbers(by_track[2]) == ([seq + 5, seq + 10, seq + 15, seq + 20] if seq >= 8 + 15 else None)


def test_faces_of_the_same_first_frame_share_no_clip(clip_package: Path) -> None:
    pictures = [[(12, 12, DIM + seq), (52, 52, DIM + seq + 30)] for seq in range(16)]
    by_track = {face.track: frame_numbers(face) for face in analyzed(clip_package, frames_at(30, pictures))[-1].faces}
    assert sorted(by_track.values(), key=str) == [[0, 5, 10, 15], [30, 35, 40, 45]]


def test_a_hole_in_time_starts_a_clip_anew(clip_package: Path) -> None:
    frames = frames_at(30, brightening(40))
    late = [dataclasses.replace(frame, t_media_ns=frame.t_media_ns + 400_000_000) if frame.seq >= 20 else frame for frame in frames]
    statuses = [result.faces[0].status for result in analyzed(clip_package, late)]
    assert statuses == ["warming_up"] * 15 + ["ok"] * 5 + ["warming_up"] * 15 + ["ok"] * 5


def test_a_face_missed_in_a_frame_keeps_its_clip(clip_package: Path) -> None:
    """Two spaces are 333 ms."""
    for missed in ([17], [17, 18, 19], list(range(17, 26))):
        pictures = brightening(40)
        for seq in missed:
            pictures[seq] = []
        results = analyzed(clip_package, frames_at(30, pictures))
        back = missed[-1] + 1
        statuses = {result.seq: face.status for result in results for face in result.faces}
        assert {seq for seq, status in statuses.items() if status != "ok"} == set(range(15))
        assert {face.track for result in results for face in result.faces} == {1}
        for result in results[back:]:
            wanted = [result.seq - each for each in (15, 10, 5, 0)]
            seen = [seq for seq in statuses if seq <= result.seq]
            assert frame_numbers(result.faces[0]) == [min(seen, key=lambda seq: (abs(seq - each), seq)) for each in wanted]


def test_a_face_missed_for_longer_starts_anew(clip_package: Path) -> None:
    pictures = brightening(44)
    pictures[17:27] = [[] for _ in range(10)]
    faces = [face for result in analyzed(clip_package, frames_at(30, pictures)) for face in result.faces]
    assert [face.status for face in faces] == ["warming_up"] * 15 + ["ok"] * 2 + ["warming_up"] * 15 + ["ok"] * 2
    assert {face.track for face in faces} == {1}


def test_a_face_that_went_away_leaves_no_crops(clip_package: Path) -> None:
    """Also where nobody comes after it."""
    analyzer = Analyzer(Config(model=str(clip_package)))
    for frame in frames_at(30, brightening(20) + [[]] * 40):
        analyzer.step(frame, StageTimes())
        lost = analyzer._tracker._lost
        assert sum(len(track.rings["clip"]._crops) for track in lost) == (16 if 20 <= frame.seq < 30 else 0)
        assert len(lost) == (20 <= frame.seq < 50)
    analyzer.close()


def test_frames_that_come_too_seldom_are_a_reason(clip_package: Path) -> None:
    faces = [result.faces[0] for result in analyzed(clip_package, frames_at(2, brightening(5)))]
    assert [face.status for face in faces] == ["warming_up"] * 2 + ["low_quality"] * 3
    assert faces[-1].reasons == ("fps<3",)
    missed = brightening(12)
    missed[6] = missed[9] = []
    faces = [face for result in analyzed(clip_package, frames_at(2, missed)) for face in result.faces]
    assert [face.status for face in faces] == ["warming_up"] * 2 + ["low_quality"] * 8


def test_a_clip_of_a_face_that_is_followed_by_landmarks(tmp_path: Path) -> None:
    """A newcomer is read twice in its first frame, and gives one crop."""
    folder = tmp_path / "toy"
    package = save(folder, manifest_of(make_landmark_stage(folder), make_clip_stage(folder, n_frames=4, duration_s=0.5)))
    for result in analyzed(package, frames_at(30, brightening(20))):
        (face,) = result.faces
        assert frame_numbers(face) == ([result.seq - back for back in (15, 10, 5, 0)] if result.seq >= 15 else None)


def test_two_clips_fill_side_by_side(tmp_path: Path) -> None:
    """The longer one does not wait for the shorter; numbers come when both are there."""
    folder = tmp_path / "toy"
    short, long = (make_clip_stage(folder, n_frames=4, duration_s=duration_s) for duration_s in (0.2, 0.5))
    labels = ("AU1", "AU2", "AU4", "AU5")
    units = ActionUnits(tensor="frames", activation="none", labels=labels, quantity="presence", learned_from="arithmetic")
    package = save(folder, manifest_of(msgspec.structs.replace(short, name="short", outputs=(units,)), long))
    for result in analyzed(package, frames_at(30, brightening(20))):
        (face,) = result.faces
        assert ("infer.short" in result.stage_ms, "infer.clip" in result.stage_ms) == (result.seq >= 6, result.seq >= 15)
        assert frame_numbers(face) == ([result.seq - back for back in (15, 10, 5, 0)] if result.seq >= 15 else None)
        if result.seq >= 15:
            assert face.raw is not None
            assert face.raw.action_units is not None
            assert [round(value * 255) - DIM for value in face.raw.action_units.values()] == [result.seq - back for back in (6, 4, 2, 0)]


def test_whole_pictures_need_no_faces_and_no_detector(tmp_path: Path) -> None:
    package = save(tmp_path / "toy", manifest_of(make_frame_stage(tmp_path / "toy"), detector=""))
    dark, bright = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), (255, 51, 102), np.uint8)
    bright[:, :32] = 0
    frames = [dataclasses.replace(spot_frame(seq, []), pixels=pixels) for seq, pixels in enumerate((dark, bright))]
    results = analyzed(package, frames)
    assert [(result.status, result.faces) for result in results] == [("ok", ())] * 2
    assert results[1].frame is not None
    assert results[1].frame.scores == pytest.approx({"red": 0.5, "green": 0.1, "blue": 0.2}, abs=1e-6)
    assert "detect" not in results[0].stage_ms
    right = analyzed(package, frames, roi=(32, 0, 64, 64))[1]
    assert right.frame is not None
    assert right.frame.scores == pytest.approx({"red": 1.0, "green": 0.2, "blue": 0.4}, abs=1e-6)


def test_pictures_are_letterboxed_or_stretched_as_the_package_says(tmp_path: Path) -> None:
    wide = np.full((32, 64, 3), 255, np.uint8)
    frame = dataclasses.replace(spot_frame(0, []), pixels=wide)
    for resize, red in (("stretch", 1.0), ("letterbox", 0.5)):
        folder = tmp_path / resize
        package = save(folder, manifest_of(make_frame_stage(folder, resize=resize), detector=""))
        (result,) = analyzed(package, [frame])
        assert result.frame is not None
        assert result.frame.scores is not None
        assert result.frame.scores["red"] == pytest.approx(red)


def test_what_is_said_of_pictures_is_smoothed_over_media_time(tmp_path: Path) -> None:
    package = save(tmp_path / "toy", manifest_of(make_frame_stage(tmp_path / "toy"), detector=""))
    ends = []
    for fps in (10, 40):
        analyzer = Analyzer(Config(model=str(package), time_constant=0.5))
        for seq in range(fps + 1):
            pixels = np.full((8, 8, 3), 0 if seq == 0 else 255, np.uint8)
            result = analyzer.step(dataclasses.replace(spot_frame(seq, [], fps=fps), pixels=pixels), StageTimes())
        analyzer.close()
        assert result.frame is not None
        assert result.frame_raw is not None
        assert result.frame_raw.scores == pytest.approx({"red": 1, "green": 1, "blue": 1})
        assert result.frame.scores is not None
        ends.append(result.frame.scores["red"])
    assert ends == pytest.approx([1 - np.exp(-1 / 0.5)] * 2, abs=1e-6)


def test_faces_and_pictures_in_one_package(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    package = save(folder, manifest_of(make_frame_stage(folder), *make_embedding_stages(folder)))
    seen, empty = analyzed(package, [spot_frame(0, [(28, 36, 204)]), spot_frame(1, [])])
    assert (seen.status, len(seen.faces), empty.status, empty.faces) == ("ok", 1, "no_face", ())
    for result, red in ((seen, 0.8 * 144 / 64**2), (empty, 0.0)):
        assert result.frame is not None
        assert result.frame.scores is not None
        assert result.frame.scores["red"] == pytest.approx(red, abs=0.01)


@pytest.fixture
def embedding_package(tmp_path: Path) -> Path:
    return save(tmp_path / "toy", manifest_of(*make_embedding_stages(tmp_path / "toy")))


def test_an_embedding_goes_from_stage_to_stage_and_into_no_record(embedding_package: Path) -> None:
    """Brightness b: the second network says sadness (1 - b) / 2 in its first column, AU12 and sad b in its second, happy b / 2 in its third."""
    pictures = [[(12, 12, 204), (52, 52, 153)]]
    (result,) = analyzed(embedding_package, frames_at(25, pictures))
    for face, b in zip(sorted(result.faces, key=lambda face: face.box_ltrb_px), (0.8, 0.6), strict=True):
        assert face.estimate is not None
        assert face.estimate.scores == pytest.approx({"sadness": (1 - b) / 2})
        assert face.estimate.action_units == pytest.approx({"AU12": b})
        # Rule E2 at 0.5: the strongest other is sad, at b.
        assert face.estimate.emotions == pytest.approx({"neutral": 0.5 * (1 - b) / 0.5, "happy": b / 2, "sad": b})
    text = json.dumps(result.record(raw=True))
    assert "features" not in text
    assert "tensor" not in text


def test_neutral_follows_the_smoothed_scores(embedding_package: Path) -> None:
    analyzer = Analyzer(Config(model=str(embedding_package), time_constant=0.5))
    first, second = (analyzer.step(spot_frame(seq, [(28, 36, brightness)], fps=2), StageTimes()) for seq, brightness in enumerate((255, 153)))
    analyzer.close()
    b = 0.6 + 0.4 * np.exp(-1)
    assert second.faces[0].estimate is not None
    assert second.faces[0].estimate.emotions == pytest.approx({"neutral": 1 - b, "happy": b / 2, "sad": b}, abs=1e-6)
    assert second.faces[0].raw is not None
    assert second.faces[0].raw.emotions == pytest.approx({"neutral": 0.4, "happy": 0.3, "sad": 0.6}, abs=1e-6)
    assert first.faces[0].estimate is not None
    assert first.faces[0].estimate.emotions == pytest.approx({"neutral": 0.0, "happy": 0.5, "sad": 1.0}, abs=1e-6)


CLICK_S = 1.0


def heard(frames: list[Frame], *, lag_s: float = 0.0, until_s: float = 9.0, rate_hz: int = SOUND.rate_hz) -> list[Frame]:
    """Give frames a sound that comes in pieces up to `lag_s` before each frame and ends at `until_s`: silence with a click."""
    n_samples = round((frames[-1].t_media_ns / 1e9 + 1) * rate_hz)
    samples = np.zeros(n_samples, np.int16)
    samples[round(CLICK_S * rate_hz) :][: rate_hz // 50] = np.random.default_rng(0).integers(-20000, 20000, rate_hz // 50)
    start, with_sound = 0, []
    for frame in frames:
        end = max(start, round((min(frame.t_media_ns / 1e9 - lag_s, until_s)) * rate_hz))
        piece = Sound(samples[start:end], rate_hz, round(start / rate_hz * 1e9)) if end > start else None
        with_sound.append(dataclasses.replace(frame, sound=piece))
        start = end
    return with_sound


def clicked_column(face: FaceResult) -> int:
    assert face.estimate is not None
    assert face.estimate.scores is not None
    columns = [face.estimate.scores[f"column {index}"] for index in range(SOUND.size_wh_px[0])]
    return int(np.argmax(columns))


@pytest.fixture
def audio_package(tmp_path: Path) -> Path:
    return save(tmp_path / "toy", manifest_of(make_clip_stage(tmp_path / "toy", n_frames=4, duration_s=0.3, audio=SOUND)))


@pytest.mark.parametrize("lag_s", [0.0, 0.09])
def test_sound_is_aligned_with_the_frame(audio_package: Path, lag_s: float) -> None:
    """The click moves left by a column in 28 ms, and its place says that the window ends at the frame, or where the sound has come to."""
    frames = heard(frames_at(25, brightening(45)), lag_s=lag_s)
    checked = 0
    for result in analyzed(audio_package, frames):
        (face,) = result.faces
        end_s = result.t_media_ns / 1e9 - lag_s
        if end_s < SOUND.duration_s - 1e-9:
            assert (face.status, face.estimate) == ("warming_up", None)
            continue
        assert face.status == "ok"
        assert frame_numbers(face) is not None
        middle = (CLICK_S + 0.01 - (end_s - SOUND.duration_s)) * SOUND.rate_hz
        column = (middle - SOUND.segment / 2) / (SOUND.segment - SOUND.overlap)
        if 0 < column < 27:
            assert clicked_column(face) == pytest.approx(column, abs=0.8)
            checked += 1
    assert checked >= 15


def test_without_sound_there_are_no_numbers(audio_package: Path) -> None:
    results = analyzed(audio_package, frames_at(25, brightening(30)))
    assert {result.faces[0].status for result in results[:3]} == {"warming_up"}  # sound may be a tenth of a second late
    for result in results[3:]:
        (face,) = result.faces
        assert (face.status, face.reasons, face.estimate, face.raw) == ("low_quality", ("no sound",), None, None)
        record = result.record(raw=True)["faces"][0]
        assert record["emotions"] is None
        assert "scores" not in record


def test_sound_that_ends_is_missed_after_a_tenth_of_a_second(audio_package: Path) -> None:
    faces = [result.faces[0] for result in analyzed(audio_package, heard(frames_at(25, brightening(60)), until_s=1.2))]
    assert [face.status for face in faces] == ["warming_up"] * 20 + ["ok"] * 13 + ["low_quality"] * 27  # up to 1.3 s, at 40 ms
    assert {face.reasons for face in faces[33:]} == {("no sound",)}


@pytest.mark.parametrize("lag_s", [0.12, 0.3])
def test_sound_that_comes_late_is_said_to_be_late(audio_package: Path, lag_s: float) -> None:
    frames = heard(frames_at(25, brightening(60)), lag_s=lag_s, until_s=1.2)
    said = [(face.status, face.reasons) for result in analyzed(audio_package, frames) for face in result.faces]
    first = int(lag_s * 25) + 1  # before that it is missing
    assert set(said[3:first]) <= {("low_quality", ("no sound",))}
    assert set(said[first:55]) == {("low_quality", ("sound late",))}


def test_late_sound_that_ends_is_missed_after_a_second(audio_package: Path) -> None:
    frames = heard(frames_at(25, brightening(60)), lag_s=0.12, until_s=0.8)
    reasons = [result.faces[0].reasons for result in analyzed(audio_package, frames)]
    assert [reason for reason, _ in itertools.groupby(reasons)] == [(), ("no sound",), ("sound late",), ("no sound",)]
    assert reasons.index(("no sound",), 10) == 23 + 25 + 1  # the last of it came at 0.92 s


def test_the_rate_of_the_sound_is_the_packages(audio_package: Path) -> None:
    analyzer = Analyzer(Config(model=str(audio_package)))
    assert analyzer.sound_rate_hz == SOUND.rate_hz
    with pytest.raises(SpecMismatch, match="expected sound at 8000 Hz, got 16000 Hz"):
        analyzer.step(heard(frames_at(25, brightening(2)), rate_hz=16000)[1], StageTimes())
    analyzer.close()


def test_packages_without_sound_ask_for_none(tmp_path: Path) -> None:
    package = save(tmp_path / "toy", manifest_of(make_frame_stage(tmp_path / "toy"), detector=""))
    analyzer = Analyzer(Config(model=str(package)))
    assert analyzer.sound_rate_hz is None
    assert analyzer.detector_package is None
    analyzer.close()


def test_emotions_that_are_not_shown_change_nothing(tmp_path: Path) -> None:
    """A second opinion, of other numbers in another order, stands in no record, and what is shown stays what it was."""
    results = []
    for name in ("alone", "beside"):
        folder = tmp_path / name
        extract, judge = make_embedding_stages(folder)
        if name == "beside":
            (shown,) = (output for output in judge.outputs if isinstance(output, Emotions))
            second = msgspec.structs.replace(shown, labels=("angry", "neutral"), neutral_below=None, convention="fer2013", shown=False)
            judge = msgspec.structs.replace(judge, outputs=(second, *judge.outputs))
        results.append(analyzed(save(folder, manifest_of(extract, judge)), frames_at(10, brightening(3))))
    alone, beside = ([result.record(raw=True)["faces"] for result in each] for each in results)
    assert alone == beside
    assert set(alone[-1][0]["emotions"]) == {"neutral", "happy", "sad"}
