"""A system, or a user's own network, to a package: convert, compare on real pictures, run on the sample clip, write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from converters import known_files
from converters.errors import ConversionError
from converters.evidence import card_problem, run_on_sample
from converters.make_package import Comparison, make_package, require_replaceable
from converters.original import Original
from converters.pull import package_state, pull_clips, pull_package
from converters.real_inputs import Inputs, picture_inputs
from converters.registry import Say
from converters.systems.system import System
from edge.errors import require
from edge.package import Manifest, Package, load_package, models_dir

# What the framework of a system needs to be here, by import name.
_MODULES = {"PyTorch": "torch", "Keras": "keras", "scikit-learn": "skl2onnx", "hmmlearn": "hmmlearn", "dlib and Keras": "dlib"}


def export_system(system: System, *, folder: Path, seed: int, say: Say) -> Path:
    """Make the package of a system: untrained, or from the weights that we trained.

    Args:
        system: A row of the table.
        folder: Where the package goes.
        seed: Of the initialisation, where it is untrained.
        say: Takes progress lines.

    Returns:
        `folder`.

    Raises:
        ConfigError: Something else lies where the package would go.
        MissingDependency: Its framework is not installed.
        DownloadError: The sample clip, the detector or a third-party network cannot be had.
        ConversionError: A network cannot be converted, or the package does not run.
        ParityFailure: A network does not compute what its original does.
    """
    require_replaceable(folder, system.id, trained=system.trained)
    if system.trained and (problem := card_problem(system)):
        raise ConversionError(problem, hint=f"train it again: python -m converters train {system.id} --data FILE")
    for module in {_MODULES[system.framework], *(["torch"] if "Keras" in system.framework else [])}:
        require(module, install="make frameworks", why=f"the system '{system.id}'")
    clip, detector = _sample(system.detector, say)
    say(f"{system.id}: {system.description}")
    pictures = picture_inputs(system.stages, clip, detector)
    originals = system.build(pictures, seed)
    return _export(system.manifest(), originals, system.max_relative_error, pictures, folder=folder, say=say)


def export_networks(manifest: Manifest, originals: Mapping[str, Original], *, limit: float, folder: Path, say: Say) -> Path:
    """Make a package of a user's own networks.

    Args:
        manifest: Everything but the hashes of the files.
        originals: The networks by the name of their stage.
        limit: Largest difference allowed, as a fraction of each output's own deviation over the inputs.
        folder: Where the package goes.
        say: Takes progress lines.

    Returns:
        `folder`.

    Raises:
        ConfigError: Something else lies where the package would go.
        DownloadError: The sample clip or the detector cannot be had.
        ConversionError: A network cannot be converted, is not what its stage says, or does not run.
        ParityFailure: A network does not compute what its original does.
    """
    require_replaceable(folder, manifest.name, trained=manifest.trained)
    clip, detector = _sample(manifest.detector, say)
    return _export(manifest, originals, limit, picture_inputs(manifest.stages, clip, detector), folder=folder, say=say)


def _sample(detector: str, say: Say) -> tuple[Path, Package | None]:
    (clip,) = pull_clips([known_files.SAMPLE], force=False, say=_quiet)
    if not detector:
        return clip, None
    if package_state(detector) != "installed":
        pull_package(detector, force=False, say=say)
    return clip, load_package(models_dir() / detector)


def _export(manifest: Manifest, originals: Mapping[str, Original], limit: float, pictures: Inputs, *, folder: Path, say: Say) -> Path:
    if originals.keys() != {stage.name for stage in manifest.stages}:
        raise ConversionError(f"{manifest.name}: expected networks for the stages {[stage.name for stage in manifest.stages]}, got {sorted(originals)}")
    models: dict[str, onnx.ModelProto] = {}
    for stage in manifest.stages:
        say(f"converting {manifest.name}/{stage.name} from {originals[stage.name].framework}")
        models[stage.name] = originals[stage.name].to_onnx()
    comparisons = [Comparison(stage.name, originals[stage.name], limit) for stage in manifest.stages]

    def try_out(package: Path) -> None:
        run_on_sample(load_package(package, allow_untrained=True), say=say)

    return make_package(manifest, models, comparisons, pictures, folder=folder, say=say, try_out=try_out)


def _quiet(_: str) -> None: ...
