"""Files of PyTorch: weights go into the network that they are for, programs need trust, and nothing in a file runs."""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from converters.errors import ConversionError
from converters.from_torch.exported_program import Program
from converters.from_torch.script_program import ScriptProgram
from converters.from_torch.state_dict import StateDict
from converters.from_torch.torch_file import open_torch_file
from converters.from_torch.torch_original import TorchOriginal
from converters.original import Array
from converters.parity import check_parity
from edge.package import file_sha256
from tests.converters.torch_checkpoints import (
    SIZE,
    Nested,
    Touch,
    compressed,
    exported,
    pickled,
    saved,
    scripted,
    small_network,
    traced,
    with_pickled_weights,
)
from tests.converters.torch_layers import Apply, Attention, Inception, Recurrent

ARGUMENTS: dict[str, Any] = {"inputs": ["pictures"], "outputs": ["scores"], "name": "net"}


def some(batch: int = 7) -> Array:
    return np.random.default_rng(2).standard_normal((batch, *SIZE)).astype(np.float32)


def example() -> dict[str, Array]:
    return {"pictures": some(2)}


def weights(path: Path) -> StateDict:
    file = open_torch_file(path, trusted=False)
    assert isinstance(file, StateDict)
    assert file.kind == "state_dict"
    return file


def assert_parity(original: TorchOriginal) -> None:
    check_parity(original, original.to_onnx(), {"pictures": some()}, limit=1e-3, where="net")


def as_safetensors(path: Path, state: dict[str, torch.Tensor]) -> Path:
    safetensors.torch.save_file(state, path)
    return path


STATE = small_network().state_dict()
ACCEPTED: dict[str, Callable[[Path], Path]] = {
    "zip": lambda path: saved(path, STATE),
    "before 1.6": lambda path: saved(path, STATE, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: as_safetensors(path, STATE),
    "state_dict": lambda path: saved(path, {"state_dict": STATE, "epoch": 3, "best": 0.61}),
    "model": lambda path: saved(path, {"model": STATE, "optimizer": {"lr": 0.1, "momentum": [torch.ones(3)]}}),
    "parallel": lambda path: saved(path, {"module." + name: tensor for name, tensor in STATE.items()}),
    "parallel inside": lambda path: saved(path, {"model_state_dict": {"module." + name: tensor for name, tensor in STATE.items()}}),
    "module": lambda path: saved(path, nn.DataParallel(small_network()).state_dict()),
    "no counters": lambda path: saved(path, {name: tensor for name, tensor in STATE.items() if "num_batches" not in name}),
}


@pytest.mark.parametrize("form", ACCEPTED)
def test_weights_are_read(form: str, tmp_path: Path) -> None:
    path = ACCEPTED[form](tmp_path / "weights.bin")
    original = weights(path).original(small_network(classes=5).requires_grad_(False).apply(_spoil), example=example(), **ARGUMENTS)
    expected = TorchOriginal(small_network(), example=example(), **ARGUMENTS)
    np.testing.assert_array_equal(original.run({"pictures": some()})["scores"], expected.run({"pictures": some()})["scores"])
    assert original.sha256 == file_sha256(path)
    assert_parity(original)


def _spoil(layer: nn.Module) -> None:
    for parameter in layer.parameters(recurse=False):
        parameter.zero_()


def test_half_precision_is_widened(tmp_path: Path) -> None:
    original = weights(saved(tmp_path / "half.pt", small_network().half().state_dict())).original(small_network(), example=example(), **ARGUMENTS)
    expected = TorchOriginal(small_network().half().float(), example=example(), **ARGUMENTS)
    np.testing.assert_array_equal(original.run({"pictures": some()})["scores"], expected.run({"pictures": some()})["scores"])


def changed(**tensors: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The right weights but for these, by names with _ for the dot; None: left out."""
    named = {name.replace("_", ".", 1): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in ({**STATE, **named}).items() if tensor is not None}


MISMATCHES: dict[str, tuple[object, str]] = {
    "missing": (changed(**{"1_weight": None}), r"layer '1\.weight' of 'net' is missing \(1 of 9 are\)\n.*first layers are 0\.weight, 0\.bias, 1\.bias"),
    "nested": (Nested().state_dict(), r"layer '0\.weight' of 'net' is missing .*\n.*'body\.0\.weight': save .*torch\.save\(model\.body\.state_dict\(\)\)"),
    "unexpected": (changed(**{"9_weight": torch.ones(2)}), r"layer '9\.weight' is unexpected: 'net' has no such layer \(1 of 10 are unexpected\)"),
    "classes": (
        small_network(classes=7).state_dict(),
        r"layer '5\.weight': expected \[5, 8\], got \[7, 8\]: the checkpoint has 7 outputs there, the network 5",
    ),
    "channels": (small_network(channels=1).state_dict(), r"layer '0\.weight': .* got \[8, 1, 3, 3\]: channels in: 1 in the checkpoint, 3 in the network\n"),
    "parallel classes": (
        {"state_dict": {"module." + name: tensor for name, tensor in small_network(classes=7).state_dict().items()}},
        r"the network 5 \(the weights were read under 'state_dict' and with the prefix 'module\.' removed\)",
    ),
    "integers": (changed(**{"5_bias": torch.ones(5, dtype=torch.int64)}), r"layer '5\.bias': expected float32, got int64\n.*model\.float\(\)"),
    "double": (changed(**{"5_bias": torch.ones(5, dtype=torch.float64)}), r"layer '5\.bias': expected float32, got float64"),
    "nan": (changed(**{"5_bias": torch.tensor([1.0, float("nan"), 0.0, float("inf"), 2.0])}), r"layer '5\.bias': 2 of 5 weights are NaN or infinite"),
    "half nan": (changed(**{"5_bias": torch.full((5,), float("nan")).half()}), r"layer '5\.bias': 5 of 5 weights are NaN"),
    "sparse": (changed(**{"5_weight": torch.ones(5, 8).to_sparse()}), r"layer '5\.weight': expected a plain tensor, got torch\.sparse_coo on cpu"),
    "no data": (changed(**{"5_weight": torch.ones(5, 8, device="meta")}), r"layer '5\.weight': expected a plain tensor, got torch\.strided on meta"),
}


@pytest.mark.parametrize("case", MISMATCHES)
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_the_first_mismatch_is_named(case: str, tmp_path: Path) -> None:
    content, message = MISMATCHES[case]
    with pytest.raises(ConversionError, match=f"(?s){message}"):
        weights(saved(tmp_path / "weights.pt", content)).original(small_network(), example=example(), **ARGUMENTS)


NO_WEIGHTS: dict[str, tuple[object, str]] = {
    "a tensor": (torch.ones(3), "expected a state_dict, weights by name; got an object of type Tensor"),
    "nothing": ({}, "expected a state_dict, weights by name; got a dictionary of 0 entries"),
    "numbers": ({0: torch.ones(3)}, "expected a state_dict, weights by name; got a dictionary of 1 entries"),
    "another key": (
        {"net": STATE, "epoch": 3},
        "at the top of the file or under 'state_dict'.* got 'net', which is a dictionary of 9 entries, beside 1 others",
    ),
}


@pytest.mark.parametrize("case", NO_WEIGHTS)
def test_files_without_weights(case: str, tmp_path: Path) -> None:
    content, message = NO_WEIGHTS[case]
    with pytest.raises(ConversionError, match=message):
        open_torch_file(saved(tmp_path / "weights.pt", content), trusted=True)


PROGRAMS: dict[str, Callable[[], nn.Module]] = {
    "classifier": small_network,
    "branches": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Inception()),
    "attention": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Attention()),
    "recurrent": lambda: Recurrent(nn.LSTM(10, 6, batch_first=True)),
    "sizes": lambda: Apply(_with_sizes),
}


def _with_sizes(values: torch.Tensor) -> torch.Tensor:
    batch = values.shape[0]
    rows = values.flatten(1).reshape(batch * 2, 195).reshape(batch, 390)
    zeros = torch.zeros(batch, 3) + values.mean((1, 2, 3))[:, None]
    return torch.cat([rows, zeros, values.new_full((batch, 2), 3.0) * values[:, 0, 1, :2], torch.ones(1, 4).expand(batch, 4) * values[:, 0, 0, :4]], 1)


@pytest.mark.parametrize("name", PROGRAMS)
def test_exported_programs(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = exported(tmp_path / "net.pt2", PROGRAMS[name]())
    program = open_torch_file(path, trusted=True)
    assert isinstance(program, Program)
    assert program.kind == "program"
    original = program.original(**ARGUMENTS)
    assert original.sha256 == file_sha256(path)
    assert_parity(original)


def test_normalisations_of_a_program_are_folded(tmp_path: Path) -> None:
    program = open_torch_file(exported(tmp_path / "net.pt2", small_network()), trusted=True)
    assert isinstance(program, Program)
    assert [node.op_type for node in program.original(**ARGUMENTS).to_onnx().graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]


def _by_sum(values: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = torch.cond(values.sum() > 0, lambda one: one * 2, lambda one: one * 3, (values,))
    return result


REFUSED_PROGRAMS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "fixed batch": ({"free": {}}, {}, r"is \[2, 3, 13, 10\]: the program is bound to a batch of 2\n.*torch\.export\.Dim"),
    "free height": ({"free": {0: "N", 2: "H"}, "module": Apply(torch.relu)}, {}, "only the first dimension may be free"),
    "inputs": ({}, {"inputs": ["faces", "sound"]}, r"expected 2 inputs \(faces, sound\), the program takes 1: input"),
    "integers": (
        {"module": Apply(lambda values: values * 2), "example": torch.ones(2, 3, dtype=torch.int64)},
        {},
        r"expected float32\[N, \.\.\.\] as input 'values'",
    ),
    "item": ({"module": Apply(lambda values: values * values.mean().item())}, {}, r"decides by the values of a tensor \(aten\.item\.default"),
    "branch": ({"module": Apply(_by_sum)}, {}, r"decides by the values of a tensor \(cond"),
    "batch as a number": (
        {"module": Apply(lambda values: values.flatten(1) + torch.arange(values.shape[0])[:, None])},
        {},
        r"operator 'aten\.arange.*' takes the size of the batch",
    ),
}


@pytest.mark.parametrize("case", REFUSED_PROGRAMS)
def test_programs_that_cannot_be_converted(case: str, tmp_path: Path) -> None:
    how, arguments, message = REFUSED_PROGRAMS[case]
    program = open_torch_file(exported(tmp_path / "net.pt2", **{"module": small_network(), **how}), trusted=True)
    assert isinstance(program, Program)
    with pytest.raises(ConversionError, match=f"(?s){message}"):
        program.original(**{**ARGUMENTS, **arguments}).to_onnx()


class Decides(nn.Module):
    """Branches on values, which TorchScript keeps and a trace could not."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result = values
        if float(values[0, 0, 0, 0]) > 1e6:
            result = -values
        return result * 2


@pytest.mark.parametrize(
    "save",
    [
        lambda path: traced(path, small_network()),
        lambda path: scripted(path, small_network()),
        lambda path: traced(path, nn.Sequential(nn.Conv2d(3, 4, 1), Inception())),
        lambda path: scripted(path, Decides()),
    ],
    ids=["traced", "scripted", "branches", "decides"],
)
def test_torchscript(save: Callable[[Path], Path], tmp_path: Path) -> None:
    path = save(tmp_path / "net.pt")
    program = open_torch_file(path, trusted=True)
    assert isinstance(program, ScriptProgram)
    assert program.kind == "torchscript"
    original = program.original(example=example(), **ARGUMENTS)
    assert original.sha256 == file_sha256(path)
    assert_parity(original)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Apply(lambda values: values.reshape(2, -1)), "bound to a batch of 2"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), Apply(lambda values: torch.fft.fft2(values).abs())), "operator 'fft_fft2' in layer '1' cannot be written"),
        (nn.Sequential(nn.Flatten(), nn.Linear(390, 2)), r"fails in its forward\(\) on 'pictures' \[2, 3, 9, 9\]"),
    ],
    ids=["batch", "operator", "sizes"],
)
def test_torchscript_that_cannot_be_converted(module: nn.Module, message: str, tmp_path: Path) -> None:
    program = open_torch_file(traced(tmp_path / "net.pt", module), trusted=True)
    assert isinstance(program, ScriptProgram)
    size = {"pictures": some(2)[:, :, :9, :9]} if "9, 9" in message else example()
    with pytest.raises(ConversionError, match=message):
        program.original(example=size, **ARGUMENTS).to_onnx()


def test_programs_need_trust(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"(?s)is a program of torch\.export: loading it can run code.*--trusted.*model\.state_dict\(\)"):
        open_torch_file(exported(tmp_path / "net.pt2", small_network()), trusted=False)
    with pytest.raises(ConversionError, match=r"(?s)is a TorchScript program, not weights.*--trusted"):
        open_torch_file(traced(tmp_path / "net.pt", small_network()), trusted=False)


@pytest.mark.parametrize("trusted", [False, True])
def test_nothing_in_a_file_of_weights_runs(trusted: bool, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    contents: list[object] = [Touch(marker), {"state_dict": STATE, "epoch": Touch(marker)}, {**STATE, "5.bias": Touch(marker)}]
    for number, content in enumerate(contents):
        for path in (
            saved(tmp_path / f"{number}.pt", content),
            saved(tmp_path / f"{number}.old.pt", content, _use_new_zipfile_serialization=False),
            pickled(tmp_path / f"{number}.pkl", content),
        ):
            with pytest.raises(ConversionError, match=r"expected a state_dict, weights alone; got a pickled program object .*loading such objects runs code"):
                open_torch_file(path, trusted=trusted)
            assert not marker.exists()
    # The files do what they are made for, where they are loaded without care.
    torch.load(tmp_path / "1.pt", weights_only=False)
    assert marker.exists()


def test_an_untrusted_program_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = with_pickled_weights(exported(tmp_path / "good.pt2", small_network()), tmp_path / "bad.pt2", marker)
    with pytest.raises(ConversionError, match="is a program"):
        open_torch_file(path, trusted=False)
    assert not marker.exists()
    # Why a program of torch.export needs trust: its loader runs this.
    with pytest.raises(ConversionError, match="cannot load this program"):
        open_torch_file(path, trusted=True)
    assert marker.exists()


PICKLES: dict[str, tuple[object, str]] = {
    "module": (small_network(), r"pickled program object torch\.nn\.modules\.container\.Sequential.*torch\.save\(model\.state_dict\(\)"),
    "arguments": ({"state_dict": STATE, "args": argparse.Namespace(lr=0.1)}, r"pickled program object argparse\.Namespace.*checkpoint\['state_dict'\]"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_objects_are_named(case: str, tmp_path: Path) -> None:
    content, message = PICKLES[case]
    with pytest.raises(ConversionError, match=f"(?s){message}"):
        open_torch_file(saved(tmp_path / "net.pt", content), trusted=True)


def test_pickles_of_other_libraries(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"(?s)pickled program object sklearn\.linear_model\S+LogisticRegression.*skops\.io\.dump"):
        open_torch_file(pickled(tmp_path / "model.pkl", LogisticRegression()), trusted=True)
    with pytest.raises(ConversionError, match=r"pickled program object collections\.OrderedDict"):
        open_torch_file(pickled(tmp_path / "weights.pkl", STATE), trusted=True)
    with pytest.raises(ConversionError, match=r"pickled program object \(of plain values\)"):
        open_torch_file(pickled(tmp_path / "numbers.pkl", [1, 2, 3]), trusted=True)
    with pytest.raises(ConversionError, match=r"pickled program object \(the pickle is damaged\)"):
        open_torch_file(_written(tmp_path / "cut.pkl", pickle.dumps([1, 2, 3])[:-1] + b"\xff"), trusted=True)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _zip_of(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


OTHERS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("net.pt", b"", "is empty"),
    "text": ("net.pt", b"<html>not found", r"got something else \(it begins with 3c 68 74 6d 6c 3e 6e 6f\)"),
    "hdf5": ("net.pt", b"\x89HDF\r\n\x1a\n....", "expected a file of PyTorch, got HDF5"),
    "keras": ("net.pt", _zip_of(config__json=b"{}"), r"got a zip archive with config\.json"),
    "zip": ("net.pt", _zip_of(readme__txt=b"x"), r"got a zip archive that holds readme\.txt"),
    "empty zip": ("net.pt", b"PK\x03\x04" + b"\0" * 40, "is damaged or was cut off"),
    "no pickle": ("net.pt", _zip_of(data__pkl=b"nothing"), "is damaged, was cut off, or holds more than weights"),
    "safetensors": ("net.safetensors", b"\xff" * 8 + b"{}", "is no sound safetensors file"),
    "huge safetensors": ("net.safetensors", (2**40).to_bytes(8, "little") + b"{" + b" " * 40, "is no sound safetensors file"),
    "huge tensor": (
        "net.safetensors",
        (lambda header: len(header).to_bytes(8, "little") + header + b"\0" * 8)(b'{"0.weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,8]}}'),
        "is no sound safetensors file",
    ),
    "not safetensors": ("net.safetensors", b"\0" * 40, "is no sound safetensors file"),
    "program": ("net.pt2", _zip_of(archive_format=b"pt2"), "cannot load this program"),
    "script": ("net.pt", _zip_of(constants__pkl=b"", data__pkl=b""), "cannot load this program"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_files_of_other_kinds(case: str, tmp_path: Path) -> None:
    name, content, message = OTHERS[case]
    with pytest.raises(ConversionError, match=message):
        open_torch_file(_written(tmp_path / name, content), trusted=True)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"cannot read the checkpoint .*absent\.pt \(No such file or directory\)"):
        open_torch_file(tmp_path / "absent.pt", trusted=False)


def test_a_file_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    path = compressed(saved(tmp_path / "good.pt", STATE), tmp_path / "bomb.pt", extra=10_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(ConversionError, match=r"claims to hold 10\d{6} bytes, but has \d{5}"):
        open_torch_file(path, trusted=False)


@pytest.mark.parametrize("form", ["zip", "before 1.6", "safetensors"])
def test_damage_anywhere_gives_a_clear_error(form: str, tmp_path: Path) -> None:
    whole = ACCEPTED[form](tmp_path / "whole.bin").read_bytes()
    random = np.random.default_rng(3)
    for length in random.integers(0, len(whole) - 1, 40):
        with pytest.raises(ConversionError):
            open_torch_file(_written(tmp_path / "cut.bin", whole[:length]), trusted=True)
    for position in random.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        with contextlib.suppress(ConversionError):  # a weight that changed is still a weight
            open_torch_file(_written(tmp_path / "damaged.bin", bytes(damaged)), trusted=False)
