"""CSV: one row for each face, with our own column names or with those of two tools whose files analysis scripts already read.

A value that does not exist is an empty cell, never 0. A frame without a face has one row. What a package says of whole pictures stands in `frame_...`, in
our own style only, the same in each row of a frame.

`openface`: the columns that OpenFace 2.2 writes for `FeatureExtraction -pose -aus`. Its frames count from 1, its times are seconds and its angles radians about
the axes of the camera: x to the right, y down, z away from it, so a head that looks up has a negative `pose_Rx` and one that turns to the right edge of the
picture a negative `pose_Ry`. Our angles are not decomposed in its order (x, y, z); for turns about several axes at once they agree roughly only.
`AU12_r` is the intensity times 5 and is filled from packages that give intensities; `AU12_c` is presence from 0.5 on and is filled from packages that give
presences. `success` is 1 where the numbers are good, 0 for faces of low quality and for frames without a face.

`pyfeat`: the columns of py-feat's `Fex`. Frames count from 0, angles are radians: up, to the subject's right (the left edge of the picture) and tilted to
the subject's right (anticlockwise in the picture) are positive. Its action units are in [0, 1], as ours.

Both have our `AU16` after their own columns, which neither tool knows.

Source: https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format; signs of its angles: issues 191, 702 and 966 there;
`feat/utils/__init__.py` and `feat/detector_v2.py` of py-feat 2.1.5.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from edge.errors import ConfigError
from edge.output.header import Header
from edge.output.line_file import LineFile
from edge.output.output import CsvStyle
from edge.result import ACTION_UNITS, EMOTIONS, Estimate, FaceResult, FrameResult, top_label

Row = dict[str, object]

# Source: the file format named above; 28 has a presence only.
_OPENFACE_INTENSITIES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_OPENFACE_PRESENCES = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
_OPENFACE_MAX_INTENSITY = 5.0  # Source: FACS' five levels A to E
_PRESENCE_THRESHOLD = 0.5  # more likely than not
_PYFEAT_ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
_PYFEAT_EMOTIONS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "afraid",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprised",
    "neutral": "neutral",
}


class CsvTable:
    """A CSV file.

    Args:
        dest: Path of the file; an existing one is overwritten.
        header: Says whether the package gives presences or intensities, which labels of its own it has, and what it says of whole pictures.
        style: Whose column names.
        raw: Add unsmoothed values as `raw_...`; in the `edge` style only.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The file cannot be made, or the style has no columns for what it would hold: unsmoothed values, or what is said of whole pictures.
        OutputError: The column names could not be written.
    """

    def __init__(self, dest: str, *, header: Header, style: CsvStyle = "edge", raw: bool = False, input_path: Path | None = None) -> None:
        if raw and style != "edge":
            raise ConfigError(f"--raw has no columns in --csv-style {style}", hint="--csv-style edge, or write a .jsonl file")
        if header.frame_labels and style != "edge":
            raise ConfigError(
                f"--csv-style {style} has no columns for what package '{header.package}' says of whole pictures",
                hint="--csv-style edge, or write a .jsonl file",
            )
        columns, self._row = _layout(style, header, raw=raw)
        self._text = io.StringIO()
        self._writer = csv.DictWriter(self._text, columns, restval="", lineterminator="")
        self._lines = LineFile(dest, input_path=input_path)
        self._writer.writeheader()
        self._lines.write_first_line(self._take_line())

    def write(self, result: FrameResult) -> None:
        """Write a row for each face, or one row where there is none.

        Raises:
            OutputError: It could not be written.
        """
        for face in result.faces or (None,):
            self._writer.writerow({name: value for name, value in self._row(result, face).items() if value is not None})
            self._lines.write_line(self._take_line())

    def close(self) -> None:
        """Close the file. Closing twice is allowed.

        Raises:
            OutputError: The file system reports a late failure.
        """
        self._lines.close()

    def _take_line(self) -> bytes:
        line = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return line.encode()


def _layout(style: CsvStyle, header: Header, *, raw: bool) -> tuple[list[str], Callable[[FrameResult, FaceResult | None], Row]]:
    if style == "openface":
        return _openface_columns(), lambda result, face: _openface_row(result, face, intensity=header.au_quantity == "intensity")
    if style == "pyfeat":
        return _pyfeat_columns(), _pyfeat_row
    return _edge_columns(header, raw=raw), lambda result, face: _edge_row(result, face, raw=raw)


def _edge_columns(header: Header, *, raw: bool) -> list[str]:
    values = ["emotion", *EMOTIONS, *ACTION_UNITS]
    if header.score_labels:
        values += ["label", *(f"score_{label}" for label in header.score_labels)]
    values += _frame_columns(header)
    return [
        *("source", "seq", "t_media_ns", "t_capture_ns", "t_publish_ns", "age_ms", "frame_status", "dropped"),
        *("track", "primary", "left_px", "top_px", "right_px", "bottom_px", "score", "status", "reasons", "yaw_deg", "pitch_deg", "roll_deg"),
        *values,
        *(f"raw_{name}" for name in values if raw),
    ]


def _frame_columns(header: Header) -> list[str]:
    columns = []
    for role, labels in header.frame_labels.items():
        columns += {"emotions": ["emotion", *labels], "action_units": [*labels], "scores": ["label", *(f"score_{label}" for label in labels)]}[role]
    return [f"frame_{name}" for name in columns]


def _edge_row(result: FrameResult, face: FaceResult | None, *, raw: bool) -> Row:
    row: Row = {
        "source": result.source,
        "seq": result.seq,
        "t_media_ns": result.t_media_ns,
        "t_capture_ns": result.t_capture_ns,
        "t_publish_ns": result.t_publish_ns,
        "age_ms": None if result.age_ms is None else round(result.age_ms, 3),
        "frame_status": result.status,
        "dropped": result.dropped,
    }
    row |= {f"frame_{name}": value for name, value in _edge_values(result.frame).items()}
    if raw:
        row |= {f"raw_frame_{name}": value for name, value in _edge_values(result.frame_raw).items()}
    if face is None:
        return row
    row |= {"track": face.track, "primary": int(face.primary), "score": round(face.score, 4), "status": face.status, "reasons": ";".join(face.reasons)}
    row |= {name: round(px, 1) for name, px in zip(("left_px", "top_px", "right_px", "bottom_px"), face.box_ltrb_px, strict=True)}
    if face.pose is not None:
        row |= {"yaw_deg": round(face.pose.yaw, 1), "pitch_deg": round(face.pose.pitch, 1), "roll_deg": round(face.pose.roll, 1)}
    row |= _edge_values(face.estimate)
    if raw:
        row |= {f"raw_{name}": value for name, value in _edge_values(face.raw).items()}
    return row


def _edge_values(estimate: Estimate | None) -> Row:
    row: Row = {}
    if estimate is None:
        return row
    if estimate.emotions is not None:
        row |= {"emotion": top_label(estimate.emotions)} | _rounded(estimate.emotions)
    if estimate.action_units is not None:
        row |= _rounded(estimate.action_units)
    if estimate.scores is not None:
        row |= {"label": top_label(estimate.scores)} | {f"score_{name}": value for name, value in _rounded(estimate.scores).items()}
    return row


def _openface_columns() -> list[str]:
    return [
        *("frame", "face_id", "timestamp", "confidence", "success"),
        *("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"),
        *(f"AU{number:02d}_r" for number in _OPENFACE_INTENSITIES),
        *(f"AU{number:02d}_c" for number in _OPENFACE_PRESENCES),
        *("AU16_r", "AU16_c"),
    ]


def _openface_row(result: FrameResult, face: FaceResult | None, *, intensity: bool) -> Row:
    row: Row = {"frame": result.seq + 1, "timestamp": f"{result.t_media_ns / 1e9:.3f}", "success": 0}
    if face is None:
        return row
    row |= {"face_id": face.track, "confidence": f"{face.score:.2f}", "success": int(face.status == "ok")}
    if face.pose is not None:
        row |= {"pose_Rx": _radians(-face.pose.pitch), "pose_Ry": _radians(-face.pose.yaw), "pose_Rz": _radians(face.pose.roll)}
    for number, value in _numbered(face.estimate).items():
        if intensity:
            row[f"AU{number:02d}_r"] = f"{value * _OPENFACE_MAX_INTENSITY:.2f}"
        else:
            row[f"AU{number:02d}_c"] = int(value >= _PRESENCE_THRESHOLD)
    return row


def _pyfeat_columns() -> list[str]:
    return [
        *("frame", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "Pitch", "Roll", "Yaw"),
        *(f"AU{number:02d}" for number in _PYFEAT_ACTION_UNITS),
        *_PYFEAT_EMOTIONS,
        *("input", "approx_time", "AU16"),
    ]


def _pyfeat_row(result: FrameResult, face: FaceResult | None) -> Row:
    minutes, seconds = divmod(result.t_media_ns // 1_000_000_000, 60)
    row: Row = {"frame": result.seq, "input": result.source, "approx_time": f"{minutes:02d}:{seconds:02d}"}
    if face is None:
        return row
    left, top, right, bottom = face.box_ltrb_px
    row |= {"FaceRectX": round(left, 1), "FaceRectY": round(top, 1), "FaceRectWidth": round(right - left, 1), "FaceRectHeight": round(bottom - top, 1)}
    row["FaceScore"] = round(face.score, 4)
    if face.pose is not None:
        row |= {"Pitch": _radians(face.pose.pitch), "Roll": _radians(-face.pose.roll), "Yaw": _radians(-face.pose.yaw)}
    row |= {f"AU{number:02d}": round(value, 4) for number, value in _numbered(face.estimate).items()}
    if face.estimate is not None and face.estimate.emotions is not None:
        row |= {theirs: round(face.estimate.emotions[ours], 4) for theirs, ours in _PYFEAT_EMOTIONS.items() if ours in face.estimate.emotions}
    return row


def _numbered(estimate: Estimate | None) -> dict[int, float]:
    if estimate is None or estimate.action_units is None:
        return {}
    return {int(name.removeprefix("AU")): value for name, value in estimate.action_units.items()}


def _radians(degrees: float) -> float:
    return round(math.radians(degrees), 4)


def _rounded(values: Mapping[str, float]) -> Row:
    return {name: round(value, 4) for name, value in values.items()}
