"""The training of our own network: crops as the runtime cuts them, labels that follow them, and a loop that learns and goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from converters.training.affect.augment import EXPAND, plain_views, random_views
from converters.training.affect.calibrate import apply_temperature, cross_entropy, temperature
from converters.training.affect.export import answers_of, to_onnx
from converters.training.affect.labelled_faces import POINTS, LabelledFaces
from converters.training.affect.learning import Schedule, Source, answers, train
from converters.training.affect.network import OUTPUTS, SIDE_PX, FaceNetwork
from converters.training.affect.recipe import Plan, learn
from edge import crop
from edge.errors import ConfigError
from edge.face import Face, frame_from_crop
from edge.stage import BoxRegion, CropInput
from tests.converters.drawn_faces import drawn_faces

_NAMES = [name for name, _ in POINTS]


def test_a_plain_view_is_the_runtimes_crop() -> None:
    faces = drawn_faces(12)
    views = plain_views(faces, np.arange(12), are_crops=False)
    spec = CropInput(tensor="crop", color="gray", size_wh_px=(SIDE_PX, SIDE_PX), region=BoxRegion(expand=EXPAND), scale=1 / 127.5, offset=-1.0)
    for picture, points, view, in_crop in zip(faces.pictures, faces.points, views.crops, views.points, strict=True):
        low, high = points[:, :2].min(axis=0).tolist(), points[:, :2].max(axis=0).tolist()
        eyes = np.array([points[:2, :2].mean(axis=0), points[2:4, :2].mean(axis=0)], np.float64)
        placed = frame_from_crop(Face(box_ltrb_px=(*low, *high), eyes_px=eyes, score=1.0), spec.region, spec.size_wh_px)
        cut = crop.batch([crop.cut(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), placed, spec)], spec)[0]
        inside = np.abs(cut[:, 4:-4, 4:-4] - view[:, 4:-4, 4:-4])  # beyond the picture's edge the runtime has black
        assert np.median(inside) < 0.01
        assert inside.mean() < 0.02
        back = in_crop[:, :2] @ placed[:, :2].T + placed[:, 2]
        assert np.abs(back - points[:, :2]).max() < 0.01


def test_a_whole_picture_is_a_crop() -> None:
    faces = drawn_faces(3, side=48)
    views = plain_views(faces, np.array([2]), are_crops=True)
    expected = cv2.resize(faces.pictures[2], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
    assert np.abs((views.crops[0, 0] + 1) * 127.5 - expected).max() <= 1
    assert np.allclose(views.points[0, :, :2], faces.points[2, :, :2] * SIDE_PX / 48, atol=1e-3)


def test_labels_follow_what_is_done_to_a_crop() -> None:
    faces = drawn_faces(200)
    views = random_views(faces, np.arange(200), np.random.default_rng(3), are_crops=False, spoiled=0)  # the eyes are looked for by their darkness
    away = views.presence == 0
    assert 0 < away.sum() < 30
    assert np.isnan(views.points[away]).all()
    assert np.isnan(views.units[away]).all()
    assert np.isnan(views.seen[away]).all()
    assert (views.labels[away] == -1).all()
    dark = []
    for view, points in zip(views.crops[~away, 0], views.points[~away], strict=True):
        right, left = points[_NAMES.index("right_eye_outer")], points[_NAMES.index("left_eye_outer")]
        assert right[0] < left[0]  # mirrored or not, the eye on the left of the picture comes first
        for x, y in (right[:2], left[:2]):
            if 1 <= x < SIDE_PX - 1 and 1 <= y < SIDE_PX - 1:
                dark.append(view[int(y), int(x)] < -0.3)
    assert np.mean(dark) > 0.97


def test_spoiled_crops_stay_pictures() -> None:
    faces = drawn_faces(64)
    views = random_views(faces, np.arange(64), np.random.default_rng(0), are_crops=True)
    again = random_views(faces, np.arange(64), np.random.default_rng(0), are_crops=True)
    assert np.array_equal(views.crops, again.crops)
    assert views.crops.shape == (64, 1, SIDE_PX, SIDE_PX)
    assert views.crops.dtype == np.float32
    assert -1 <= views.crops.min() < views.crops.max() <= 1


@pytest.fixture(scope="module")
def small() -> Source:
    return Source(drawn_faces(256), are_crops=False)


def test_learns_and_goes_on_where_it_was_stopped(small: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    schedule = Schedule(epochs=3, batch=32, peak=1e-3, average=0.8)
    said: list[str] = []
    whole = train(FaceNetwork, [small], schedule, tmp_path / "whole", say=said.append)
    losses = [float(line.split("units ")[1]) for line in said if line.startswith("epoch")]
    assert losses[-1] < losses[0]

    stopped: list[str] = []

    def stop(line: str) -> None:
        stopped.append(line)
        if line.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(FaceNetwork, [small], schedule, tmp_path / "parts", say=stop)
    # The report of an epoch comes before its checkpoint: the second one is learned again.
    continued = train(FaceNetwork, [small], schedule, tmp_path / "parts", say=stopped.append)
    assert "goes on after epoch 1 of 3" in stopped
    for name, value in whole.state_dict().items():
        assert torch.equal(value, continued.state_dict()[name]), name


def test_the_checkpoint_of_another_schedule_is_refused(small: Source, tmp_path: Path) -> None:
    train(FaceNetwork, [small], Schedule(epochs=1, batch=128), tmp_path, say=lambda _: None)
    with pytest.raises(ConfigError, match=r"was made with .*'epochs': 1.*asked for is .*'epochs': 2"):
        train(FaceNetwork, [small], Schedule(epochs=2, batch=128), tmp_path, say=lambda _: None)


def test_labels_that_are_not_known_teach_nothing(small: Source, tmp_path: Path) -> None:
    faces = small.faces
    blind = LabelledFaces(
        faces.pictures, np.full_like(faces.points, np.nan), np.full_like(faces.units, np.nan), np.full_like(faces.seen, np.nan),
        np.full_like(faces.labels, -1), faces.pose, "blind",
    )  # fmt: skip
    network = FaceNetwork()
    before = {name: value.clone() for name, value in network.state_dict().items() if name.startswith(("seen", "fer2013", "units", "points"))}
    after = train(lambda: network, [Source(blind, are_crops=True)], Schedule(epochs=1, batch=64, decay=0.0), tmp_path, say=lambda _: None).state_dict()
    for name, value in before.items():
        assert torch.allclose(value, after[name], atol=1e-6), name


def test_the_temperature_that_was_put_in_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 7)).astype(np.float32)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    drawn = (rng.random((len(odds), 1)) > odds.cumsum(axis=1)).sum(axis=1)
    truth = np.eye(7, dtype=np.float32)[np.minimum(drawn, 6)]
    assert temperature(logits * 1.7, truth) == pytest.approx(1.7, rel=0.05)
    assert cross_entropy(logits, truth) < cross_entropy(logits * 1.7, truth)
    with pytest.raises(ValueError, match=r"no temperature between 0\.25 and 4\.0 is best"):
        temperature(-logits, truth)


def test_temperatures_and_export_keep_what_the_network_says(small: Source) -> None:
    torch.manual_seed(0)
    network = FaceNetwork().eval()
    views, said = answers(network, small, np.arange(4))
    apply_temperature(network, seen=2.0, fer2013=0.5)
    _, after = answers(network, small, np.arange(4))
    assert np.allclose(after["seen"] * 2, said["seen"], atol=1e-6)
    assert np.allclose(after["fer2013"] / 2, said["fer2013"], atol=1e-6)
    assert np.array_equal(after["units"], said["units"])
    model = to_onnx(network)
    assert [value.name for value in model.graph.output] == list(OUTPUTS)
    assert {name: values.shape for name, values in answers_of(network, views.crops).items()} == {name: (4, n) for name, n in OUTPUTS.items()}


def test_the_longer_profile_goes_on_where_the_shorter_one_ends(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    sources = [Source(drawn_faces(256), are_crops=False, share=0.5)]
    said: list[str] = []
    short = learn(sources, Plan(people=0, epochs=1, finish=0), tmp_path, say=said.append)
    assert short.finish is None
    n_said = len(said)
    long = learn(sources, Plan(people=0, epochs=1, finish=1), tmp_path, say=said.append)
    assert said[n_said : n_said + 2] == ["goes on after epoch 1 of 1", "the second part"]  # nothing of the first part is learned again
    assert long.finish is not None
    assert (long.finish.epochs, long.finish.peak < long.schedule.peak, long.seconds > short.seconds) == (1, True, True)
    views = plain_views(sources[0].faces, np.arange(32), are_crops=False)
    with torch.inference_mode():
        before, after, again = (
            each.network(torch.from_numpy(views.crops))[0]
            for each in (short, long, learn(sources, Plan(people=0, epochs=1, finish=1), tmp_path, say=said.append))
        )
    assert (after - before).abs().max() > 1e-3
    assert torch.equal(after, again)
