"""A user's own checkpoint: the commands of the guide, as they stand there, and every kind of file to a package that loads."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.torch
import skops.io
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

import edge.cli
from converters.__main__ import main
from converters.checkpoint import export_checkpoint
from converters.description import Description
from converters.errors import ParityFailure
from converters.evidence import Evidence
from converters.from_keras.keras_backend import keras
from converters.systems.torch_networks.architectures import ARCHITECTURES, DESCRIBED
from converters.systems.torch_networks.first_weights import set_first_weights
from converters.systems.torch_systems import variant_called
from edge.package import Package, load_package
from edge.stage import ActionUnits, BoxRegion, CropInput, Emotions, EyesRegion, input_shapes
from tests.converters.small_tflite import RELU, SAME, SmallTflite
from tests.converters.torch_layers import randomised

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "converters" / "GUIDE.md").read_text()
EXAMPLES = ROOT / "converters" / "examples"
# The commands of each example of the guide.
BLOCKS = [[shlex.split(line) for line in block.strip().splitlines()] for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL)]

# A crop, an architecture and outputs that make small packages quickly.
GRAY = """
name = "mine"
licence = "ours"
[input]
kind = "crop"
color = "gray"
size_wh_px = [80, 98]
scale = 0.0078125
offset = -0.9921875
equalize = false
region = { from = "box", expand = 1.0, level_eyes = false, stretch = true }
"""
EMOTIONS = """
[[outputs]]
role = "emotions"
activation = "softmax"
labels = ["neutral", "happy", "surprised", "angry", "disgusted", "sad", "afraid"]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, models: Path, clip: Callable[[str], Path]) -> Path:
    """A folder for packages with the face detector in it, the sample clip beside it."""
    folder = tmp_path_factory.mktemp("home") / "models"
    shutil.copytree(models / "blazeface", folder / "blazeface")
    (folder.parent / "clips").mkdir()
    sample = clip("WolfgangLanger_Pexels.mp4")
    (folder.parent / "clips" / sample.name).symlink_to(sample)
    return folder


@pytest.fixture(autouse=True)
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user is: an empty folder, with the examples where the guide has them."""
    monkeypatch.setenv("EDGE_MODELS", str(home))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "converters").mkdir()
    (tmp_path / "converters" / "examples").symlink_to(EXAMPLES)
    return tmp_path


def network(architecture: str, n_in: int, n_out: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return randomised(ARCHITECTURES[architecture](n_in, n_out)).eval()


def residual(architecture: str, n_in: int, n_out: int) -> torch.nn.Module:
    """So deep a network needs statistics of something like pictures, or its outputs hardly vary."""
    module = ARCHITECTURES[architecture](n_in, n_out)
    coarse = torch.randn(12, n_in, 7, 6, generator=torch.Generator().manual_seed(0))
    set_first_weights(module, [torch.nn.functional.interpolate(coarse, (98, 80), mode="bilinear")], seed=0)
    return module


def keras_model() -> Any:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((48, 48, 1), name="crop"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(4),
            layers.Flatten(),
            layers.Dense(7, activation="softmax", name="scores"),
        ]
    )


def save_keras(model: Any, name: str) -> None:
    with warnings.catch_warnings():  # what Keras does with NumPy 2 when it saves is not ours
        warnings.simplefilter("ignore")
        model.save(name)


def make_own_file(name: str, *, channels: int) -> None:
    if name.endswith(".h5"):
        save_keras(keras_model(), name)
    else:
        torch.save(residual("resnet18", channels, 22).state_dict(), name)


def test_the_guide_has_three_examples_of_two_commands() -> None:
    assert [[command[0] for command in block] for block in BLOCKS] == [["python", "edge-run"]] * 3
    described = [command[command.index("--description") + 1] for command, _ in BLOCKS if "--description" in command]
    assert sorted(described) == sorted(f"converters/examples/{path.name}" for path in EXAMPLES.iterdir())


def test_what_the_guide_names_is_there() -> None:
    (row,) = re.findall(r"\| `architecture` \| (.*) \|", GUIDE)
    named = re.findall(r"`([a-z0-9-]+)`", row)
    assert len(named) > 5
    assert set(named) <= set(DESCRIBED)
    variants = re.findall(r"`(resnet[a-z0-9-]*-(?:blocks\d+|e2)[a-z0-9-]*)`", GUIDE)
    assert len(variants) == 3
    for name in variants:
        found = variant_called(name)
        assert found is not None
        assert found.id == name
    kinds = (Description, CropInput, BoxRegion, EyesRegion, ActionUnits, Emotions)
    keys = {"kind", "role", *(field.name for kind in kinds for field in msgspec.structs.fields(kind))}
    for said in re.findall(r"^\| (`.*?`) \|", GUIDE.partition("## What happens")[0], re.MULTILINE):
        for key in re.findall(r"`([a-z_.]+)`", said):
            assert set(key.split(".")) <= keys, key


@pytest.mark.timeout(200)
@pytest.mark.parametrize("block", BLOCKS, ids=["system", "state_dict", "keras"])
def test_an_example_of_the_guide_ends_in_a_package_that_runs(block: list[list[str]], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export, run = block
    assert export[:4] == ["python", "-m", "converters", "export"]
    make_own_file(export[4], channels=1 if "--system" in export else 3)
    assert main(export[3:]) == 0
    captured = capsys.readouterr()
    folder = Path(export[-1])
    assert captured.out == f"{folder}\n"
    assert re.search(rf"parity {folder.name}/network: \S+ of the outputs' own deviation over 48 inputs \(limit 0.001\)", captured.err)
    package = load_package(folder)
    assert package.manifest.trained
    evidence = msgspec.json.decode((folder / "run" / "evidence.json").read_bytes(), type=Evidence)
    assert (evidence.package_sha256, evidence.with_numbers) == (package.sha256, evidence.frames)
    first = json.loads((folder / "run" / "records.jsonl").read_text().splitlines()[1])["faces"][0]
    assert len(first["emotions"]) == 7
    assert len(first["action_units"] or {}) == (15 if "resnet" in folder.name else 0)
    assert edge.cli.main([*run[1:], "--print-config"]) == 0
    assert f'model = "{folder}"' in capsys.readouterr().out
    if "--description" in export:
        description = Path(export[export.index("--description") + 1])
        same_as_described(package, description)
        for old, new in ((r"\nsize_wh_px = \[", r"\g<0>1"), (r"(\noffset = \[?)-?\d", r"\g<1>9"), ("expand = 1", "expand = 2"), ('"sad", ', "")):
            with pytest.raises(AssertionError):
                same_as_described(package, describe(re.sub(old, new, description.read_text(), count=1)))


def same_as_described(package: Package, description: Path) -> None:
    """Every number of the description stands in the package, and the package feeds a network what the description says."""
    said = msgspec.toml.decode(description.read_bytes())
    (stage,) = package.manifest.stages
    assert isinstance(stage.input, CropInput)
    spec = msgspec.structs.asdict(stage.input)
    for key, value in said["input"].items():
        if key == "region":
            assert isinstance(stage.input.region, BoxRegion)
            assert {"from": "box", **msgspec.structs.asdict(stage.input.region)} == {"stretch": False, **value}
        elif key != "kind":
            assert spec[key] == (tuple(value) if isinstance(value, list) else value), key
    for output, told in zip(stage.outputs, said["outputs"], strict=True):
        has = msgspec.structs.asdict(output)
        for key, value in told.items():
            if key != "role":
                assert has[key] == (tuple(value) if isinstance(value, list) else value), key
    assert package.manifest.name == said["name"]
    assert package.manifest.licence == said["licence"]


def test_the_example_normalises_as_torchvision_does() -> None:
    said = msgspec.toml.decode((EXAMPLES / "resnet18.toml").read_bytes())["input"]
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for pixel in (0, 127, 255):
        assert pixel * np.array(said["scale"]) + said["offset"] == pytest.approx((pixel / 255 - mean) / deviation, abs=1e-6)


def describe(text: str) -> Path:
    path = Path("mine.toml")
    path.write_text(text)
    return path


def export(checkpoint: str, *, description: str | None = None, system: str | None = None, trusted: bool = False, to: str = "packages/mine") -> Package:
    said = None if description is None else describe(description)
    return load_package(export_checkpoint(Path(checkpoint), system=system, description=said, trusted=trusted, folder=Path(to), say=print))


def both_outputs(text: str) -> str:
    outputs = (EXAMPLES / "resnet18.toml").read_text().partition("[[outputs]]")
    return f"{text}\n[[outputs]]{outputs[2]}"


def test_however_the_weights_are_wrapped_the_network_is_the_same() -> None:
    weights = network("ar1", 1, 22).state_dict()
    parallel = {f"module.{name}": value for name, value in weights.items()}
    torch.save(weights, "plain.pth")
    torch.save({"state_dict": parallel, "epoch": 7}, "wrapped.pth")
    torch.save(weights, "old.pkl", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(parallel, "parallel.safetensors")
    description = 'architecture = "ar1"\n' + both_outputs(GRAY)
    hashes = {
        export(name, description=description, to=f"packages/{number}").manifest.files["network.onnx"]
        for number, name in enumerate(["plain.pth", "wrapped.pth", "old.pkl", "parallel.safetensors"])
    }
    assert len(hashes) == 1


class TwoHeads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = randomised(torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()))
        self.units, self.emotions = torch.nn.Linear(8, 15), torch.nn.Linear(8, 7)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(crops)
        return self.units(features), self.emotions(features)


@pytest.mark.parametrize("kind", ["torch.export", "TorchScript"])
def test_a_program_with_two_outputs(kind: str) -> None:
    torch.manual_seed(0)
    module, example = TwoHeads().eval(), torch.randn(2, 1, 98, 80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "torch.export":
            torch.export.save(torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("N")},)), "program.pt")
        else:
            torch.jit.save(torch.jit.trace(module, example), "program.pt")  # type: ignore[no-untyped-call]
    description = both_outputs(GRAY).replace("columns = [0, 15]", 'tensor = "units"').replace("columns = [15, 22]", 'tensor = "emotions"')
    package = export("program.pt", description=description, trusted=True)
    assert [output.tensor for output in package.manifest.stages[0].outputs] == ["units", "emotions"]


def test_a_keras_file() -> None:
    save_keras(keras_model(), "model.keras")
    package = export("model.keras", description=(EXAMPLES / "keras_emotions.toml").read_text())
    (stage,) = package.manifest.stages
    assert ([stage.input.tensor], [output.tensor for output in stage.outputs]) == (["crop"], ["scores"])


def test_a_tflite_file() -> None:
    rng = np.random.default_rng(0)
    made = SmallTflite((1, 48, 48, 1))
    kernels, bias = made.constant(rng.normal(size=(4, 3, 3, 1))), made.constant(np.zeros(4))
    maps = made.apply("CONV_2D", [0, kernels, bias], (1, 24, 24, 4), strideH=2, strideW=2, padding=SAME, fusedActivationFunction=RELU)
    means = made.apply("MEAN", [maps, made.constant([1, 2], dtype="INT32")], (1, 4), keepDims=False)
    made.apply("FULLY_CONNECTED", [means, made.constant(rng.normal(size=(7, 4))), made.constant(np.zeros(7))], (1, 7))
    Path("model.tflite").write_bytes(made.content())
    package = export("model.tflite", description=GRAY.replace("[80, 98]", "[48, 48]") + EMOTIONS)
    assert package.manifest.stages[0].input.tensor == "tensor_0"


def test_a_forest_is_for_the_processor_alone() -> None:
    rng = np.random.default_rng(0)
    crops: NDArray[np.float64] = rng.uniform(-1, 1, (200, 24 * 24))
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(crops, np.where(crops[:, :300].mean(1) > 0, "happy", "sad"))
    skops.io.dump(forest, "forest.skops")
    labels = '[[outputs]]\nrole = "emotions"\nactivation = "none"\nlabels = ["happy", "sad"]\n'
    package = export("forest.skops", description=GRAY.replace("[80, 98]", "[24, 24]") + labels)
    assert package.manifest.cpu_only == "TensorRT has no operators of classical machine learning, such as decision trees"


def test_a_clip_with_sound() -> None:
    torch.save(network("ar5", 20, 7).state_dict(), "clips.pth")
    clip = 'n_frames = 20\nduration_s = 1.0\nframes_as = "channels"\ntensor = "clip"\n'
    sound = (
        '[input.audio]\ntensor = "sound"\nrate_hz = 16000\nduration_s = 2.5\nsegment = 256\noverlap = 32\ntaper = 0.25\nnoise = 1.0\nsize_wh_px = [128, 64]\n'
    )
    description = 'architecture = "ar5"\n' + GRAY.replace('"crop"', '"clip+audio"') + clip + sound + EMOTIONS
    package = export("clips.pth", description=description)
    assert input_shapes(package.manifest.stages[0].input) == {"clip": (None, 20, 98, 80), "sound": (None, 1, 64, 128)}


@pytest.mark.parametrize("system", ["ar4", "resnet-22-blocks9-e2"])
def test_weights_of_a_system(system: str) -> None:
    parts = {
        "ar4": torch.nn.ModuleDict({"extractor": network("ar4-extractor", 1, 15), "perceptron": network("perceptron", 15, 7)}),
        "resnet-22-blocks9-e2": residual("resnet-9-blocks", 1, 21),
    }
    torch.save(parts[system].state_dict(), "mine.pth")
    package = export("mine.pth", system=system, to="packages/my-own")
    assert (package.name, package.manifest.licence, package.manifest.trained) == ("my-own", "that of mine.pth", True)
    assert package.manifest.description.endswith("Weights: mine.pth.")


@pytest.mark.parametrize(("value", "message"), [(3e38, "holds values that are no finite numbers"), (0.0, "does not vary over the inputs")])
def test_a_network_that_says_nothing_is_not_packed(value: float, message: str) -> None:
    weights = network("ar1", 1, 22).state_dict()
    last = list(weights)[-2]
    weights[last] = torch.full_like(weights[last], value)
    torch.save(weights, "bad.pth")
    with pytest.raises(ParityFailure, match=message):
        export("bad.pth", description='architecture = "ar1"\n' + both_outputs(GRAY))
    assert not Path("packages").exists()
