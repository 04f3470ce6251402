"""`python -m converters quantize` on real faces: what passes is kept with its evidence, what does not is refused, and nothing is lost on the way."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from calibration import CalibrationSet, load_set
from converters.errors import ConversionError
from converters.make_package import make_package, require_replaceable
from converters.pull import package_state
from converters.quantization.card import CARD, Card, table
from converters.quantization.feeds import Recording, record
from converters.quantization.gate import failures
from converters.quantization.int8 import quantize_int8
from converters.quantization.plot import PLOT
from converters.quantization.prepared import prepared
from converters.quantization.quantize import add_parser, command, quantize
from converters.quantization.sensitivity import quantised_nodes
from converters.stored_precisions import load_precisions
from edge.errors import ConfigError, PackageRefused
from edge.package import Package, file_sha256, load_package
from edge.stage import BoxRegion, ClipInput, FrameInput, Scores, Stage
from tests.toy import graph_of, save_package
from tests.toy_kinds import manifest_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def quantised(emotion: Path, small_set: CalibrationSet) -> tuple[Package, Card, list[str]]:
    said: list[str] = []
    folder, card = quantize(load_package(emotion), small_set, ("fp16", "int8"), calibrator="auto", folder=emotion.parent / "quantised", say=said.append)
    return load_package(folder), card, said


def test_the_package_offers_what_passed(quantised: tuple[Package, Card, list[str]], emotion: Path) -> None:
    package, _, said = quantised
    assert package.offers == ("fp32", "fp16", "int8")
    assert package.manifest.precisions == {"fp16": {"emotion": "fp16"}, "int8": {"emotion": "int8"}}
    files = {"emotion.onnx", "emotion.fp16.onnx", "emotion.int8.onnx", CARD, PLOT}
    assert {path.name for path in package.path.iterdir()} == files | {"package.toml"}
    assert set(package.manifest.files) == files
    assert package.manifest.evidence == {CARD: file_sha256(package.path / CARD)}
    assert load_package(emotion).offers == ("fp32",)
    assert said[-1] == f"package 'toy' in {package.path} offers fp32, fp16, int8"
    require_replaceable(package.path, "toy", trained=True)
    int8 = onnx.load(package.path / "emotion.int8.onnx")
    assert {entry.version for entry in int8.opset_import} == {17}
    assert len(quantised_nodes(int8)) > 5


def test_the_card_holds_what_was_measured(quantised: tuple[Package, Card, list[str]], small_set: CalibrationSet) -> None:
    package, card, _ = quantised
    assert msgspec.json.decode((package.path / CARD).read_bytes(), type=Card) == card
    assert json.loads((package.path / CARD).read_text())["schema"] == "edge.card/1"
    int8, fp16 = card.precisions["int8"], card.precisions["fp16"]
    assert (int8.calibration.name, int8.calibration.sha256) == ("small", small_set.sha256)
    assert (int8.calibration.n_calibration, int8.calibration.n_held_out) == (len(small_set.pictures("calibration")), len(small_set.pictures("held-out")))
    stage = int8.stages["emotion"]
    assert (stage.verdict, stage.precision, stage.reason) == ("kept", "int8", "")
    assert stage.sha256 == file_sha256(package.path / stage.file)
    assert stage.fp32_sha256 == package.manifest.files["emotion.onnx"]
    assert set(stage.harms) == {"max", "entropy", "percentile"}
    assert stage.calibrator == min(stage.harms, key=lambda name: stage.harms[name] or 0)
    assert failures(stage.metrics) == []
    assert "FP16 around it: emotions" in {metric.of for metric in stage.metrics}
    assert {metric.name for metric in stage.metrics} >= {"label agreement", "KL divergence", "non-finite numbers"}
    assert [latency.batch for latency in stage.latency] == [1, 8]
    for latency in stage.latency:
        assert latency.interval_ms[0] <= latency.ms <= latency.interval_ms[1]
        assert latency.n_rounds >= 9
    assert stage.faster_here == (stage.latency[0].times >= 1.05)
    assert fp16.stages["emotion"].latency == ()  # a CPU computes FP16 as FP32
    assert set(card.limits) >= {"label agreement", "KL divergence"}
    text = "\n".join(table(card))
    assert "label agreement, emotions" in text
    assert f"latency: {int8.machine}" in text
    picture = cv2.imread(str(package.path / PLOT))
    assert picture is not None
    assert picture.shape[0] > 300
    assert picture.std() > 10


def test_edge_run_runs_it(quantised: tuple[Package, Card, list[str]], clip: Callable[[str], Path], tmp_path: Path) -> None:
    files = ["--output", str(tmp_path / "out.jsonl"), "--summary", str(tmp_path / "summary.json")]
    source = ["--source", str(clip("WolfgangLanger_Pexels.mp4")), "--frames", "8", "--precision", "int8"]
    subprocess.run([sys.executable, "-m", "edge.cli", "--quiet", "--model", str(quantised[0].path), *source, *files], check=True, cwd=ROOT)
    assert json.loads((tmp_path / "summary.json").read_text())["precision"] == "int8"
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()[1:]]
    assert sum(len(record["faces"][0]["emotions"]) == 7 for record in records if record["faces"]) > 0


def test_a_precision_that_is_made_again_leaves_the_other(quantised: tuple[Package, Card, list[str]], small_set: CalibrationSet, tmp_path: Path) -> None:
    package, card, _ = quantised
    shutil.copytree(package.path.parent / "blazeface", tmp_path / "blazeface")
    folder = Path(shutil.copytree(package.path, tmp_path / "toy"))
    again, new = quantize(load_package(folder), small_set, ("int8",), calibrator="max", folder=folder, say=print)
    assert again == folder
    assert new.precisions["fp16"] == card.precisions["fp16"]
    assert new.precisions["int8"].stages["emotion"].calibrator == "max"
    assert file_sha256(folder / "emotion.fp16.onnx") == package.manifest.files["emotion.fp16.onnx"]
    assert load_package(folder).offers == ("fp32", "fp16", "int8")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_same_set_gives_the_same_network(quantised: tuple[Package, Card, list[str]], small_set: CalibrationSet, emotion: Path) -> None:
    package, card, _ = quantised
    feeds = record(load_package(emotion), small_set, "calibration").feeds["emotion"]
    calibrator: Any = card.precisions["int8"].stages["emotion"].calibrator
    again = quantize_int8(prepared(onnx.load(emotion / "emotion.onnx")), feeds, calibrator=calibrator)
    assert again == onnx.load(package.path / "emotion.int8.onnx")


WHOLE = Stage(
    name="network",
    model="network.onnx",
    input=FrameInput(tensor="picture", color="gray", size_wh_px=(16, 16), resize="letterbox", scale=1 / 255),
    outputs=(Scores(tensor="scores", activation="softmax", labels=("dark", "bright")),),
)


def whole_picture_package(folder: Path, *, offset: float = 0.0, gain: float = 1.0, trained: bool = True, **settings: Any) -> Path:
    """Reads whole pictures with 16 channels. `offset` lies between convolutions, far above what the pictures change; `gain` is taken back after it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    first = np.full((16, 1, 3, 3), gain / 9, np.float32)
    second = rng.uniform(0.5, 1, (16, 16, 3, 3)).astype(np.float32) / 100 / gain
    head = np.stack([-np.ones(16), np.ones(16)], axis=1).astype(np.float32)
    model = graph_of(
        [
            helper.make_node("Conv", ["picture", "w1"], ["c1"], pads=[1, 1, 1, 1], name="c1"),
            helper.make_node("Add", ["c1", "offset"], ["far"], name="far"),
            helper.make_node("Conv", ["far", "w2"], ["c2"], name="c2"),
            helper.make_node("Conv", ["c2", "w3"], ["c3"], name="c3"),
            helper.make_node("GlobalAveragePool", ["c3"], ["mean"], name="mean"),
            helper.make_node("Flatten", ["mean"], ["row"], name="row"),
            helper.make_node("Sub", ["row", "middle"], ["centred"], name="centred"),
            helper.make_node("MatMul", ["centred", "head"], ["scores"], name="scores"),
        ],
        {"picture": ["N", 1, 16, 16]},
        {"scores": ["N", 2]},
        {
            "w1": first,
            "offset": np.float32(offset),
            "w2": second,
            "w3": np.eye(16, dtype=np.float32)[..., None, None],
            "middle": (second.sum(axis=(1, 2, 3)) * (0.45 * gain + offset)).astype(np.float32),
            "head": head,
        },
    )
    onnx.save(model, folder / "network.onnx")
    return save_package(folder, manifest_of(WHOLE, detector="", trained=trained, **settings))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_network_that_int8_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path, small_set: CalibrationSet) -> None:
    folder = whole_picture_package(tmp_path / "toy", offset=3000.0)
    before = snapshot(folder)
    said: list[str] = []
    with pytest.raises(PackageRefused, match=r"keeps its accuracy in int8: network: label agreement of scores is .*, at least 0.97 is allowed") as caught:
        quantize(load_package(folder), small_set, ("int8",), calibrator="auto", folder=folder, say=said.append)
    assert caught.value.exit_code == 4
    assert "nothing was written" in caught.value.hint
    assert snapshot(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_nodes_that_overflow_in_fp16_stay_fp32(tmp_path: Path, small_set: CalibrationSet) -> None:
    folder = whole_picture_package(tmp_path / "toy", gain=1e6)
    _, card = quantize(load_package(folder), small_set, ("fp16",), calibrator="auto", folder=folder, say=print)
    package = load_package(folder)
    assert set(package.manifest.keep_fp32["network"]) >= {"c1", "c2"}
    assert set(package.manifest.keep_fp32["network"]) < {node.name for node in onnx.load(folder / "network.onnx").graph.node}
    assert card.precisions["fp16"].stages["network"].keep_fp32 == len(package.manifest.keep_fp32["network"])


def test_an_untrained_package_is_judged_by_its_noise_and_says_so(tmp_path: Path, small_set: CalibrationSet) -> None:
    folder = whole_picture_package(tmp_path / "toy", trained=False)
    _, card = quantize(load_package(folder, allow_untrained=True), small_set, ("int8",), calibrator="percentile", folder=folder, say=print)
    assert card.judged_by == "the signal-to-noise ratio alone: the package was never trained, its numbers mean nothing"
    assert {metric.name for metric in card.precisions["int8"].stages["network"].metrics} == {"non-finite numbers", "signal to noise"}
    assert set(card.limits) == {"non-finite numbers", "signal to noise"}
    assert card.precisions["int8"].together == ()


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["quantize", *arguments])


def test_the_command(tmp_path: Path, small_set: CalibrationSet, capsys: pytest.CaptureFixture[str]) -> None:
    folder = whole_picture_package(tmp_path / "toy")
    other = tmp_path / "other"
    said: list[str] = []
    arguments = [str(folder), "--calibration", str(small_set.path), "--precision", "all", "--calibrator", "max", "-o", str(other)]
    assert command(options(*arguments, "--store", str(tmp_path / "repository")), said.append) == 0
    assert capsys.readouterr().out == f"{other}\n"
    assert load_package(other).offers == ("fp32", "fp16", "int8")
    assert load_package(folder).offers == ("fp32",)
    assert any(line.startswith("network  precision") for line in said)
    assert said[-1] == f"stored in {tmp_path / 'repository' / 'precisions'}"
    stored = load_precisions(tmp_path / "repository", {"network": onnx.load(other / "network.onnx")})
    assert stored is not None
    assert stored.networks["network.int8.onnx"] == (other / "network.int8.onnx").read_bytes()
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no package: it is not replaced"):
        command(options(*arguments[:-1], str(tmp_path / "strange")), said.append)


def _is_writing(folder: Path, _said: Path) -> bool:
    return any(folder.parent.glob(f".{folder.name}-*/new"))


def _is_judging(_folder: Path, said: Path) -> bool:
    return "int8, calibrator max" in said.read_text()


@pytest.mark.parametrize(("sign", "moment"), [(signal.SIGKILL, _is_judging), (signal.SIGKILL, _is_writing), (signal.SIGTERM, _is_writing)])
def test_a_package_survives_a_kill(sign: signal.Signals, moment: Callable[[Path, Path], bool], tmp_path: Path, small_set: CalibrationSet) -> None:
    folder = whole_picture_package(tmp_path / "packages" / "toy")
    before = snapshot(folder)
    said = tmp_path / "said"
    arguments = ["quantize", str(folder), "--calibration", str(small_set.path), "--precision", "int8", "--calibrator", "max"]
    with said.open("w") as out:
        running = subprocess.Popen([sys.executable, "-m", "converters", *arguments], cwd=ROOT, stdout=out, stderr=out)
        while running.poll() is None and not moment(folder, said):
            pass
        running.send_signal(sign)
        code = running.wait()
    assert code in (-sign, 128 + sign), said.read_text()
    assert snapshot(folder) == before
    assert load_package(folder).offers == ("fp32",)
    if sign == signal.SIGTERM:
        assert [path.name for path in folder.parent.iterdir()] == ["toy"]


def test_what_cannot_be_quantised_says_why(tmp_path: Path, small_set: CalibrationSet) -> None:
    trees = whole_picture_package(tmp_path / "trees", cpu_only="trees run on a CPU alone")
    with pytest.raises(PackageRefused, match="package 'toy' has no FP16 or INT8 form: trees run on a CPU alone"):
        quantize(load_package(trees), small_set, ("int8",), calibrator="max", folder=trees, say=print)
    plain = whole_picture_package(tmp_path / "plain")
    with pytest.raises(ConfigError, match="--evaluate: package 'toy' has no network that reads emotions from a crop"):
        quantize(load_package(plain), small_set, ("int8",), calibrator="max", folder=plain, evaluate=tmp_path / "fer2013.npz", say=print)


def with_manifest(calibration: CalibrationSet, folder: Path, **changes: Any) -> CalibrationSet:
    """The same files under another manifest."""
    shutil.copytree(calibration.path, folder)
    (folder / "set.toml").write_bytes(msgspec.toml.encode(msgspec.structs.replace(calibration.manifest, **changes)))
    return load_set(folder)


def test_too_few_pictures_are_counted(emotion: Path, small_set: CalibrationSet, tmp_path: Path) -> None:
    few = with_manifest(small_set, tmp_path / "few", name="few", items=small_set.manifest.items[:30])
    with pytest.raises(ConversionError, match="expected at least 80 pictures of the calibration split of 'few' that it can read, got 30 of 30"):
        record(load_package(emotion), few, "calibration")


def clip_package(folder: Path) -> Path:
    """Reads clips of four crops; its network gives their mean brightness."""
    folder.mkdir(parents=True)
    spec = ClipInput(tensor="clip", color="gray", size_wh_px=(16, 16), region=BoxRegion(), scale=1 / 255, n_frames=4, duration_s=0.5, frames_as="channels")
    nodes = [
        helper.make_node("Conv", ["clip", "w"], ["c"], name="c"),
        helper.make_node("GlobalAveragePool", ["c"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["row"], name="row"),
        helper.make_node("MatMul", ["row", "head"], ["scores"], name="scores"),
    ]
    weights = {"w": np.random.default_rng(0).normal(0, 0.1, (16, 4, 3, 3)).astype(np.float32), "head": np.ones((16, 2), np.float32)}
    onnx.save(graph_of(nodes, {"clip": ["N", 4, 16, 16]}, {"scores": ["N", 2]}, weights), folder / "network.onnx")
    stage = Stage(name="network", model="network.onnx", input=spec, outputs=(Scores(tensor="scores", activation="softmax", labels=("a", "b")),))
    return save_package(folder, manifest_of(stage, detector="blazeface", trained=False))


def test_packages_that_read_clips_take_the_clips_of_the_set(emotion: Path, small_set: CalibrationSet, tmp_path: Path) -> None:
    shutil.copytree(emotion.parent / "blazeface", tmp_path / "blazeface")
    package = load_package(clip_package(tmp_path / "clips"), allow_untrained=True)
    recording: Recording = record(package, small_set, "calibration")
    values = recording.feeds["network"]["clip"]
    assert values.shape == (recording.n_seen, 4, 16, 16)
    assert recording.n_seen == recording.n_moments >= 4
    assert len({row.tobytes() for row in values}) == len(values)  # no moment is another one
    assert all((row[0] != row[3]).any() for row in values)  # and the face moves in each
    without = with_manifest(small_set, tmp_path / "without", name="small", clips=())
    with pytest.raises(ConversionError, match="expected at least 4 moments of clips of the calibration split of 'small' that it can read, got 0 of 0"):
        record(package, without, "calibration")


def test_a_quantised_package_is_installed_still_and_its_replacement_says_what_is_lost(
    quantised: tuple[Package, Card, list[str]], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(models / "mesh-chain", tmp_path / "models" / "mesh-chain"))
    shutil.copytree(models / "blazeface", tmp_path / "models" / "blazeface")
    shutil.copy(quantised[0].path / "emotion.int8.onnx", folder)
    manifest = load_package(folder).manifest
    precisions: Any = {"int8": {"mesh": "fp32", "blendshapes": "fp32", "emotion": "int8"}}
    files = {**manifest.files, "emotion.int8.onnx": file_sha256(folder / "emotion.int8.onnx")}
    changed = msgspec.structs.replace(manifest, precisions=precisions, files=files, keep_fp32={"mesh": ("a",)})
    (folder / "package.toml").write_bytes(msgspec.toml.encode(changed))
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "models"))
    assert package_state("mesh-chain") == "installed"
    toy = whole_picture_package(tmp_path / "toy")
    manifest = load_package(toy).manifest
    shutil.copy(toy / "network.onnx", toy / "network.fp16.onnx")
    (toy / "package.toml").write_bytes(
        msgspec.toml.encode(
            msgspec.structs.replace(
                manifest, precisions={"fp16": {"network": "fp16"}}, files={**manifest.files, "network.fp16.onnx": file_sha256(toy / "network.fp16.onnx")}
            )
        )
    )
    said: list[str] = []
    inputs = {"network": {"picture": np.random.default_rng(0).uniform(0, 1, (4, 1, 16, 16)).astype(np.float32)}}
    make_package(manifest, {"network": onnx.load(toy / "network.onnx")}, [], inputs, folder=toy, say=said.append)
    assert said[0] == f"{toy} is replaced whole, with its fp16: python -m converters quantize makes them again"
    assert load_package(toy).offers == ("fp32",)
