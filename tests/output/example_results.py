"""Results as the runtime makes them, for the tests of what is done with them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge.output.header import Header
from edge.result import ACTION_UNITS, EMOTIONS, Estimate, FaceResult, FaceStatus, FrameResult, Pose
from edge.stage import Role

UNITS = {name: index / 20 for index, name in enumerate(ACTION_UNITS) if name != "AU9"}


def an_estimate(strongest: str = "happy") -> Estimate:
    return Estimate(emotions={name: 0.7 if name == strongest else 0.05 for name in EMOTIONS}, action_units=UNITS)


def a_face(*, track: int = 7, status: FaceStatus = "ok", reasons: tuple[str, ...] = (), estimate: Estimate | None = None, primary: bool = True) -> FaceResult:
    return FaceResult(
        track=track,
        box_ltrb_px=(10.0, 20.0, 90.0, 120.0),
        score=0.97,
        status=status,
        reasons=reasons,
        pose=Pose(yaw=30.0, pitch=-10.0, roll=5.0),
        estimate=(estimate or an_estimate()) if status == "ok" else None,
        raw=an_estimate("sad"),
        primary=primary,
    )


def a_result(
    *faces: FaceResult,
    seq: int = 0,
    fps: float = 25.0,
    age_ms: float | None = None,
    dropped: int = 0,
    infer_ms: float = 2.0,
    frame: Estimate | None = None,
    looks_for_faces: bool = True,
) -> FrameResult:
    t_media_ns = round(seq * 1e9 / fps)
    return FrameResult(
        source="clip.mp4",
        seq=seq,
        t_media_ns=t_media_ns,
        t_capture_ns=1_000_000_000 + t_media_ns,
        t_capture_from="arrival",
        t_publish_ns=1_005_000_000 + t_media_ns,
        age_ms=age_ms,
        status="ok" if faces or not looks_for_faces else "no_face",
        dropped=dropped,
        stage_ms={"detect": 1.9, "infer": infer_ms},
        faces=faces,
        frame=frame,
        frame_raw=None if frame is None else a_picture_estimate(0.3),
    )


def a_picture_estimate(sadness: float = 0.8) -> Estimate:
    return Estimate(scores={"sadness": sadness, "not sadness": 1 - sadness})


def a_picture_result(*, seq: int = 0, sadness: float = 0.8) -> FrameResult:
    """Of a package that looks at whole pictures only."""
    return a_result(seq=seq, frame=a_picture_estimate(sadness), looks_for_faces=False)


def a_header(
    *, au_quantity: str | None = "intensity", score_labels: tuple[str, ...] = (), frame_labels: Mapping[Role, tuple[str, ...]] = MappingProxyType({})
) -> Header:
    assert au_quantity in ("presence", "intensity", None)
    return Header(
        t_wall="2024-05-01T12:00:00.000Z",
        versions={"python": "3.11.7"},
        package="toy",
        package_sha256="0" * 64,
        trained=True,
        au_quantity=au_quantity,  # type: ignore[arg-type]
        low_confidence=("AU6",),
        score_labels=score_labels,
        source="clip.mp4",
        settings={"source": "clip.mp4"},
        frame_labels=frame_labels,
    )
