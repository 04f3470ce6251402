"""What is wrong with a user's checkpoint, or with its description, is named; nothing in a file runs; nothing of the user's is lost."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from converters.__main__ import main
from converters.checkpoint import export_checkpoint
from converters.description import manifest_from, read_description
from converters.errors import ConversionError
from converters.systems.torch_networks.architectures import ARCHITECTURES
from edge.errors import ConfigError
from tests.converters.torch_checkpoints import Touch, pickled, saved, small_network, traced

EXAMPLES = Path(__file__).resolve().parents[2] / "converters" / "examples"
RESNET = (EXAMPLES / "resnet18.toml").read_text()
KERAS = (EXAMPLES / "keras_emotions.toml").read_text()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user is, and where packages would go; nothing here needs a face detector: all ends before pictures are read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_MODELS", str(tmp_path / "models"))
    return tmp_path


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


def export(checkpoint: str | Path, description: str | None = RESNET, *, system: str | None = None, trusted: bool = False, to: str | None = "mine") -> Path:
    said = None
    if description is not None:
        said = Path("said.toml")
        said.write_text(description)
    folder = None if to is None else Path(to)
    return export_checkpoint(Path(checkpoint), system=system, description=said, trusted=trusted, folder=folder, say=print)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return dict(ARCHITECTURES["resnet18"](3, 22).state_dict())


def refused(message: str, checkpoint: str | Path, description: str | None = RESNET, **options: object) -> None:
    with pytest.raises(ConversionError, match=message):
        export(checkpoint, description, **options)  # type: ignore[arg-type]
    assert not Path("mine").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nscale =", "\nscal =", r"said.toml does not describe a network: Object contains unknown field `scal` - at `input`"),
        ('"rgb"', '"rgb', r"said.toml is no TOML file: .*line 8"),
        ('"rgb"', '"yuv"', r"Invalid enum value 'yuv' - at `input.color`"),
        ('color = "rgb"\n', "", r"missing required field `color` - at `input`"),
        ('activation = "sigmoid"\n', "", r"missing required field `activation` - at `outputs\[0\]`"),
        ('role = "emotions"', 'role = "boxes"', r"Invalid value 'boxes' - at `outputs\[1\].role`"),
        ("[224, 224]", '"224x224"', r"Expected `array`, got `str` - at `input.size_wh_px`"),
        ("[224, 224]", "[224, 200]", r"does not say `stretch` of `input.region`\n.*only you know: stretch = true resizes the square"),
        ("[224, 224]", "[0, 0]", r"has an input of \(0, 0\) pixels"),
        ("[224, 224]", "[100000, 100000]", r"size_wh_px: expected at most 2048 pixels, got \[100000, 100000\]"),
        ("equalize = false\n", "", r"said.toml does not say `equalize` of `input`\n.*only you know: equalize = false where"),
        (" expand = 1.2,", "", r"does not say `expand` of `input.region`"),
        (", level_eyes = true", "", r"does not say `level_eyes` of `input.region`"),
        ("expand = 1.2", "expand = 0.0", r"stage 'network': expand is over 0; got 0"),
        ("expand = 1.2", "expand = nan", r"stage 'network': expand is over 0; got nan"),
        (
            'from = "box", expand = 1.2',
            'from = "eyes", eye_distance = 0.0, eye_line = 0.3',
            r"eye_distance is over 0 and eye_line finite; got 0 ",
        ),
        (", 0.0174291939]", "]", r"scale has 2 numbers for 3 channels of rgb"),
        ('"sad"', '"contempt"', r"emotions must be some of neutral, .*; got neutral, happy, surprised, angry, disgusted, contempt, afraid"),
        ('"AU26"', '"AU45"', r"'AU45' is not one of AU1, AU2"),
        ('"AU26"', '"AU25"', r"'AU25' is not one of AU1, AU2"),
        ("[15, 22]", "[15, 21]", r"emotions has 7 labels for columns 15 to 21"),
        ("[0, 15]", "[-1, 14]", r"action_units has 15 labels for columns -1 to 14"),
        ("[15, 22]", "[14, 21]", r"action_units and emotions both read column 14 of 'output'"),
        ('role = "emotions"', 'role = "emotions"\nneutral_below = 0.5', r"'neutral' is among the labels"),
        ('"my-resnet18"', '"a/../../b"', r"expected a name of letters, digits, '.', '_' and '-' for the package, got 'a/../../b'"),
        ('"my-resnet18"', '""', r"for the package, got ''"),
        ('name = "my-resnet18"', 'name = "my"\nmax_relative_error = nan', r"max_relative_error: expected more than 0 and at most 0.1, got nan"),
        ('name = "my-resnet18"', 'name = "my"\nmax_relative_error = 1.0', r"max_relative_error: expected more than 0 and at most 0.1, got 1"),
        ('name = "my-resnet18"', 'name = "my"\nlow_confidence = ["smug"]', r"'smug' is neither an action unit "),
        (
            '"resnet18"\n',
            '"resnet50"\n',
            r"holds weights alone: expected `architecture` in the description, got 'resnet50'\n  one of resnet18, .*torch.export.save",
        ),
        ('architecture = "resnet18"\n', "", r"holds weights alone: expected `architecture` in the description, got ''"),
        ('role = "emotions"', 'role = "emotions"\ntensor = "other"', r"names the output tensors output, other: 'resnet18' has one"),
    ],
)
def test_the_description(old: str, new: str, message: str, weights: dict[str, torch.Tensor]) -> None:
    saved(Path("mine.pth"), {"conv1.weight": weights["conv1.weight"]})
    refused(message, "mine.pth", changed(RESNET, old, new))


def test_no_description(weights: dict[str, torch.Tensor]) -> None:
    saved(Path("mine.pth"), {"conv1.weight": weights["conv1.weight"]})
    Path("folder").mkdir()
    for said, reason in (("none.toml", "No such file"), ("folder", "Is a directory")):
        with pytest.raises(ConversionError, match=rf"the description {said} cannot be read \({reason}"):
            export_checkpoint(Path("mine.pth"), system=None, description=Path(said), trusted=False, folder=None, say=print)
    refused("missing required field `name`", "mine.pth", "")
    refused(r"Expected `array`, got `int` - at `outputs`", "mine.pth", changed(RESNET, "name =", "outputs = 3\nname =").partition("[[outputs]]")[0])
    refused(r"Expected `object`, got `int` - at `input`", "mine.pth", "input = 3\n" + RESNET.partition("[input]")[0])


def test_either_a_system_or_a_description() -> None:
    saved(Path("mine.pth"), {})
    with pytest.raises(ConfigError, match=r"expected either --system or --description with the checkpoint mine.pth, got both"):
        export("mine.pth", system="resnet18-22")
    with pytest.raises(ConfigError, match="got neither"):
        export("mine.pth", None)
    with pytest.raises(ConfigError, match=r"no system 'resnet18-23'\n  choose one of .*resnet18-22.*resnet-22-blocksN"):
        export("mine.pth", None, system="resnet18-23")
    with pytest.raises(ConfigError, match="expected 8 to 60 residual blocks, got 61"):
        export("mine.pth", None, system="resnet-22-blocks61")
    with pytest.raises(ConversionError, match=r"expected the folder that training 'random-forest-5' wrote, got the file mine.pth\n  your own estimator"):
        export("mine.pth", None, system="random-forest-5")
    with pytest.raises(ConfigError, match="--trusted is for programs; with --system a checkpoint holds weights alone"):
        export("mine.pth", None, system="resnet18-22", trusted=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "layer2.0.conv1.weight"}, r"layer 'layer2.0.conv1.weight' of 'resnet18' is missing \(1 of 122 are\)"),
        (lambda w: {**w, "extra.weight": torch.zeros(3)}, r"layer 'extra.weight' is unexpected: 'resnet18' has no such layer"),
        (lambda w: {k.replace("layer3", "block3"): v for k, v in w.items()}, r"layer 'layer3.0.conv1.weight' of 'resnet18' is missing"),
        (
            lambda w: {**w, "fc.weight": w["fc.weight"][:7], "fc.bias": w["fc.bias"][:7]},
            r"layer 'fc.weight': expected \[22, 512\], got \[7, 512\]: the checkpoint has 7 outputs there, the network 22\n.*labels, and columns",
        ),
        (
            lambda w: {**w, "conv1.weight": w["conv1.weight"][:, :1]},
            r"layer 'conv1.weight': expected \[64, 3, 7, 7\], got \[64, 1, 7, 7\]: channels in: 1 in the checkpoint, 3 in the network\n  a gray picture has 1",
        ),
        (lambda w: {**w, "conv1.weight": w["conv1.weight"][:, :, :3, :3]}, r"expected \[64, 3, 7, 7\], got \[64, 3, 3, 3\]\n  choose the network"),
        (lambda w: {**w, "bn1.weight": w["bn1.weight"] * torch.nan}, r"layer 'bn1.weight': 64 of 64 weights are NaN or infinite"),
        (lambda w: {"epoch": 7, "net": w}, r"got 'epoch', which is an object of type int, .*\n.*torch.save\(checkpoint\['net'\], path\)"),
    ],
    ids=["missing", "unexpected", "renamed", "seven", "gray", "kernel", "nan", "nested"],
)
def test_weights_of_another_network(change: Callable[[dict[str, torch.Tensor]], object], message: str, weights: dict[str, torch.Tensor]) -> None:
    refused(message, saved(Path("mine.pth"), change(weights)))


def test_colour_and_system_of_another_checkpoint(weights: dict[str, torch.Tensor]) -> None:
    saved(Path("mine.pth"), weights)
    gray = re.sub(r"(scale|offset) = \[.*\]", r"\1 = 0.01", changed(RESNET, '"rgb"', '"gray"'))
    refused(r"expected \[64, 1, 7, 7\], got \[64, 3, 7, 7\]: channels in: 3 in the checkpoint, 1 in the network", "mine.pth", gray)
    refused(r"expected \[64, 1, 7, 7\], got \[64, 3, 7, 7\]", "mine.pth", None, system="resnet18-22")
    refused(r"layer 'layer1.2.conv1.weight' of 'resnet-33-blocks \(network\)' is missing", "mine.pth", None, system="resnet-22-blocks33")
    refused(r"belongs to no stage: expected names that begin with action_units\. or emotions\.", "mine.pth", None, system="resnet18-au-mlp")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pth", b"", r"empty.pth is empty"),
        ("text.pth", b"weights", r"expected a file of PyTorch, got something else"),
        ("cut.pth", b"PK\x03\x04" + bytes(40), r"cut.pth is damaged or was cut off"),
        ("cut.safetensors", bytes([200] + [0] * 7) + b'{"a":', r"cut.safetensors is no sound safetensors file"),
        ("empty.safetensors", b"", r"is empty"),
        ("empty.keras", b"", r"expected a .keras file"),
        ("cut.h5", b"\x89HDF\r\n\x1a\n" + bytes(90), r"damaged or cut short"),
        ("empty.skops", b"", r"empty.skops is no .skops file"),
        ("empty.tflite", b"", r"empty.tflite: expected a TFLite file"),
        ("cut.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(90), r"cut.tflite is damaged or was cut off"),
    ],
)
def test_damaged_files(name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    refused(message, name, KERAS)


def test_a_checkpoint_that_was_cut_off(weights: dict[str, torch.Tensor]) -> None:
    content = saved(Path("whole.pth"), weights).read_bytes()
    Path("cut.pth").write_bytes(content[: len(content) // 2])
    refused("cut.pth is damaged or was cut off", "cut.pth")
    refused("no such system and no such file: none.pth", "none.pth")
    Path("folder").mkdir()
    refused("expected a SavedModel, a folder with saved_model.pb, got folder", "folder")


@pytest.mark.parametrize("name", ["evil.pth", "evil.pt2", "evil.bin", "evil.pkl", "evil.joblib", "evil.skops", "evil.h5", "evil.keras", "evil.safetensors"])
def test_a_pickle_runs_nothing(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    content = pickled(Path(name), Touch(marker)).read_bytes()
    for trusted in (False, True):
        refused("pickle", name, trusted=trusted)
    assert not marker.exists()
    pickle.loads(content)  # as a careless program does
    assert marker.exists()


@pytest.mark.parametrize("inside", [False, True])
def test_an_object_in_a_checkpoint_runs_nothing(inside: bool, tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    marker = tmp_path / "ran"
    saved(Path("evil.pth"), {"state_dict": weights, "hook": Touch(marker)} if inside else Touch(marker))
    refused(r"expected a state_dict, weights alone; got a pickled program object \S+, and loading such objects runs code\n  save the weights alone", "evil.pth")
    assert not marker.exists()
    torch.load("evil.pth", weights_only=False)
    assert marker.exists()


def test_a_pickled_network_is_refused_with_what_to_do() -> None:
    saved(Path("whole.pth"), torch.nn.Linear(2, 2))
    refused(r"got a pickled program object torch.nn.modules.linear.Linear.*\n  save the weights alone: torch.save\(model.state_dict\(\), path\)", "whole.pth")
    pickled(Path("pipeline.joblib"), {})
    refused(r"pipeline.joblib is a pickle.*\n.*python -c .*skops.io.dump", "pipeline.joblib", KERAS)


def test_programs_need_trust() -> None:
    traced(Path("program.pt"), small_network())
    refused(r"program.pt is a TorchScript program, not weights.*\n  if you trust whoever made it: --trusted; or save the weights alone", "program.pt")
    refused(r"names the architecture 'resnet18', but program.pt holds its own", "program.pt", trusted=True)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ("photos", r"mine is there and holds no package: it is not replaced"),
        ("file", r"mine is a file: expected a folder"),
        ("notes", r"mine holds notes.txt, which is no part of the package in it"),
        ("other", r"mine holds the package 'other': it is not replaced by 'my-resnet18'"),
    ],
)
def test_what_lies_there_is_not_deleted(held: str, message: str, weights: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    saved(Path("mine.pth"), weights)
    Path("said.toml").write_text(RESNET)
    target = Path("mine")
    if held == "file":
        target.write_text("precious")
    else:
        target.mkdir()
        described = read_description(Path("said.toml"), inputs=("input",), outputs=("output",))
        if held != "photos":
            name = "other" if held == "other" else described.name
            (target / "package.toml").write_bytes(msgspec.toml.encode(msgspec.structs.replace(manifest_from(described), name=name)))
        (target / ("network.onnx" if held == "other" else "notes.txt")).write_text("precious")
        if held == "other":
            (target / "network.onnx").unlink()
    before = sorted((path, path.read_bytes()) for path in [target, *target.glob("*")] if path.is_file())
    assert main(["export", "mine.pth", "--description", "said.toml", "-o", "mine"]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert sorted((path, path.read_bytes()) for path in [target, *target.glob("*")] if path.is_file()) == before


@pytest.mark.parametrize("name", ["default", "mesh-chain", "blazeface", "resnet18-22"])
def test_names_of_other_packages_are_taken(name: str, weights: dict[str, torch.Tensor]) -> None:
    saved(Path("mine.pth"), weights)
    with pytest.raises(ConfigError, match=rf"'{name}' is the name of another package"):
        export("mine.pth", changed(RESNET, "my-resnet18", name), to=None)


def test_a_name_that_no_folder_can_have() -> None:
    saved(Path("my weights.pth"), {})
    with pytest.raises(ConversionError, match=r"expected a name of letters, digits, .* for the package, got 'my weights'"):
        export("my weights.pth", None, system="resnet18-22", to=None)
    with pytest.raises(ConversionError, match=r"for the package, got '\.\.'"):
        export("my weights.pth", None, system="resnet18-22", to="a/..")
