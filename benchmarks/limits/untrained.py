"""Packages of untrained networks in every precision, made once and kept in the user's cache: how long a network takes does not depend on its weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.timed_process import REPOSITORY, progress
from converters.original import Array, Original
from converters.systems.known import KNOWN
from converters.systems.torch_networks.residual_blocks import MAX_BLOCKS
from converters.systems.torch_systems import resnet_22
from edge.errors import require
from edge.package import MANIFEST, Manifest, Package, Precision, Reduced, file_sha256, load_package, model_file
from edge.stage import input_shapes

# What decides about the networks that are kept: whoever changes one of these files gets new ones.
_SOURCES = ("converters/systems", "converters/from_torch", "converters/from_keras", "converters/quantization", "edge/engine", "benchmarks/limits/untrained.py")
_FRAMEWORKS = ("torch", "keras", "onnx")
_N_NOISE = 4  # inputs that first weights and the grids of INT8 are set from: enough for a deviation
_STAGE_3_CHANNELS = 256
_SEED = 0


def system_package(name: str, precisions: Collection[Precision], built: list[str]) -> Package:
    """Return the package of a system of one stage, with first weights.

    Args:
        name: Its id in the table of systems.
        precisions: Those that it offers; FP32 among them.
        built: Gets a line where the networks had to be made.

    Raises:
        MissingDependency: The framework of the system is not installed.
        ConversionError: A network cannot be converted.
    """
    system = KNOWN[name]

    def originals() -> Mapping[str, Original]:
        for module in ("torch", *(["keras"] if system.framework == "Keras" else [])):
            require(module, install="make frameworks", why=f"making the network '{name}' to measure its latency")
        return system.build({stage.name: noise(input_shapes(stage.input)) for stage in system.stages}, _SEED)

    return _kept(system.manifest(), originals, precisions, built)


def resnet_package(blocks: int, precisions: Collection[Precision], built: list[str]) -> Package:
    """Return a ResNet of basic blocks that takes document 004's crop, as deep as asked.

    Past the depth that the table of systems offers, blocks are added to the third stage, where published ResNets grow. Weights are PyTorch's first ones.

    Args:
        blocks: Residual blocks, at least 8.
        precisions: As of `system_package`.
        built: As there.

    Raises:
        ConfigError: Fewer than 8 blocks.
        MissingDependency: PyTorch is not installed.
        ConversionError: The network cannot be converted.
    """
    offered = resnet_22(blocks=min(blocks, MAX_BLOCKS)).manifest()
    description = f"gray 98x80 crop to 15 AUs and 7 emotions, ResNet of {blocks} basic blocks"
    manifest = msgspec.structs.replace(offered, name=f"resnet-22-blocks{blocks}", description=description)

    def originals() -> Mapping[str, Original]:
        require("torch", install="make frameworks", why="making ResNets to measure their latency")
        from converters.from_torch.torch_original import TorchOriginal
        from converters.systems.torch_networks.originals import LOGITS
        from converters.systems.torch_networks.resnet import BasicBlock, ResNet

        (stage,) = manifest.stages
        network = ResNet(1, sum(len(output.labels) for output in stage.outputs if hasattr(output, "labels")), min(blocks, MAX_BLOCKS))
        for _ in range(blocks - MAX_BLOCKS):
            network.layer3.append(BasicBlock(_STAGE_3_CHANNELS, _STAGE_3_CHANNELS, 1))
        example = {name: np.zeros((2, *array.shape[1:]), np.float32) for name, array in noise(input_shapes(stage.input)).items()}
        return {stage.name: TorchOriginal(network, inputs=[*example], outputs=[LOGITS], example=example, name=manifest.name)}

    return _kept(manifest, originals, precisions, built)


def noise(shapes: Mapping[str, tuple[int | None, ...]], n: int = _N_NOISE) -> dict[str, Array]:
    """Return the same random inputs for the same shapes.

    Args:
        shapes: By tensor name, the batch first.
        n: How many inputs.

    Returns:
        float32[n, ...] in [0, 1) by tensor name.
    """
    rng = np.random.default_rng(zlib.crc32(repr(sorted(shapes)).encode()))
    return {name: rng.random((n, *(size or 1 for size in shape[1:])), np.float32) for name, shape in shapes.items()}


def _kept(manifest: Manifest, originals: Callable[[], Mapping[str, Original]], precisions: Collection[Precision], built: list[str]) -> Package:
    """Return the package from the cache, made first where it is not there or lacks a precision; what it had, it has again."""
    folder = _cache_folder() / manifest.name
    has = load_package(folder, allow_untrained=True).offers if (folder / MANIFEST).exists() else ()
    reduced: list[Reduced] = [each for each in ("fp16", "int8") if each in precisions or each in has]
    if set(has) < {"fp32", *reduced}:
        made = ", ".join(["fp32", *reduced])
        progress(f"making {manifest.name} untrained, in {made}")
        begin_s = time.monotonic()
        new = folder.with_name(f".{os.getpid()}-{folder.name}")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            _write(new, manifest, originals(), reduced)
            shutil.rmtree(folder, ignore_errors=True)  # one with fewer precisions, or what a run that was cut off has left
            new.replace(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        built.append(f"{manifest.name} ({made}), untrained: {time.monotonic() - begin_s:.0f} s, kept in {folder}")
    return load_package(folder, allow_untrained=True)


def _write(folder: Path, manifest: Manifest, originals: Mapping[str, Original], reduced: list[Reduced]) -> None:
    from converters.quantization.int8 import quantize_int8
    from edge.engine.fp16 import to_fp16
    from edge.engine.int8_weights import with_int8_weights

    (stage,) = manifest.stages
    network = originals[stage.name].to_onnx()
    (folder / stage.model).write_bytes(network.SerializeToString())
    if "fp16" in reduced:
        (folder / model_file(stage, "fp16")).write_bytes(to_fp16(network).SerializeToString())
    if "int8" in reduced:
        quantised = quantize_int8(network, noise(input_shapes(stage.input)), calibrator="max")
        (folder / model_file(stage, "int8")).write_bytes(with_int8_weights(quantised).SerializeToString())
    hashes = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    offers: dict[Reduced, dict[str, Precision]] = {precision: {stage.name: precision} for precision in reduced}
    complete = msgspec.structs.replace(manifest, trained=False, files=hashes, precisions=offers)
    (folder / MANIFEST).write_bytes(msgspec.toml.encode(complete))


def _cache_folder() -> Path:
    """The folder of the networks that today's code makes; those of other code, which nobody asks for any more, go."""
    digest = hashlib.sha256()
    for source in _SOURCES:
        path = REPOSITORY / source
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(f"{file.relative_to(REPOSITORY)} {file_sha256(file)}\n".encode())
    for name in _FRAMEWORKS:
        digest.update(f"{name} {_version(name)}\n".encode())
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge" / "limits"
    folder = kept / digest.hexdigest()[:16]
    for other in kept.iterdir() if kept.is_dir() else ():
        if other != folder:
            shutil.rmtree(other)
    return folder


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
