"""The data path on pictures whose answer is known by arithmetic."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edge.analyzer import Analyzer
from edge.clock import StageTimes
from edge.config import Config
from edge.engine import ort
from edge.engine.trt.start import find_tensorrt
from edge.errors import ConfigError, EdgeError, InferenceFailed, PackageNotFound, PackageRefused
from edge.package import Quality, load_package
from edge.result import FaceResult, FrameResult
from tests.toy import affect_manifest, make_affect, save_package, spot_frame


@pytest.fixture
def package(tmp_path: Path) -> str:
    return str(make_affect(tmp_path / "toy-affect"))


def run(config: Config, pictures: list[list[tuple[int, int, int]]], *, size_wh_px: tuple[int, int] = (64, 64), fps: float = 25.0) -> list[FrameResult]:
    analyzer = Analyzer(config)
    try:
        return [analyzer.step(spot_frame(seq, spots, size_wh_px=size_wh_px, fps=fps), StageTimes()) for seq, spots in enumerate(pictures)]
    finally:
        analyzer.close()


def only(result: FrameResult) -> FaceResult:
    assert len(result.faces) == 1
    return result.faces[0]


def test_numbers_come_through_unchanged(package: str) -> None:
    (result,) = run(Config(model=package, smooth="none"), [[(28, 36, 255)]])
    face = only(result)
    assert result.status == "ok"
    assert face.status == "ok"
    assert face.box_ltrb_px == pytest.approx((16, 24, 40, 48))
    assert face.estimate is not None
    assert face.estimate.emotions == pytest.approx({"happy": 1.0, "sad": 0.0})
    assert face.estimate.action_units == {"AU12": 1.0}
    assert face.pose is None


def test_action_units_are_interpolated_between_rest_and_full(package: str) -> None:
    (result,) = run(Config(model=package, smooth="none"), [[(28, 36, 153)]])  # brightness .6
    assert only(result).raw.action_units == pytest.approx({"AU12": (0.6 - 0.2) / 0.5}, abs=1e-6)  # type: ignore[union-attr]


def test_an_empty_picture_is_no_face_and_not_an_error(package: str) -> None:
    (result,) = run(Config(model=package), [[]])
    assert (result.status, result.faces) == ("no_face", ())


def test_smoothing_runs_on_media_time(package: str) -> None:
    """The same second of media time gives the same value at 10 and at 40 frames a second."""
    ends = []
    for fps in (10, 40):
        pictures = [[(28, 36, 255)]] + [[(28, 36, 140)]] * fps
        last = run(Config(model=package, time_constant=0.5), pictures, fps=fps)[-1]
        ends.append(only(last).estimate.emotions["happy"])  # type: ignore[union-attr,index]
    expected = 140 / 255 + (1 - 140 / 255) * np.exp(-1 / 0.5)
    assert ends == pytest.approx([expected] * 2, abs=1e-6)


def test_tracks_stay_with_their_faces(package: str) -> None:
    pictures = [[(12 + step, 12, 255), (52 - step, 52, 200)] for step in range(12)]
    results = run(Config(model=package, smooth="none"), pictures)
    for result, spots in zip(results, pictures, strict=True):
        by_track = {face.track: face for face in result.faces}
        assert sorted(by_track) == [1, 2]
        for number, (x, _, _) in zip((1, 2), spots, strict=True):
            left, _, right, _ = by_track[number].box_ltrb_px
            assert abs((left + right) / 2 - x) <= 8


def test_a_short_gap_keeps_the_number_and_a_long_one_does_not(package: str) -> None:
    spot = [[(28, 36, 255)]]
    short = run(Config(model=package), spot * 3 + [[]] * 10 + spot)
    assert only(short[-1]).track == 1
    long = run(Config(model=package), spot * 3 + [[]] * 40 + spot)
    assert only(long[-1]).track == 2


def test_most_faces_and_smallest_face(package: str) -> None:
    two = [[(12, 12, 255), (52, 52, 255)]]
    assert len(run(Config(model=package), two)[0].faces) == 2
    assert len(run(Config(model=package, max_faces=1), two)[0].faces) == 1
    assert run(Config(model=package, min_face=25), two)[0].status == "no_face"


def test_the_more_wanted_face_takes_the_only_place(package: str) -> None:
    pictures = [[(12, 12, 255)]] * 3 + [[(12, 12, 255), (36, 36, 255)]] * 12
    results = run(Config(model=package, max_faces=1, primary="central"), pictures)
    left, _, right, _ = only(results[-1]).box_ltrb_px
    assert (left + right) / 2 == pytest.approx(36, abs=4)


def test_a_region_outside_the_picture_is_named(package: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a region inside the picture of 64x64, got 70,0,90,20"):
        run(Config(model=package, roi=(70, 0, 90, 20)), [[]])


@pytest.mark.parametrize("size_wh_px", [(1, 1), (4, 300), (2000, 1), (16, 16)])
def test_pictures_of_any_shape(package: str, size_wh_px: tuple[int, int]) -> None:
    (result,) = run(Config(model=package), [[]], size_wh_px=size_wh_px)
    assert result.status == "no_face"


def test_region_of_interest(package: str) -> None:
    two = [[(28, 28, 255), (100, 28, 255)]]
    (result,) = run(Config(model=package, roi=(64, 0, 128, 64)), two, size_wh_px=(128, 64))
    left, _, right, _ = only(result).box_ltrb_px
    assert (left + right) / 2 == pytest.approx(100, abs=8)


@pytest.mark.parametrize(("rule", "x"), [("central", 36), ("longest", 12)])
def test_primary(package: str, rule: str, x: int) -> None:
    pictures = [[(12, 12, 255)], [(12, 12, 255), (36, 36, 255)]]
    last = run(Config(model=package, primary=rule), pictures)[-1]  # type: ignore[arg-type]
    assert len(last.faces) == 2
    (primary,) = (face for face in last.faces if face.primary)
    left, _, right, _ = primary.box_ltrb_px
    assert (left + right) / 2 == pytest.approx(x, abs=4)


def test_low_quality_withholds_the_numbers_and_says_why(tmp_path: Path) -> None:
    package = make_affect(tmp_path / "toy-affect", quality=Quality(min_eye_distance_px=9, min_sharpness=1e9))
    (result,) = run(Config(model=str(package)), [[(28, 36, 255)]])
    face = only(result)
    assert (face.status, face.reasons, face.estimate) == ("low_quality", ("small", "blur"), None)
    assert face.raw is not None
    record = result.record()["faces"][0]
    assert record["emotions"] is None
    assert record["action_units"] is None
    assert record["emotion"] is None


def test_a_record_holds_no_arrays(package: str) -> None:
    (result,) = run(Config(model=package), [[(28, 36, 255)]])

    def check(value: object) -> None:
        assert isinstance(value, dict | list | str | int | float | bool | None), type(value)
        for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(child)

    check(result.record(raw=True))


def test_stage_times_have_their_names(package: str) -> None:
    (result,) = run(Config(model=package), [[(28, 36, 255)]])
    assert set(result.stage_ms) == {"detect", "detect.infer", "crop", "infer", "infer.brightness", "decode", "smooth"}
    assert result.stage_ms["infer"] >= result.stage_ms["infer.brightness"]


def test_input_pixels_are_not_modified(package: str) -> None:
    frame = spot_frame(0, [(28, 36, 255)])
    before = frame.pixels.copy()
    analyzer = Analyzer(Config(model=package))
    analyzer.step(frame, StageTimes())
    assert (frame.pixels == before).all()
    analyzer.close()
    analyzer.close()
    with pytest.raises(InferenceFailed, match="the engine is closed"):
        analyzer.step(spot_frame(1, [(28, 36, 255)]), StageTimes())


def test_what_cannot_be_had_is_refused(package: str, tmp_path: Path) -> None:
    with pytest.raises(PackageNotFound, match="package 'toy-affect' has no int8 networks: it offers fp32"):
        Analyzer(Config(model=package, precision="int8"))
    with pytest.raises(PackageNotFound, match="no model package at"):
        Analyzer(Config(model=str(tmp_path / "absent")))
    untrained = make_affect(tmp_path / "untrained", trained=False)
    with pytest.raises(PackageRefused, match="was never trained"):
        Analyzer(Config(model=str(untrained)))
    Analyzer(Config(model=str(untrained), allow_untrained=True)).close()


def test_each_precision_runs_its_own_network(package: str) -> None:
    folder = Path(package)
    model = onnx.load(folder / "brightness.onnx")
    pair = next(node for node in model.graph.node if node.op_type == "Concat")
    pair.input[:] = reversed(pair.input)
    onnx.save(model, folder / "brightness.int8.onnx")
    save_package(folder, msgspec.structs.replace(affect_manifest(), precisions={"int8": {"brightness": "int8"}}))
    happy = {}
    for precision in ("fp32", "int8", "auto"):
        analyzer = Analyzer(Config(model=package, precision=precision, smooth="none"))
        (face,) = analyzer.step(spot_frame(0, [(28, 36, 255)]), StageTimes()).faces
        assert face.estimate is not None
        assert face.estimate.emotions is not None
        happy[precision] = face.estimate.emotions["happy"]
        about_detection = ["the face detector 'toy-detector' runs in fp32: it offers no int8 (python -m converters quantize toy-detector)"]
        assert analyzer.notes == (about_detection if precision == "int8" else [])
        if precision == "auto":
            assert re.search(r"(fp32|int8): measured here, \S+ ms a face in fp32 and \S+ ms in int8$", analyzer.choice.why)
        else:
            assert analyzer.choice.precision == precision
        analyzer.close()
    assert happy["int8"] == pytest.approx(1 - happy["fp32"], abs=1e-6)
    with pytest.raises(PackageNotFound, match="package 'toy-affect' has no fp16 networks: it offers fp32, int8"):
        Analyzer(Config(model=package, precision="fp16"))


def test_fp16_is_not_for_cpus(package: str) -> None:
    folder = Path(package)
    shutil.copy(folder / "brightness.onnx", folder / "brightness.fp16.onnx")
    save_package(folder, msgspec.structs.replace(affect_manifest(), precisions={"fp16": {"brightness": "fp16"}}))
    if not ort.cuda_available():
        with pytest.raises(ConfigError, match="fp16 is for GPUs: on a CPU it is computed as fp32, and slower\n  --precision fp32, int8 or auto"):
            Analyzer(Config(model=package, precision="fp16"))


def test_tensorrt_by_name_where_it_cannot_be_had(package: str) -> None:
    try:
        find_tensorrt(load_package(package))
    except EdgeError as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            Analyzer(Config(model=package, engine="tensorrt"))
    manifest = msgspec.structs.replace(affect_manifest(), cpu_only="trees have no GPU engine")
    save_package(Path(package), manifest)
    with pytest.raises(ConfigError, match="no TensorRT: package 'toy-affect' is for CPUs only: trees have no GPU engine\n  --engine onnxruntime, or auto"):
        Analyzer(Config(model=package, engine="tensorrt"))
