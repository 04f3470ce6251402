"""The committed renders, and the renderer's parts that need no geometry file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.camera import through_a_camera
from calibration.default_sources import RENDERS
from calibration.errors import CalibrationError
from calibration.judge import FaceJudge, JudgedFace
from calibration.rendering.geometry import load_face_model, rotation
from calibration.rendering.raster import rasterize
from calibration.rendering.render import render
from calibration.rendering.scene import _INDEPENDENT_ODDS, _LEAST_INTENSITY, ACTION_UNIT_SHAPES, Scene, draw_independent_scene, draw_person, draw_scene
from calibration.rendering.sheets import CARD, PEOPLE, Card, PersonLine, read_renders, write_renders
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.result import ACTION_UNITS

GEOMETRY = "EDGE_FACE_GEOMETRY"


@pytest.fixture(scope="module")
def judge(models: Path) -> FaceJudge:
    return FaceJudge(str(models / "default"))


def test_the_committed_renders_are_what_their_card_says() -> None:
    card = msgspec.json.decode((RENDERS / CARD).read_bytes(), type=Card)
    faces = list(read_renders(RENDERS))
    people = msgspec.json.Decoder(PersonLine).decode_lines((RENDERS / PEOPLE).read_bytes())
    assert len(faces) == card.n_faces
    assert {face.line.name for face in faces} == {line.name for line in people}
    assert all(face.rgb.shape == (card.size_px, card.size_px, 3) and face.rgb.std() > 10 for face in faces)
    assert {path.name for path in RENDERS.iterdir()} == {*card.files, CARD, "README.md", "LICENSE-ICT-FaceKit"}
    assert "USC Institute for Creative Technologies" in (RENDERS / "LICENSE-ICT-FaceKit").read_text()


def test_the_runtime_reads_the_pose_that_was_rendered(judge: FaceJudge) -> None:
    faces = [face for face, _ in zip(read_renders(RENDERS), range(40), strict=False)]
    pairs = [(face.line, found.features) for face in faces for found in judge.faces(face.rgb) if isinstance(found, JudgedFace)]
    assert len(pairs) >= 38
    for name in ("yaw_deg", "pitch_deg", "roll_deg"):
        rendered = [getattr(line.shot, name) for line, _ in pairs]
        read = [getattr(features, name) for _, features in pairs]
        # Faces are built differently: what is level for one looks down for another.
        assert np.corrcoef(rendered, read)[0, 1] > 0.8, name
    for unit, least in (("AU12", 0.4), ("AU26", 0.6)):
        rendered = [line.action_units.get(unit, 0.0) for line, features in pairs if not features.reasons]
        read = [features.action_units.get(unit, 0.0) for _, features in pairs if not features.reasons]
        assert np.corrcoef(rendered, read)[0, 1] > least, unit


def test_the_committed_renders_come_out_again() -> None:
    path = os.environ.get(GEOMETRY, "")
    if not path:
        pytest.skip(f"the geometry is not in the repository: {GEOMETRY}=ict_facekit.npz runs this")
    model = load_face_model(Path(path))
    card = msgspec.json.decode((RENDERS / CARD).read_bytes(), type=Card)
    assert model.sha256 == card.geometry_sha256
    people = {line.name: line.person for line in msgspec.json.Decoder(PersonLine).decode_lines((RENDERS / PEOPLE).read_bytes())}
    # Two people, so that the second one is not painted as the first.
    for face, _ in zip(read_renders(RENDERS), range(6), strict=False):
        line = face.line
        scene = Scene(name=line.name, person=people[line.name], action_units=line.action_units, shapes=line.shapes, shot=line.shot)
        again = render(model, scene, card.size_px)
        # What WebP costs.
        assert np.abs(again.astype(float) - face.rgb).mean() < 4
        assert np.abs(again[:, ::-1].astype(float) - face.rgb).mean() > 10


def test_a_sheet_that_was_changed_is_refused(tmp_path: Path) -> None:
    shutil.copytree(RENDERS, tmp_path / "renders")
    sheet = tmp_path / "renders" / "sheet-03.webp"
    sheet.write_bytes(sheet.read_bytes()[:-1] + b"x")
    with pytest.raises(CalibrationError, match=r"expected SHA-256 .* for .*sheet-03.webp"):
        list(read_renders(tmp_path / "renders"))
    sheet.unlink()
    with pytest.raises(CalibrationError, match=r"no rendered faces in .*sheet-03.webp"):
        list(read_renders(tmp_path / "renders"))


def test_scenes_follow_from_the_seed_and_stay_in_range() -> None:
    def scenes(seed: int) -> list[object]:
        rng = np.random.default_rng(seed)
        return [draw_scene(rng, name="p", person=draw_person(rng), size_px=160) for _ in range(50)]

    assert scenes(3) == scenes(3)
    assert scenes(3) != scenes(4)
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = draw_scene(rng, name="p", person=draw_person(rng), size_px=160)
        assert set(scene.action_units) <= set(ACTION_UNITS) == set(ACTION_UNIT_SHAPES)
        assert all(0 < value <= 1 for value in (*scene.action_units.values(), *scene.shapes.values()))
        assert abs(scene.shot.yaw_deg) <= 40
        assert abs(scene.shot.pitch_deg) <= 28


def test_independent_units_tell_nothing_of_each_other() -> None:
    rng = np.random.default_rng(1)
    person = draw_person(rng)
    scenes = [draw_independent_scene(rng, name="p", person=person, size_px=160) for _ in range(2500)]
    units = np.array([[scene.action_units.get(unit, 0.0) for unit in ACTION_UNITS] for scene in scenes])
    between = np.corrcoef(units.T)[~np.eye(len(ACTION_UNITS), dtype=bool)]
    # Chance gives four deviations of 1 / sqrt(2500) at most; units of an emotion's prototype go together at 0.2 and more.
    assert np.abs(between).max() < 0.08
    assert np.abs((units > 0).mean(axis=0) - _INDEPENDENT_ODDS).max() < 0.04
    drawn = units[units > 0]
    assert _LEAST_INTENSITY <= drawn.min() < _LEAST_INTENSITY + 0.01
    assert 0.99 < drawn.max() <= 1
    assert drawn.mean() == pytest.approx((1 + _LEAST_INTENSITY) / 2, abs=0.01)
    prototypes = [draw_scene(rng, name="p", person=person, size_px=160) for _ in range(1000)]
    units = np.array([[scene.action_units.get(unit, 0.0) for unit in ACTION_UNITS] for scene in prototypes])
    assert np.abs(np.corrcoef(units.T)[~np.eye(len(ACTION_UNITS), dtype=bool)]).max() > 0.2


def test_a_camera_is_the_same_each_time_and_not_the_next() -> None:
    clean = np.full((96, 96, 3), 120, np.uint8)
    assert (through_a_camera(clean, 5) == through_a_camera(clean, 5)).all()
    seen = [through_a_camera(clean, number) for number in range(40)]
    assert {picture.shape[0] for picture in seen} == {96, 77, 64}
    noise = [float(picture.std()) for picture in seen]
    assert min(noise) < 1.2
    assert 6 < max(noise) < 8


def test_rotations_turn_the_way_that_poses_are_counted() -> None:
    forward, up = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert (rotation(yaw_deg=30, pitch_deg=0, roll_deg=0) @ forward)[0] == pytest.approx(0.5)
    assert (rotation(yaw_deg=0, pitch_deg=30, roll_deg=0) @ forward)[1] == pytest.approx(0.5)
    assert (rotation(yaw_deg=0, pitch_deg=0, roll_deg=30) @ up)[0] == pytest.approx(0.5)


def test_the_nearer_triangle_is_seen_and_backs_are_not() -> None:
    square = [[2, 2], [2, 18], [18, 18], [18, 2]]
    points = np.array([(x, y, z) for z in (0.0, 5.0) for x, y in square], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]], np.int32)
    seen = rasterize(points, triangles, 20)
    shown = np.full(400, -1)
    shown[seen.pixel] = seen.triangle
    picture = shown.reshape(20, 20)
    assert len(seen.pixel) == 16 * 16
    assert picture[12, 5] == 2
    assert picture[5, 12] == 1
    assert picture[0, 0] == -1
    depth = seen.interpolated(points[:, 2], triangles)
    assert set(depth.round(4).tolist()) == {0.0, 5.0}
    np.testing.assert_allclose(seen.depth, depth, atol=1e-4)
    assert len(rasterize(points, triangles[:, ::-1], 20).pixel) == 0
    assert len(rasterize(points + np.float32(100), triangles, 20).pixel) == 0


def test_what_lies_deep_in_a_picture_is_seen_whatever_its_digits() -> None:
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 40, (300, 3, 2))
    points = np.concatenate([corners.reshape(-1, 2), rng.uniform(-130.7, -99.3, (900, 1))], axis=1).astype(np.float32)
    triangles = np.arange(900, dtype=np.int32).reshape(300, 3)
    seen = rasterize(points, triangles, 40)
    # All of them at all centres, without a buffer.
    x, y = np.arange(1600) % 40 + 0.5, np.arange(1600) // 40 + 0.5
    away_x, away_y = (points[triangles, axis].astype(np.float64).T[..., np.newaxis] - center for axis, center in ((0, x), (1, y)))
    twice = np.stack([away_x[a] * away_y[b] - away_y[a] * away_x[b] for a, b in ((1, 2), (2, 0), (0, 1))])
    inside = (twice <= 0).all(axis=0)
    depths = (twice / twice.sum(axis=0) * points[triangles, 2].T[..., np.newaxis]).sum(axis=0)
    nearest = np.where(inside, depths, -np.inf).max(axis=0)
    shown = np.full(1600, -np.inf)
    shown[seen.pixel] = seen.depth
    # A centre that lies on an edge may fall on either side.
    assert np.isclose(shown, nearest, atol=1e-3).mean() > 0.995
    assert np.isfinite(shown).mean() > 0.8


def test_refusals(tmp_path: Path, judge: FaceJudge) -> None:
    with pytest.raises(ConfigError, match=r"absent.npz cannot be read as a face model"):
        load_face_model(tmp_path / "absent.npz")
    np.savez(
        tmp_path / "small.npz",
        neutral=np.zeros((4, 3)),
        faces=np.zeros((1, 4), int),
        material=np.zeros(1, int),
        materials=np.array(["M_Face"]),
        expr=np.zeros((1, 4, 3)),
        expr_names=np.array(["jawOpen"]),
        ident=np.zeros((1, 4, 3)),
    )
    with pytest.raises(ConfigError, match=r"expected 26719 vertices in neutral, expr and ident, got \[4, 3\]"):
        load_face_model(tmp_path / "small.npz")
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "mine.txt").write_text("mine")
    never: Pixels = np.zeros((0,), np.uint8)
    for folder, size_px, message in ((tmp_path / "held", 160, "renders go to a new folder"), (tmp_path / "new", 100, "a multiple of 16 pixels, got 100")):
        with pytest.raises(ConfigError, match=message):
            write_renders(never, judge, folder, n=1, seed=0, size_px=size_px, say=print)  # type: ignore[arg-type]
    assert (tmp_path / "held" / "mine.txt").exists()
