"""CSV: our columns and those of two other tools."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from edge.errors import ConfigError
from edge.output.output import CsvStyle, open_output
from edge.result import Estimate, FrameResult
from edge.stage import Role
from tests.output.example_results import UNITS, a_face, a_header, a_picture_result, a_result

# Source: the header that OpenFace 2.2 writes for `FeatureExtraction -pose -aus`.
OPENFACE = (
    "frame,face_id,timestamp,confidence,success,pose_Tx,pose_Ty,pose_Tz,pose_Rx,pose_Ry,pose_Rz,"
    "AU01_r,AU02_r,AU04_r,AU05_r,AU06_r,AU07_r,AU09_r,AU10_r,AU12_r,AU14_r,AU15_r,AU17_r,AU20_r,AU23_r,AU25_r,AU26_r,AU45_r,"
    "AU01_c,AU02_c,AU04_c,AU05_c,AU06_c,AU07_c,AU09_c,AU10_c,AU12_c,AU14_c,AU15_c,AU17_c,AU20_c,AU23_c,AU25_c,AU26_c,AU28_c,AU45_c"
)
# Source: the columns of py-feat's test data, in the order of its constants.
PYFEAT = (
    "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,Pitch,Roll,Yaw,AU01,AU02,AU04,AU05,AU06,AU07,AU09,AU10,AU11,AU12,AU14,AU15,AU17,AU20,"
    "AU23,AU24,AU25,AU26,AU28,AU43,anger,disgust,fear,happiness,sadness,surprise,neutral"
)


def rows(
    folder: Path,
    *results: FrameResult,
    style: CsvStyle = "edge",
    raw: bool = False,
    au_quantity: str = "intensity",
    score_labels: tuple[str, ...] = (),
    frame_labels: Mapping[Role, tuple[str, ...]] = MappingProxyType({}),
) -> list[dict[str, str]]:
    path = folder / "out.csv"
    output = open_output(str(path), header=a_header(au_quantity=au_quantity, score_labels=score_labels, frame_labels=frame_labels), csv_style=style, raw=raw)
    for result in results:
        output.write(result)
    output.close()
    with path.open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_openface_columns_are_its_own_in_its_order(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, a_result(a_face()), style="openface")
    assert ",".join(row) == f"{OPENFACE},AU16_r,AU16_c"


def test_openface_values(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, a_result(a_face(), seq=10), style="openface")
    assert (row["frame"], row["face_id"], row["timestamp"], row["confidence"], row["success"]) == ("11", "7", "0.400", "0.97", "1")
    # Looking down is positive there, turning to the right edge of the picture negative, tilting clockwise positive.
    angles = [float(row[name]) for name in ("pose_Rx", "pose_Ry", "pose_Rz")]
    assert angles == pytest.approx([math.radians(10), math.radians(-30), math.radians(5)], abs=1e-4)
    assert float(row["AU12_r"]) == pytest.approx(UNITS["AU12"] * 5)
    # What we do not have is empty: an AU that the package does not offer, those we never offer, positions in space, presences of an intensity package.
    assert {row[name] for name in ("AU09_r", "AU14_r", "AU25_r", "AU45_r", "pose_Tx", "AU12_c", "AU28_c")} == {""}


def test_openface_presences_fill_the_other_columns(tmp_path: Path) -> None:
    estimate = Estimate(action_units={"AU12": 0.5, "AU4": 0.49})
    (row,) = rows(tmp_path, a_result(a_face(estimate=estimate)), style="openface", au_quantity="presence")
    assert (row["AU12_c"], row["AU04_c"], row["AU01_c"], row["AU12_r"]) == ("1", "0", "", "")


def test_openface_success_is_0_without_good_numbers(tmp_path: Path) -> None:
    none, poor = rows(tmp_path, a_result(seq=0), a_result(a_face(status="low_quality", reasons=("blur",)), seq=1), style="openface")
    assert (none["frame"], none["success"], none["face_id"], none["confidence"], none["AU12_r"]) == ("1", "0", "", "", "")
    assert (poor["frame"], poor["success"], poor["face_id"], poor["confidence"], poor["AU12_r"]) == ("2", "0", "7", "0.97", "")


def test_pyfeat_columns_and_values(tmp_path: Path) -> None:
    row, none = rows(tmp_path, a_result(a_face(), seq=1600), a_result(seq=1601), style="pyfeat")
    assert ",".join(row) == f"{PYFEAT},input,approx_time,AU16"
    assert [float(row[name]) for name in list(row)[:6]] == [1600, 10, 20, 80, 100, 0.97]
    # Up, to the subject's right and tilted to the subject's right are positive there.
    assert [float(row[name]) for name in ("Pitch", "Roll", "Yaw")] == pytest.approx([math.radians(-10), math.radians(-5), math.radians(-30)], abs=1e-4)
    assert float(row["AU12"]) == pytest.approx(UNITS["AU12"])
    assert (row["happiness"], row["anger"], row["AU09"], row["AU11"], row["approx_time"]) == ("0.7", "0.05", "", "", "01:04")
    assert {name for name, value in none.items() if value} == {"frame", "input", "approx_time"}


def test_edge_columns_hold_the_record(tmp_path: Path) -> None:
    row, poor, none = rows(
        tmp_path, a_result(a_face(), age_ms=12.3456, dropped=3), a_result(a_face(status="low_quality", reasons=("blur", "yaw>35")), seq=1), a_result(seq=2)
    )
    assert (row["source"], row["seq"], row["age_ms"], row["dropped"], row["track"], row["primary"]) == ("clip.mp4", "0", "12.346", "3", "7", "1")
    assert [row[name] for name in ("left_px", "top_px", "right_px", "bottom_px", "yaw_deg")] == ["10.0", "20.0", "90.0", "120.0", "30.0"]
    assert (row["emotion"], row["happy"], row["AU12"], row["AU9"]) == ("happy", "0.7", str(UNITS["AU12"]), "")
    assert (poor["status"], poor["reasons"], poor["emotion"], poor["AU12"]) == ("low_quality", "blur;yaw>35", "", "")
    assert (none["frame_status"], none["track"], none["score"]) == ("no_face", "", "")
    assert not any(name.startswith("raw_") for name in row)


def test_edge_raw_columns(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, a_result(a_face(status="low_quality", reasons=("blur",))), raw=True)
    assert (row["emotion"], row["raw_emotion"], row["raw_sad"], row["raw_AU12"]) == ("", "sad", "0.7", str(UNITS["AU12"]))


def test_edge_labels_of_the_package(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, a_result(a_face(estimate=Estimate(scores={"calm": 0.2, "tense": 0.8}))), score_labels=("calm", "tense"))
    assert (row["label"], row["score_calm"], row["score_tense"], row["emotion"]) == ("tense", "0.2", "0.8", "")


def test_edge_columns_of_whole_pictures(tmp_path: Path) -> None:
    labels: dict[Role, tuple[str, ...]] = {"scores": ("sadness", "not sadness"), "emotions": ("happy",), "action_units": ("AU1",)}
    both = Estimate(scores={"sadness": 0.8, "not sadness": 0.2}, emotions={"happy": 0.5}, action_units={"AU1": 0.1})
    alone, first, second = rows(tmp_path, a_picture_result(), a_result(a_face(), a_face(track=8), frame=both), raw=True, frame_labels=labels)
    assert (alone["frame_status"], alone["track"], alone["frame_label"], alone["frame_score_sadness"]) == ("ok", "", "sadness", "0.8")
    assert (alone["raw_frame_label"], alone["raw_frame_score_sadness"], alone["frame_emotion"]) == ("not sadness", "0.3", "")
    for row in (first, second):
        assert (row["emotion"], row["frame_emotion"], row["frame_happy"], row["frame_AU1"], row["frame_label"]) == ("happy", "happy", "0.5", "0.1", "sadness")
    assert not any(name.startswith(("frame_score", "frame_label")) for name in rows(tmp_path, a_result(a_face()))[0])


@pytest.mark.parametrize("style", ["openface", "pyfeat"])
def test_whole_pictures_have_no_columns_in_other_styles(tmp_path: Path, style: CsvStyle) -> None:
    with pytest.raises(ConfigError, match=f"--csv-style {style} has no columns for what package 'toy' says of whole pictures"):
        rows(tmp_path, style=style, frame_labels={"scores": ("sadness",)})
    assert not (tmp_path / "out.csv").exists()


def test_several_faces_are_several_rows_and_odd_names_are_quoted(tmp_path: Path) -> None:
    result = a_result(a_face(track=1), a_face(track=2, primary=False))
    odd = FrameResult(**{name: getattr(result, name) for name in FrameResult.__slots__} | {"source": 'a "b", c\n.mp4'})
    assert [(row["source"], row["track"]) for row in rows(tmp_path, odd)] == [(odd.source, "1"), (odd.source, "2")]


@pytest.mark.parametrize("style", ["openface", "pyfeat"])
def test_raw_is_refused_where_there_are_no_columns_for_it(tmp_path: Path, style: CsvStyle) -> None:
    with pytest.raises(ConfigError, match=f"--raw has no columns in --csv-style {style}"):
        rows(tmp_path, style=style, raw=True)
    assert not (tmp_path / "out.csv").exists()
