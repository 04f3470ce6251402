"""What the runtime says about a frame: the record `edge.result/1`, without pixels and without embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge.frame import CaptureTimeFrom

RESULT_SCHEMA = "edge.result/1"

EMOTIONS = ("neutral", "happy", "surprised", "angry", "disgusted", "sad", "afraid")
ACTION_UNITS = ("AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU10", "AU12", "AU15", "AU16", "AU17", "AU20", "AU23", "AU26")

FrameStatus = Literal["ok", "no_face", "stale"]
FaceStatus = Literal["ok", "warming_up", "low_quality"]


@dataclass(frozen=True, slots=True)
class Pose:
    """Head pose in degrees.

    Attributes:
        yaw: Positive when the face turns towards the right edge of the picture.
        pitch: Positive when it looks up.
        roll: Positive when it tilts clockwise, as seen in the picture.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the networks say of one face, or of a whole picture. None where a package has no such output; never a made-up number.

    Attributes:
        emotions: Probabilities of the contract's seven names.
        action_units: AU name to presence or intensity in [0, 1] (the package says which).
        scores: Probabilities of other labels, for packages that have them.
    """

    emotions: Mapping[str, float] | None = None
    action_units: Mapping[str, float] | None = None
    scores: Mapping[str, float] | None = None

    @property
    def ranked(self) -> Mapping[str, float]:
        """The numbers whose largest one sums it up: emotions, else scores; empty where there are none."""
        return self.emotions if self.emotions is not None else self.scores or {}


@dataclass(frozen=True, slots=True)
class FaceResult:
    """One face in one frame.

    Attributes:
        track: Identifier that stays with the face while it is followed.
        box_ltrb_px: Left, top, right, bottom in frame pixels; may reach outside the frame.
        score: Confidence of the detector or of the following network that this is a face, in [0, 1].
        status: `ok`; `low_quality` with `reasons` and no smoothed numbers; `warming_up` while a clip or a filter is not full.
        reasons: Limits of the package that are passed, such as `blur` or `yaw>35`; what its networks need and do not get: `no sound`, `sound late`, `fps<8`;
            `no number` where they overflow.
        estimate: Smoothed over media time; None unless `status` is `ok`.
        raw: This frame alone, unsmoothed, for `--raw`; None where numbers are missing, as while a clip is not full.
        pose: None where the package cannot tell.
        primary: True for the one face that a single-person application should look at.
    """

    track: int
    box_ltrb_px: tuple[float, float, float, float]
    score: float
    status: FaceStatus
    reasons: tuple[str, ...]
    pose: Pose | None
    estimate: Estimate | None
    raw: Estimate | None
    primary: bool = False


@dataclass(frozen=True, slots=True)
class FrameResult:
    """One frame.

    `stage_ms` holds wall milliseconds per stage of the path (see `Analyzer.step`; `read` includes waiting for the frame); `age_ms` is None for sources that
    are not paced. `frame` is what is said of the whole picture, smoothed over media time, and `frame_raw` the same of this frame alone: None for packages that
    look at faces only. A package that looks at whole pictures only has frames that are `ok` and no `faces`.
    """

    source: str
    seq: int
    t_media_ns: int
    t_capture_ns: int
    t_capture_from: CaptureTimeFrom
    t_publish_ns: int
    age_ms: float | None
    status: FrameStatus
    dropped: int
    stage_ms: Mapping[str, float]
    faces: tuple[FaceResult, ...] = field(default=())
    frame: Estimate | None = None
    frame_raw: Estimate | None = None

    def record(self, *, raw: bool = False) -> dict[str, Any]:
        """Return the contract's JSON object.

        Args:
            raw: Add the unsmoothed values of each face, and of the whole picture, under `raw`.
        """
        record: dict[str, Any] = {
            "schema": RESULT_SCHEMA,
            "source": self.source,
            "seq": self.seq,
            "t_media_ns": self.t_media_ns,
            "t_capture_ns": self.t_capture_ns,
            "t_capture_from": self.t_capture_from,
            "t_publish_ns": self.t_publish_ns,
            "age_ms": None if self.age_ms is None else round(self.age_ms, 3),
            "status": self.status,
            "dropped": self.dropped,
            "stage_ms": {name: round(ms, 3) for name, ms in self.stage_ms.items()},
            "faces": [_face_record(face, raw=raw) for face in self.faces],
        }
        if self.frame is not None:
            record["frame"] = _frame_record(self.frame)
            if raw:
                record["frame"]["raw"] = _frame_record(self.frame_raw or Estimate())
        return record


def top_label(scores: Mapping[str, float]) -> str:
    """Return the label of the largest score; the first one of equals."""
    return max(scores, key=scores.__getitem__)


def _face_record(face: FaceResult, *, raw: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "track": face.track,
        "primary": face.primary,
        "box_ltrb_px": [round(edge, 1) for edge in face.box_ltrb_px],
        "score": round(face.score, 4),
        "status": face.status,
        "reasons": list(face.reasons),
        "pose_deg": None if face.pose is None else {"yaw": round(face.pose.yaw, 1), "pitch": round(face.pose.pitch, 1), "roll": round(face.pose.roll, 1)},
        **_estimate_record(face.estimate or Estimate()),
    }
    if raw:
        record["raw"] = _estimate_record(face.raw or Estimate())
    return record


def _estimate_record(estimate: Estimate) -> dict[str, Any]:
    record: dict[str, Any] = {
        "emotion": None if estimate.emotions is None else top_label(estimate.emotions),
        "emotions": _rounded(estimate.emotions),
        "action_units": _rounded(estimate.action_units),
    }
    if estimate.scores is not None:
        record |= {"label": top_label(estimate.scores), "scores": _rounded(estimate.scores)}
    return record


def _frame_record(estimate: Estimate) -> dict[str, Any]:
    """As a face's, without what the package does not say of pictures."""
    return {name: value for name, value in _estimate_record(estimate).items() if value is not None}


def _rounded(values: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if values is None else {name: round(value, 4) for name, value in values.items()}
