"""The PyTorch systems: the documents' counts, and each system from seeded first weights to ONNX over real crops."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from converters.errors import ConversionError, ParityFailure
from converters.original import Array, Original
from converters.parity import check_parity
from converters.real_inputs import picture_inputs, stage_inputs
from converters.systems.system import System
from converters.systems.torch_networks.architectures import ARCHITECTURES
from converters.systems.torch_networks.residual_blocks import blocks_of_stages
from converters.systems.torch_networks.resnet import BasicBlock
from converters.systems.torch_systems import SYSTEMS, inception_resnet_22, inceptionv4_22, resnet_22, variant_called
from edge.errors import ConfigError
from edge.package import file_sha256, load_package
from edge.result import EMOTIONS
from edge.stage import ActionUnits, Emotions, StageInput, input_shapes

BY_ID = {system.id: system for system in SYSTEMS}
IDS = [
    "resnet18-5",
    "efficientnet-b0-5",
    "ar1-22",
    "ar2-22",
    "ar3-22",
    "ar4",
    "ar5-av",
    "resnet18-22",
    "inceptionv4-22",
    "inception-resnet-22",
    "resnet18-au-mlp",
    "inceptionv4-au-mlp",
    "inception-resnet-au-mlp",
]
N = 8

Pictures = Callable[[System], dict[str, dict[str, Array]]]


@pytest.fixture(scope="module")
def pictures(clip: Callable[[str], Path], models: Path) -> Pictures:
    """A few real crops (and clips, and a sound) for the first stage of a system, far apart in time."""
    detector = load_package(models / "blazeface")
    cut: dict[StageInput, dict[str, Array]] = {}

    def of(system: System) -> dict[str, dict[str, Array]]:
        first = system.stages[0]
        if first.input not in cut:
            found = picture_inputs([first], clip("WolfgangLanger_Pexels.mp4"), detector)[first.name]
            cut[first.input] = {tensor: np.ascontiguousarray(array[:: max(1, len(array) // N)][:N]) for tensor, array in found.items()}
        return {first.name: cut[first.input]}

    return of


@pytest.fixture(scope="module")
def resnet18_22(pictures: Pictures) -> tuple[Original, onnx.ModelProto, Mapping[str, Array]]:
    crops = pictures(BY_ID["resnet18-22"])
    original = BY_ID["resnet18-22"].build(crops, 0)["network"]
    return original, original.to_onnx(), crops["network"]


def count(module: torch.nn.Module, *, trainable: bool = False) -> int:
    return sum(weights.numel() for weights in module.parameters() if weights.requires_grad or not trainable)


def test_the_rows_are_those_of_the_documents() -> None:
    assert [system.id for system in SYSTEMS] == IDS
    for system in SYSTEMS:
        assert ("reconstruction" in system.description) == system.id.startswith("ar"), system.id


def test_counts_of_document_002() -> None:
    resnet, efficientnet = ARCHITECTURES["resnet18-frozen"](3, 5), ARCHITECTURES["efficientnet-b0-hidden256"](3, 5)
    assert (count(resnet), count(resnet, trainable=True)) == (11_179_077, 2_565)
    assert (count(efficientnet), count(efficientnet, trainable=True)) == (4_336_769, 4_336_769)


@pytest.mark.parametrize(
    ("name", "published", "layer"),
    [
        ("resnet18", 11_689_512, "layer2.0.downsample.1.running_var"),
        ("resnet34", 21_797_672, "layer3.5.conv2.weight"),
        ("efficientnet-b0", 5_288_548, "blocks.5.3.se.conv_expand.bias"),
        ("inceptionv4", 42_679_816, "features.21.branch2_3b.conv.weight"),
    ],
)
def test_networks_are_the_published_ones(name: str, published: int, layer: str) -> None:
    """The parameters that torchvision, timm and Cadene's pretrained-models count for 1000 classes of RGB pictures, and a name of theirs."""
    network = ARCHITECTURES[name](3, 1000)
    assert count(network) == published
    assert layer in network.state_dict()


def test_inception_resnet_is_the_first_version_in_the_layout_of_facenet_pytorch() -> None:
    network = ARCHITECTURES["inception-resnet"](3, 1000)
    assert {"repeat_1.4.branch2.2.conv.weight", "repeat_2.9.conv2d.bias", "repeat_3.4.branch1.2.bn.weight"} <= set(network.state_dict())
    assert network.get_submodule("last_linear").weight.shape == (1000, 1792)


def test_depths_from_8_to_60_blocks() -> None:
    published = {8: (2, 2, 2, 2), 16: (3, 4, 6, 3), 33: (3, 4, 23, 3), 50: (3, 8, 36, 3)}
    assert {blocks: blocks_of_stages(blocks) for blocks in published} == published
    for blocks in range(8, 61):
        spread = blocks_of_stages(blocks)
        assert sum(spread) == blocks
        assert min(spread) >= 2
    for blocks in (8, 11, 33, 60):
        network = ARCHITECTURES[f"resnet-{blocks}-blocks"](1, 22)
        assert sum(isinstance(layer, BasicBlock) for layer in network.modules()) == blocks
    for blocks in (7, 61):
        with pytest.raises(ConfigError, match=f"expected 8 to 60 residual blocks, got {blocks}"):
            resnet_22(blocks=blocks)


def test_variants_have_ids_of_their_own() -> None:
    assert resnet_22().id == "resnet18-22"
    variants = {
        "resnet18-22-e2": resnet_22(neutral_rule=True),
        "resnet-22-blocks33": resnet_22(blocks=33),
        "resnet-22-blocks33-e2": resnet_22(blocks=33, neutral_rule=True),
        "inceptionv4-22-e2": inceptionv4_22(neutral_rule=True),
        "inception-resnet-22-e2": inception_resnet_22(neutral_rule=True),
    }
    for name, system in variants.items():
        found = variant_called(name)
        assert found is not None
        assert (found.id, found.description, found.stages) == (name, system.description, system.stages)
        assert system.id == name
    assert not any(map(variant_called, ["resnet18-22", "ar1-22-e2", "resnet-22-blocks", "resnet-22-blocks33-e3", "resnet-22-blocks-9", ""]))
    with pytest.raises(ConfigError, match="expected 8 to 60 residual blocks, got 61"):
        variant_called("resnet-22-blocks61-e2")


@pytest.mark.parametrize("system", SYSTEMS, ids=IDS)
def test_onnx_computes_what_pytorch_computes(system: System, pictures: Pictures) -> None:
    crops = pictures(system)
    originals = system.build(crops, 0)
    networks = {name: original.to_onnx() for name, original in originals.items()}
    inputs = stage_inputs(system.stages, crops, networks)
    for stage in system.stages:
        report = check_parity(originals[stage.name], networks[stage.name], inputs[stage.name], limit=system.max_relative_error, where=system.id)
        assert [output.name for output in report.outputs] == ["logits"]
        logits = originals[stage.name].run(inputs[stage.name])["logits"]
        assert logits.std(0, ddof=1) == pytest.approx(1, abs=0.01)  # every single output varies
        assert {value.name for value in networks[stage.name].graph.input} == set(input_shapes(stage.input))
        columns = [output.columns or (0, len(output.labels)) for output in stage.outputs if isinstance(output, ActionUnits | Emotions)]
        assert columns[0][0] == 0
        assert columns[-1][1] == logits.shape[1]


def test_rule_e2_has_no_neutral_output(pictures: Pictures) -> None:
    system = resnet_22(neutral_rule=True)
    emotions = system.stages[0].outputs[1]
    assert isinstance(emotions, Emotions)
    assert emotions.labels == tuple(name for name in EMOTIONS if name != "neutral")
    assert (emotions.columns, emotions.neutral_below) == ((15, 21), 0.5)
    crops = pictures(system)
    assert system.build(crops, 0)["network"].run(crops["network"])["logits"].shape == (N, 21)


def _swap_channels(weight: Array, node: onnx.NodeProto) -> Array:
    return weight[:, ::-1]


def _shift_pad(weight: Array, node: onnx.NodeProto) -> Array:
    next(attribute for attribute in node.attribute if attribute.name == "pads").ints[:] = [0, 0, 2, 2]
    return weight


def _change_scale(weight: Array, node: onnx.NodeProto) -> Array:
    return weight * np.float32(1.02)


@pytest.mark.parametrize("change", [_swap_channels, _shift_pad, _change_scale])
def test_a_changed_network_fails(change: Callable[[Array, onnx.NodeProto], Array], resnet18_22: tuple[Original, onnx.ModelProto, Mapping[str, Array]]) -> None:
    original, right, inputs = resnet18_22
    wrong = onnx.ModelProto()
    wrong.CopyFrom(right)
    node = [node for node in wrong.graph.node if node.op_type == "Conv"][1]  # 64 channels in, 3x3, padded by 1
    (weight,) = (tensor for tensor in wrong.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(weight), node)), weight.name))
    check_parity(original, right, inputs, limit=1e-3, where="right")
    with pytest.raises(ParityFailure, match="differs from the original's"):
        check_parity(original, wrong, inputs, limit=1e-3, where="wrong")


def test_the_seed_decides(resnet18_22: tuple[Original, onnx.ModelProto, Mapping[str, Array]], pictures: Pictures) -> None:
    system = BY_ID["resnet18-22"]
    again, other = (system.build(pictures(system), seed)["network"].sha256 for seed in (0, 1))
    assert again == resnet18_22[0].sha256
    assert other != again


def test_first_weights_need_crops_that_differ(pictures: Pictures) -> None:
    system = BY_ID["ar1-22"]
    crops = pictures(system)["network"]["crop"]
    with pytest.raises(ConversionError, match="'crop' of the stage 'network' is missing"):
        system.build({}, 0)
    with pytest.raises(ConversionError, match="at least 2 real inputs to set its statistics from, got 1"):
        system.build({"network": {"crop": crops[:1]}}, 0)
    with pytest.raises(ConversionError, match="outputs do not differ over the 2 inputs"):
        system.build({"network": {"crop": crops[[0, 0]]}}, 0)


def _save(networks: Mapping[str, torch.nn.Module], path: Path) -> Path:
    torch.save(torch.nn.ModuleDict(dict(networks)).state_dict(), path)
    return path


# Of each row, by stage: architecture, channels or numbers in, numbers out.
NETWORKS = {
    "resnet18-5": {"network": ("resnet18", 3, 5)},  # as torchvision's, whatever was frozen in training
    "efficientnet-b0-5": {"network": ("efficientnet-b0-hidden256", 3, 5)},
    "ar1-22": {"network": ("ar1", 1, 22)},
    "ar2-22": {"network": ("ar2", 1, 22)},
    "ar3-22": {"network": ("ar3", 1, 22)},
    "ar4": {"extractor": ("ar4-extractor", 1, 15), "perceptron": ("perceptron", 15, 7)},
    "ar5-av": {"network": ("ar5", 20, 6)},
    "resnet18-22": {"network": ("resnet18", 1, 22)},
    "inceptionv4-22": {"network": ("inceptionv4", 1, 22)},
    "inception-resnet-22": {"network": ("inception-resnet", 1, 22)},
    "resnet18-au-mlp": {"action_units": ("resnet18", 1, 15), "emotions": ("perceptron-of-logits", 15, 7)},
    "inceptionv4-au-mlp": {"action_units": ("inceptionv4", 1, 15), "emotions": ("perceptron-of-logits", 15, 7)},
    "inception-resnet-au-mlp": {"action_units": ("inception-resnet", 1, 15), "emotions": ("perceptron-of-logits", 15, 7)},
}


@pytest.mark.parametrize("name", IDS)
def test_every_row_takes_a_state_dict_and_names_what_is_missing(name: str, tmp_path: Path) -> None:
    load = BY_ID[name].load
    assert load is not None
    networks = {stage: ARCHITECTURES[architecture](n_in, n_out) for stage, (architecture, n_in, n_out) in NETWORKS[name].items()}
    weights = next(iter(networks.values())).state_dict() if len(networks) == 1 else torch.nn.ModuleDict(networks).state_dict()
    torch.save(weights, tmp_path / "mine.pth")
    loaded = load(tmp_path / "mine.pth")
    assert list(loaded) == [stage.name for stage in BY_ID[name].stages]
    assert {original.sha256 for original in loaded.values()} == {file_sha256(tmp_path / "mine.pth")}
    *_, last = weights
    del weights[last]
    torch.save(weights, tmp_path / "less.pth")
    stage = next((stage for stage in networks if last.startswith(f"{stage}.")), "")
    with pytest.raises(ConversionError, match=f"layer '{re.escape(last.removeprefix(f'{stage}.'))}' of '.*' is missing \\(1 of"):
        load(tmp_path / "less.pth")


def test_a_state_dict_runs_in_its_place(tmp_path: Path, pictures: Pictures) -> None:
    torch.manual_seed(0)
    system = BY_ID["resnet18-22"]
    assert system.load is not None
    network = ARCHITECTURES["resnet18"](1, 22).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    crops = pictures(system)["network"]
    with torch.no_grad():
        expected = network(torch.tensor(crops["crop"])).numpy()
    assert system.load(tmp_path / "weights.pt")["network"].run(crops)["logits"] == pytest.approx(expected, abs=1e-5)


def test_a_state_dict_of_two_stages(tmp_path: Path) -> None:
    load = BY_ID["ar4"].load
    assert load is not None
    extractor, perceptron = ARCHITECTURES["ar4-extractor"](1, 15), ARCHITECTURES["perceptron"](15, 7)
    loaded = load(_save({"extractor": extractor, "perceptron": perceptron}, tmp_path / "both.pt"))
    features = np.linspace(-1, 1, 30, dtype=np.float32).reshape(2, 15)
    with torch.no_grad():
        expected = perceptron(torch.tensor(features)).numpy()
    assert loaded["perceptron"].run({"action_units": features})["logits"] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConversionError, match=r"no layers of the stage 'perceptron': expected names that begin with perceptron\."):
        load(_save({"extractor": extractor}, tmp_path / "one.pt"))
    with pytest.raises(ConversionError, match=r"layer 'head.hidden.weight' belongs to no stage: expected names that begin with extractor\. or perceptron\."):
        load(_save({"extractor": extractor, "head": perceptron}, tmp_path / "other.pt"))
    with pytest.raises(ConversionError, match=r"'output.weight': expected \[7, 32\], got \[6, 32\]"):
        load(_save({"extractor": extractor, "perceptron": ARCHITECTURES["perceptron"](15, 6)}, tmp_path / "six.pt"))
