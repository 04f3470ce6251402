"""Writes a package: compare on real inputs first, then all files in one step; over the limit nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from calibration.whole_folder import in_one_step
from converters.errors import ConversionError
from converters.original import Original
from converters.parity import ParityReport, check_parity
from converters.quantization.card import CARD
from converters.real_inputs import Inputs, stage_inputs
from converters.registry import Say
from converters.stored_precisions import StoredPrecisions
from edge.errors import ConfigError
from edge.package import MANIFEST, Manifest, Reduced, check_manifest, file_sha256
from edge.stage import ActionUnits, Boxes, Emotions, Scores, Stage, input_shapes

PARITY = "parity.json"
RUN = "run"  # the folder of what a package was tried out with, see `converters.evidence`


@dataclass(frozen=True)
class Comparison:
    """A parity run that must pass.

    Attributes:
        stage: Name of the stage.
        original: Its network in its own framework.
        limit: Largest difference, as a fraction of each output's own deviation over the inputs.
        remark: What is special about it; part of its name in the report.
    """

    stage: str
    original: Original
    limit: float
    remark: str = ""


def make_package(
    manifest: Manifest,
    models: Mapping[str, onnx.ModelProto],
    comparisons: Sequence[Comparison],
    pictures: Inputs,
    *,
    folder: Path,
    say: Say,
    reduced: StoredPrecisions | None = None,
    try_out: Callable[[Path], None] | None = None,
) -> Path:
    """Compare every network with its original, and write the package if all agree. What was there before is replaced in one step, or stays.

    Args:
        manifest: Everything but the hashes of the files.
        models: The networks by the name of their stage.
        comparisons: At least one for each stage.
        pictures: See `converters.real_inputs.picture_inputs`.
        folder: Where the package goes; its name need not be the package's.
        say: Takes progress lines.
        reduced: Precisions beside FP32 that go into it, with the card that says what they lose.
        try_out: Called with the finished package before it takes its place; what it raises leaves what was there.

    Returns:
        `folder`.

    Raises:
        ConversionError: A network is not what its stage says.
        ParityFailure: A network does not compute what its original does.
    """
    for stage in manifest.stages:
        check_network(stage, models[stage.name])
    inputs = stage_inputs(manifest.stages, pictures, models)
    reports: dict[str, ParityReport] = {}
    for run in comparisons:
        name = f"{run.stage}, {run.remark}" if run.remark else run.stage
        report = check_parity(run.original, models[run.stage], inputs[run.stage], limit=run.limit, where=f"{manifest.name}/{name}")
        worst = max(output.relative_error for output in report.outputs)
        constant = "".join(f"; {output.n_constant} numbers of '{output.name}' are the same for all of them" for output in report.outputs if output.n_constant)
        say(f"parity {manifest.name}/{name}: {worst:.1e} of the outputs' own deviation over {report.n_inputs} inputs (limit {run.limit:.2g}){constant}")
        reports[name] = report
    if gone := _precisions(folder):
        say(f"{folder} is replaced whole, with its {' and '.join(gone)}{', by stored ones' if reduced else ''}: python -m converters quantize makes them again")

    def fill(new: Path) -> None:
        _write(new, manifest, models, reports, reduced)
        if try_out is not None:
            try_out(new)

    in_one_step(folder, fill)
    offers = f", offers {', '.join(['fp32', *reduced.offered])}" if reduced else ""
    say(f"made package '{manifest.name}' in {folder}{offers}. Licence: {manifest.licence}")
    return folder


def require_replaceable(folder: Path, name: str, *, trained: bool) -> None:
    """Check that nothing but an earlier package of the same name is lost when a package is written to a folder.

    Args:
        folder: Where it goes.
        name: The package's.
        trained: The package holds trained weights.

    Raises:
        ConfigError: It is a file, holds files that are no part of a package, another package, or trained weights where these are not.
    """
    hint = "name another folder with -o, or move away what is there"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file: expected a folder for the package '{name}'", hint=hint)
    held = {path.name for path in folder.iterdir()}
    if not held:
        return
    try:
        manifest = msgspec.toml.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{folder} is there and holds no package: it is not replaced", hint=hint) from error
    if strangers := sorted(held - {MANIFEST, RUN, *manifest.files}):
        raise ConfigError(f"{folder} holds {strangers[0]}, which is no part of the package in it: it is not replaced", hint=hint)
    if manifest.name != name:
        raise ConfigError(f"{folder} holds the package '{manifest.name}': it is not replaced by '{name}'", hint=hint)
    if manifest.trained and not trained:
        raise ConfigError(f"{folder} holds trained weights: they are not replaced by random ones", hint=hint)


def check_network(stage: Stage, model: onnx.ModelProto) -> None:
    """Check that a network has the inputs and outputs that its stage names, in their shapes.

    Raises:
        ConversionError: The first one that differs, with what was expected and what the network has.
    """
    where = f"stage '{stage.name}' ({stage.model})"
    has = {value.name: _shape(value) for value in model.graph.input}
    for tensor, wanted in input_shapes(stage.input).items():
        if tensor not in has:
            raise ConversionError(f"{where}: expected an input '{tensor}', the network has {', '.join(has)}", hint="correct `tensor` of the input")
        _check_shape(wanted, has[tensor], f"{where}: input '{tensor}'", "correct colour and size of the input, or take the network that fits them")
    if extra := has.keys() - input_shapes(stage.input).keys():
        raise ConversionError(f"{where}: nothing is said of the network's input '{min(extra)}'", hint="choose a kind of input that feeds it")
    gives = {value.name: _shape(value) for value in model.graph.output}
    for output in stage.outputs:
        for tensor in (output.tensor, *([output.score_tensor] if isinstance(output, Boxes) else [])):
            if tensor not in gives:
                raise ConversionError(f"{where}: expected an output '{tensor}', the network has {', '.join(gives)}", hint="correct `tensor` of the output")
        if isinstance(output, Emotions | Scores | ActionUnits):
            columns = output.columns or (0, len(output.labels))
            n_columns = gives[output.tensor][-1] if len(gives[output.tensor]) == 2 else None
            if n_columns is None or columns[1] > n_columns or (output.columns is None and columns[1] != n_columns):
                raise ConversionError(
                    f"{where}: output '{output.tensor}' has shape {_text(gives[output.tensor])}; expected [N, {columns[1]}], for {', '.join(output.labels)}",
                    hint="correct labels or columns of the output",
                )


def _precisions(folder: Path) -> list[Reduced]:
    """The precisions that a package offers beside FP32; none where there is no package."""
    try:
        return list(msgspec.toml.decode((folder / MANIFEST).read_bytes(), type=Manifest).precisions)
    except (OSError, msgspec.MsgspecError, ValueError):
        return []


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim)


def _check_shape(wanted: tuple[int | None, ...], has: tuple[int | None, ...], where: str, hint: str) -> None:
    if len(wanted) != len(has) or has[0] is not None or any(want not in (None, got) for want, got in zip(wanted[1:], has[1:], strict=True)):
        raise ConversionError(f"{where}: expected {_text(wanted)}, the network takes {_text(has)}", hint=hint)


def _text(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('N' if size is None else str(size) for size in shape)}]"


def _write(
    folder: Path, manifest: Manifest, models: Mapping[str, onnx.ModelProto], reports: Mapping[str, ParityReport], reduced: StoredPrecisions | None
) -> None:
    folder.mkdir()
    for stage in manifest.stages:
        (folder / stage.model).write_bytes(models[stage.name].SerializeToString())
    (folder / PARITY).write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=1))
    evidence = [PARITY]
    if reduced is not None:
        for name, content in {**reduced.networks, CARD: reduced.card}.items():
            (folder / name).write_bytes(content)
        manifest = msgspec.structs.replace(manifest, precisions=reduced.offered, keep_fp32=reduced.keep_fp32)
        evidence.append(CARD)
    hashes = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    complete = msgspec.structs.replace(manifest, files=hashes, evidence={name: hashes[name] for name in evidence})
    check_manifest(complete, where=MANIFEST)
    (folder / MANIFEST).write_bytes(msgspec.toml.encode(complete))
