"""Writes files as PyTorch's users and their enemies do."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.converters.torch_layers import randomised

SIZE = (3, 13, 10)


def small_network(classes: int = 5, channels: int = 3) -> nn.Module:
    """Convolution, normalisation, classifier: layers `0`, `1` and `5`, with seeded weights."""
    torch.manual_seed(classes)
    return randomised(nn.Sequential(nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)))


class Nested(nn.Module):
    """The same under the name `body`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small_network()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.body(values)
        return scores


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def pickled(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def exported(path: Path, module: nn.Module, *, example: torch.Tensor | None = None, free: Mapping[int, str] | None = None) -> Path:
    """A `torch.export` program whose dimensions `free` are named; the batch, where nothing is said."""
    dims = {position: torch.export.Dim(name) for position, name in ({0: "N"} if free is None else free).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (torch.randn(2, *SIZE) if example is None else example,), dynamic_shapes=(dims,))
        torch.export.save(program, path)
    return path


def traced(path: Path, module: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module.eval(), torch.randn(2, *SIZE), check_trace=False), path)  # type: ignore[no-untyped-call]
    return path


def scripted(path: Path, module: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.eval()), path)
    return path


def with_pickled_weights(program: Path, path: Path, marker: Path) -> Path:
    """The program with its first weight replaced by an object that runs code when it is loaded."""
    object_file = io.BytesIO()
    torch.save(Touch(marker), object_file)
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            if entry.endswith("model_weights_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
            if entry.endswith("weights/weight_0"):
                content = object_file.getvalue()
            target.writestr(entry, content)
    return path


def compressed(source: Path, path: Path, *, extra: int) -> Path:
    """A checkpoint with an entry that unpacks to far more than the file."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
        new.writestr(f"{source.stem}/data/99", bytes(extra))
    return path
