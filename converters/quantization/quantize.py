"""`python -m converters quantize`: adds FP16 and INT8 networks to a package, each judged before it is kept; over a limit nothing is written."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import onnx

from calibration import CalibrationSet, load_set
from calibration.set_file import SPLITS
from calibration.whole_folder import in_one_step
from converters.evidence import run_on_sample
from converters.make_package import RUN, require_replaceable
from converters.quantization.candidates import CalibratorChoice, Candidate, fp16_candidate, int8_candidate
from converters.quantization.card import CARD, Calibrated, Card, PrecisionCard, make_card, offered, read_card, table
from converters.quantization.feeds import Recording, record
from converters.quantization.labelled import Labelled, read_labelled
from converters.quantization.measured import Bench
from converters.quantization.prepared import prepared
from converters.quantization.trial import Trial
from converters.registry import Say
from converters.stored_precisions import store_precisions
from edge.errors import ConfigError, PackageRefused, require
from edge.package import MANIFEST, Package, Reduced, check_manifest, file_sha256, load_package, model_file
from edge.stage import ClipAudioInput

REDUCED: tuple[Reduced, ...] = ("fp16", "int8")
_EXAMPLES = """examples:
  python -m calibration build default                                              a set that everyone can make
  python -m converters quantize default --calibration default --precision all      FP16 and INT8 of the default package
  python -m converters quantize resnet18-22 --calibration my-set --precision int8 -o resnet18-22-int8
  python -m converters quantize default --calibration default --precision int8 --evaluate fer2013.npz

What a network loses is measured on pictures that it was not calibrated with; card.json and precisions.png in the package show it.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to `python -m converters`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("quantize", help="add FP16 and INT8 networks to a package, measured or refused", epilog=_EXAMPLES, formatter_class=raw)
    parser.add_argument("package", metavar="PACKAGE", help="name or folder of a package")
    parser.add_argument("--calibration", required=True, metavar="SET", help="folder of a calibration set, or `default`: see python -m calibration build --help")
    parser.add_argument("--precision", required=True, choices=("fp16", "int8", "all"), help="which networks to add")
    parser.add_argument(
        "--calibrator", choices=("auto", "max", "entropy", "percentile"), default="auto", help="what chooses INT8's ranges (default: auto, the best of all)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="PACKAGE2", help="folder of a new package (default: the package itself is replaced, in one step)")
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="also write what makes them again from the networks in fp32, for a repository")
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="FER2013: each precision's accuracy on PrivateTest goes into the card")


def command(options: argparse.Namespace, say: Say) -> int:
    """Run the subcommand and return its exit code."""
    require("matplotlib", install="make setup   or: pip install '.[train]'", why="the picture of accuracy over latency")
    package = load_package(options.package, allow_untrained=True)
    wanted: tuple[Reduced, ...] = REDUCED if options.precision == "all" else (options.precision,)
    folder, card = quantize(
        package, load_set(options.calibration), wanted, calibrator=options.calibrator, folder=options.output or package.path, evaluate=options.evaluate, say=say
    )
    for line in table(card):
        say(line)
    if options.store:
        say(f"stored in {store_precisions(load_package(folder, allow_untrained=True), options.store)}")
    print(folder)  # noqa: T201  # the result of the command, for scripts
    return 0


def quantize(
    package: Package,
    calibration: CalibrationSet,
    wanted: Sequence[Reduced],
    *,
    calibrator: CalibratorChoice,
    folder: Path,
    evaluate: Path | None = None,
    say: Say,
) -> tuple[Path, Card]:
    """Add precisions to a package. What the gate refuses stays FP32; where all of a precision is refused it is not offered.

    Args:
        package: The package.
        calibration: Its calibration split gives the ranges, its held-out split the verdict.
        wanted: Which precisions.
        calibrator: What chooses INT8's ranges.
        folder: Where the package goes; what is there is replaced in one step, or stays.
        evaluate: FER2013, see `converters.training.fer2013`.
        say: Takes progress lines.

    Returns:
        `folder`, and the package's card.

    Raises:
        PackageRefused: None of the precisions passes, or the package is for CPUs only; nothing is written.
        ConfigError: Something else lies where the package would go, it cannot be written there, or there is nothing to evaluate, see `read_labelled`.
        ConversionError: The set gives the package too little to read, or the package no longer runs.
        EngineError: A network cannot be loaded.
    """
    if package.manifest.cpu_only:
        raise PackageRefused(f"package '{package.name}' has no FP16 or INT8 form: {package.manifest.cpu_only}", hint="it runs in fp32, on a CPU")
    labelled = None if evaluate is None else read_labelled(evaluate, package, calibration)
    if folder.resolve() != package.path.resolve():
        require_replaceable(folder, package.name, trained=package.manifest.trained)
    _require_writable(folder)
    with tempfile.TemporaryDirectory(prefix="edge-quantize-") as work:
        bench, candidates = _candidates(package, calibration, wanted, calibrator, Path(work), labelled, say)
        cards = {precision: bench.card(precision, candidates[precision]) for precision in wanted}
        refusals = {precision: _refusal(card) for precision, card in cards.items() if all(stage.verdict == "refused" for stage in card.stages.values())}
        for precision, reason in refusals.items():
            say(f"{precision} is refused: {reason}")
        if len(refusals) == len(wanted):
            raise PackageRefused(
                f"package '{package.name}': no network keeps its accuracy in {' or '.join(wanted)}: {'; '.join(refusals.values())}",
                hint="nothing was written. A larger calibration set or another --calibrator may help; fp32 always runs",
            )
        # What INT8 keeps in FP32 is what FP16 keeps, or everything where FP16 is refused: a stage has one such list.
        kept = {name: candidates[precision][name].keep_fp32 for precision in wanted for name, stage in cards[precision].stages.items() if stage.file}
        card = make_card(package.name, {**_earlier(package, wanted, kept, say), **cards}, trained=package.manifest.trained)
        _write(package, folder, card, bench.folder, kept, say)
    return folder, card


def _candidates(
    package: Package, calibration: CalibrationSet, wanted: Sequence[Reduced], calibrator: CalibratorChoice, work: Path, labelled: Labelled | None, say: Say
) -> tuple[Bench, dict[Reduced, dict[str, Candidate]]]:
    say(f"{package.name}: looking at the pictures of '{calibration.name}'")
    of_calibration, held_out = (record(package, calibration, split) for split in SPLITS)
    calibrated = _calibrated(package, calibration, of_calibration, held_out)
    say(f"{package.name}: {calibrated.n_calibration} to calibrate with, {calibrated.n_held_out} to judge by; no face in {calibrated.n_left_out}")
    if calibrated.n_unread:
        say(f"{package.name}: {calibrated.n_unread} pictures of '{calibration.name}' are NOT looked at: they are too many for one package, or for memory")
    candidates: dict[Reduced, dict[str, Candidate]] = {precision: {} for precision in wanted}
    for stage in package.manifest.stages:
        base = prepared(onnx.load(package.model_path(stage)))
        trial = Trial(package, stage, of_calibration, held_out, work)
        # INT8 needs it too: on GPUs what is around INT8 computes in FP16.
        fp16 = fp16_candidate(trial, base, say=say)
        say(f"{stage.name}: fp16 {'passes' if not fp16.reason else f'is refused: {fp16.reason}'}")
        if "fp16" in candidates:
            candidates["fp16"][stage.name] = fp16
        if "int8" in candidates:
            # Where FP16 loses too much, everything around INT8 stays FP32.
            keep_fp32 = fp16.keep_fp32 if not fp16.reason else tuple(node.name for node in base.graph.node)
            candidates["int8"][stage.name] = int8_candidate(trial, base, calibrator=calibrator, keep_fp32=keep_fp32, say=say)
            reason = candidates["int8"][stage.name].reason
            say(f"{stage.name}: int8 {'passes' if not reason else f'is refused: {reason}'}")
    files = work / "networks"
    files.mkdir()
    return Bench(package, calibrated, held_out, files, labelled, say), candidates


def _calibrated(package: Package, calibration: CalibrationSet, of_calibration: Recording, held_out: Recording) -> Calibrated:
    hears = any(isinstance(stage.input, ClipAudioInput) for stage in package.manifest.stages)
    return Calibrated(
        name=calibration.name,
        sha256=calibration.sha256,
        n_calibration=of_calibration.n_seen,
        n_held_out=held_out.n_seen,
        n_left_out=of_calibration.n_moments + held_out.n_moments - of_calibration.n_seen - held_out.n_seen,
        n_unread=of_calibration.n_unread + held_out.n_unread,
        sound="made up: gliding voices over noise" if hears else "",
    )


def _refusal(card: PrecisionCard) -> str:
    return "; ".join(f"{name}: {stage.reason}" for name, stage in card.stages.items())


def _require_writable(folder: Path) -> None:
    """Try what the end of the run needs: minutes later it would be too late."""
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        Path(tempfile.mkdtemp(dir=nearest, prefix=f".{folder.name}-")).rmdir()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error}", hint="name another folder with -o") from error


def _earlier(package: Package, wanted: Sequence[Reduced], kept: Mapping[str, tuple[str, ...]], say: Say) -> dict[Reduced, PrecisionCard]:
    """What the package's card says of the precisions that stay as they are. What was judged in another form than it would have now is dropped."""
    card = read_card(package.path)
    earlier = {precision: each for precision, each in card.precisions.items() if precision not in wanted} if card is not None else {}
    again = "make all of them anew: --precision all"
    for precision in package.manifest.precisions:
        if precision in wanted:
            continue
        if precision not in earlier:
            say(f"{precision}, which the package offered, is DROPPED: {CARD} is missing or cannot be read; {again}")
            continue
        used = {name for name, stage in earlier[precision].stages.items() if stage.file}
        changed = [name for name, nodes in kept.items() if name in used and set(nodes) != set(package.manifest.keep_fp32.get(name, ()))]
        if changed:
            del earlier[precision]
            say(f"{precision}, which the package offered, is DROPPED: it was judged with other nodes of {', '.join(changed)} in FP32; {again}")
    return earlier


def _write(package: Package, folder: Path, card: Card, networks: Path, keep_fp32: Mapping[str, tuple[str, ...]], say: Say) -> None:
    from converters.quantization.plot import PLOT, draw

    manifest = package.manifest
    precisions = offered(card)
    used = {name for each in card.precisions.values() for name, stage in each.stages.items() if stage.file}
    replaced = {CARD, PLOT, *(model_file(stage, precision) for stage in manifest.stages for precision in REDUCED)}

    def fill(new: Path) -> None:
        new.mkdir()
        for name in manifest.files:
            if name not in replaced:
                shutil.copy2(package.path / name, new / name)
        for precision, each in card.precisions.items():
            for stage in each.stages.values() if precision in precisions else ():
                if stage.file:
                    made = networks / stage.file
                    shutil.copy2(made if made.exists() else package.path / stage.file, new / stage.file)
        (new / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
        draw(card, new / PLOT)
        files = {path.name: file_sha256(path) for path in sorted(new.iterdir())}
        complete = msgspec.structs.replace(
            manifest,
            files=files,
            precisions=precisions,
            keep_fp32={name: nodes for name, nodes in {**manifest.keep_fp32, **keep_fp32}.items() if nodes and name in used},
            evidence={**manifest.evidence, CARD: files[CARD]},
        )
        check_manifest(complete, where=MANIFEST)
        (new / MANIFEST).write_bytes(msgspec.toml.encode(complete))
        made_package = load_package(new, allow_untrained=True)
        if (package.path / RUN).exists():
            run_on_sample(made_package, say=say)

    in_one_step(folder, fill)
    say(f"package '{package.name}' in {folder} offers {', '.join(['fp32', *precisions])}")
