"""Installs test clips, and makes model packages out of fetched networks: convert, compare on real crops, write in one step."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from converters import known_files
from converters.default_network import StoredRecipe
from converters.errors import ParityFailure
from converters.from_tflite.float_weights import with_float_weights
from converters.from_tflite.litert_run import TfliteOriginal
from converters.from_tflite.onnx_from_tflite import onnx_from_tflite
from converters.known_packages import recipe as recipe_of
from converters.make_package import Comparison, make_package
from converters.mediapipe_packages import Recipe
from converters.original import Array
from converters.quantization.gate import compare, failures
from converters.quantization.limits import LIMITS
from converters.real_inputs import picture_inputs
from converters.registry import RegistryFile, Say, fetch, write_atomically
from converters.stored_network import load_stored
from converters.stored_precisions import StoredPrecisions, load_precisions
from edge.engine.ort import OrtEngine
from edge.errors import PackageError, PackageNotFound
from edge.package import file_sha256, load_package, model_file, models_dir
from edge.stage import Boxes, Stage

State = Literal["installed", "outdated", "absent", "damaged"]

# LiteRT rounds the activations in front of 8-bit weights to 8 bits. fer's network then differs by 0.12 of its outputs' deviation from the same weights
# without that rounding, on the sample clip; twice that is no rounding any more.
_STORED_WEIGHTS_LIMIT = 0.25


def clips_dir() -> Path:
    """Return the folder of pulled clips: `clips` beside the packages."""
    return models_dir().parent / "clips"


def clip_state(file: RegistryFile) -> State:
    """Return whether a clip is there and is the pinned one."""
    path = clips_dir() / file.name
    if not path.exists():
        return "absent"
    return "installed" if file_sha256(path) == file.sha256 else "damaged"


def package_state(name: str) -> State:
    """Return whether a package is there, whole, and says what its recipe says now."""
    try:
        manifest = load_package(models_dir() / name).manifest
    except PackageNotFound:
        return "absent"
    except PackageError:
        return "damaged"
    recipe = recipe_of(name)
    as_made = msgspec.structs.replace(manifest, files={}, precisions={}, keep_fp32={}, evidence={})
    # Which precisions does not matter: the user may have made others.
    lacks_precisions = isinstance(recipe, StoredRecipe) and recipe.has_precisions and not manifest.precisions
    return "installed" if as_made == recipe.manifest and not lacks_precisions else "outdated"


def pull_clips(files: Sequence[RegistryFile], *, force: bool, say: Say) -> list[Path]:
    """Put test media into `clips_dir()`; what is there and whole stays.

    Args:
        files: Which.
        force: Write them again.
        say: Takes progress lines.

    Returns:
        Their paths.

    Raises:
        MissingDependency: pip is not installed beside this Python.
        DownloadError: They cannot be had.
    """
    wanted = [file for file in files if force or clip_state(file) != "installed"]
    for file, path in zip(wanted, fetch(wanted, say=say), strict=True):
        write_atomically(clips_dir() / file.name, path.read_bytes())
        say(f"{clips_dir() / file.name}: {file.licence}")
    if not wanted:
        say(f"already there: {', '.join(file.name for file in files)} in {clips_dir()}")
    return [clips_dir() / file.name for file in files]


def pull_package(name: str, *, force: bool, say: Say) -> Path:
    """Make a package, and the detector's package that it names; what is there, whole and up to date stays.

    Args:
        name: One of `converters.known_packages.NAMES`.
        force: Make them again.
        say: Takes progress lines.

    Returns:
        The package's folder.

    Raises:
        MissingDependency: pip is not installed beside this Python.
        DownloadError: A network or the clip cannot be had.
        ConversionError: A network cannot be converted, or the checkout lacks the one that is stored in it.
        ParityFailure: A converted network does not compute what the original does, or this machine computes one in FP16 or INT8 wrong.
    """
    names = [needed for needed in (recipe_of(name).manifest.detector, name) if needed]
    wanted: list[Recipe | StoredRecipe] = []
    for needed in names:
        state = package_state(needed)
        if force or state != "installed":
            wanted.append(recipe_of(needed))
        else:
            say(f"already there: package '{needed}' in {models_dir() / needed} (--force makes it again)")
    fetch([file for recipe in wanted if isinstance(recipe, Recipe) for file in recipe.sources.values()], say=say)
    for recipe in wanted:
        if isinstance(recipe, Recipe):
            _convert(recipe, say)
        else:
            _unpack(recipe, say)
    return models_dir() / name


def _convert(recipe: Recipe, say: Say) -> None:
    manifest = recipe.manifest
    contents = {name: path.read_bytes() for name, path in zip(recipe.sources, fetch(list(recipe.sources.values()), say=say), strict=True)}
    models, comparisons = {}, []
    for stage in manifest.stages:
        content = contents[stage.name]
        say(f"converting {recipe.sources[stage.name].name} to {stage.model}")
        models[stage.name] = onnx_from_tflite(content, name=stage.name, outputs=_tensors(stage))
        float_content = with_float_weights(content)
        comparisons.append(Comparison(stage.name, TfliteOriginal(float_content), recipe.max_relative_error))
        if float_content != content:
            comparisons.append(Comparison(stage.name, TfliteOriginal(content), _STORED_WEIGHTS_LIMIT, "weights as stored"))
    (clip,) = pull_clips([known_files.SAMPLE], force=False, say=say)
    detector = load_package(models_dir() / manifest.detector) if manifest.detector else None
    make_package(manifest, models, comparisons, picture_inputs(manifest.stages, clip, detector), folder=models_dir() / manifest.name, say=say)


def _unpack(recipe: StoredRecipe, say: Say) -> None:
    manifest = recipe.manifest
    models, comparisons, inputs = {}, [], {}
    for stage in manifest.stages:
        say(f"unpacking {recipe.folder / stage.model}")
        original = load_stored(recipe.folder, stage)
        models[stage.name] = original.to_onnx()
        comparisons.append(Comparison(stage.name, original, recipe.max_relative_error))
        inputs[stage.name] = original.inputs
    reduced = load_precisions(recipe.folder, models)
    if reduced is None:
        say(f"no FP16 or INT8 lies in {recipe.folder}: the package runs in FP32 alone")
    else:
        for stage, comparison in zip(manifest.stages, comparisons, strict=True):
            _require_right_here(reduced, stage, comparison.original.run(inputs[stage.name]), inputs[stage.name], say)
    make_package(manifest, models, comparisons, inputs, folder=models_dir() / manifest.name, reduced=reduced, say=say)


def _require_right_here(reduced: StoredPrecisions, stage: Stage, answers: Mapping[str, Array], inputs: Mapping[str, Array], say: Say) -> None:
    """Run a stage's further networks on this machine: that they are those that were judged does not say that its processor computes them right."""
    for precision in reduced.offered:
        name = model_file(stage, reduced.offered[precision][stage.name])
        if name not in reduced.networks:
            continue
        with tempfile.TemporaryDirectory(prefix="edge-pull-") as folder:
            path = Path(folder, name)
            path.write_bytes(reduced.networks[name])
            engine = OrtEngine(path, cuda=False, threads=1)
            metrics = compare(stage, answers, engine.run(inputs), trained=False)
            engine.close()
        if problems := failures(metrics):
            raise ParityFailure(f"{name} on this machine: {'; '.join(problems)}", hint="please report it with the processor's name and onnxruntime's version")
        worst = min(metric.value for metric in metrics if metric.name == "signal to noise")
        say(f"{name}: signal to noise {worst:.0f} dB against FP32 on this machine (limit {LIMITS['signal to noise'].value:.0f})")


def _tensors(stage: Stage) -> list[str]:
    return [name for output in stage.outputs for name in ([output.tensor, output.score_tensor] if isinstance(output, Boxes) else [output.tensor])]
