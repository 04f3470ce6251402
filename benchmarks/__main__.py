"""`python -m benchmarks`: the command line of the measurements."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from benchmarks.budgets import Verdict, load_budgets
from benchmarks.clips import open_clip
from benchmarks.environment import describe_machine, load_averages
from benchmarks.latency import Part, measure_memory, measure_paced, measure_stages, measure_start
from benchmarks.networks import measure_networks
from benchmarks.peer_rounds import compare
from benchmarks.peer_run import known_peers
from benchmarks.timed_process import progress
from edge.engine import PrecisionChoice
from edge.errors import ConfigError, EdgeError, OutputError, require
from edge.package import load_package

NOT_YET = ("limits", "gate", "report")
NOT_PASSED = 1
BUG = 70

_EXAMPLES = """examples:
  python -m benchmarks peers --json peers.json        ourselves, fer and MediaPipe on the sample clip, five rounds in turns
  python -m benchmarks peers --peer mediapipe --rounds 3
  python -m benchmarks latency                        stages, start, paced run, memory, networks
  python -m benchmarks latency --paced --frames 1000  like a camera of 30 frames/s: ages and drops
  python -m benchmarks accuracy --data fer2013.csv    emotions and action units of the default package, each figure with its interval
  python -m benchmarks accuracy --model mesh-chain --data fer2013.npz --geometry ict_facekit.npz --peers --plots figures
  python -m benchmarks accuracy --data fer2013.npz --geometry ict_facekit.npz --peers --card converters/trained/default

exit codes: 0 every budget is kept; 1 a budget is broken, the run is invalid (too much else on the machine) or a peer could not run;
2 configuration, 3 missing dependency, 4 model package, 5 capture, 6 engine, 7 output, 70 a bug
"""


class LatencyReport(msgspec.Struct, frozen=True):
    """Our own times, with the machine that they were taken on."""

    schema: str
    clip: str
    machine: dict[str, object]
    load_after: list[float]
    parts: list[Part]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command in NOT_YET:
            raise ConfigError(f"not yet: python -m benchmarks {arguments.command}", hint="available: peers, latency, accuracy")
        if arguments.json is not None and not arguments.json.resolve().parent.is_dir():
            raise ConfigError(f"no folder {arguments.json.resolve().parent} for --json", hint="make it first: the run takes minutes")
        report, lines, verdicts = {"peers": _peers, "latency": _latency, "accuracy": _accuracy}[arguments.command](arguments)
        print("\n".join(lines))
        if arguments.json is not None:
            _write(report, arguments.json)
        return 0 if verdicts and all(verdict.word == "pass" for verdict in verdicts) else NOT_PASSED
    except EdgeError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:  # noqa: BLE001 - whatever is not an EdgeError is a bug, and is shown as one
        traceback.print_exc()
        return BUG


def _peers(arguments: argparse.Namespace) -> tuple[object, list[str], list[Verdict]]:
    if arguments.rounds < 2:
        raise ConfigError(f"--rounds: expected at least 2 (one round has no spread), got {arguments.rounds}")
    peers = known_peers()
    ours, rivals = peers[0], peers[1:]
    chosen = [ours, *(peer for peer in rivals if arguments.peer is None or peer.name in arguments.peer)]
    report = compare(chosen, open_clip(arguments.clip).path, arguments.rounds)
    return report, report.lines(), report.verdicts


def _latency(arguments: argparse.Namespace) -> tuple[object, list[str], list[Verdict]]:
    if arguments.frames < 2 or arguments.runs < 1:
        raise ConfigError(f"expected --frames of at least 2 and --runs of at least 1, got {arguments.frames} and {arguments.runs}")
    clip, budgets, machine = open_clip(arguments.clip), load_budgets(), describe_machine()
    measurements: dict[str, Callable[[], Part]] = {
        "stages": lambda: measure_stages(clip, budgets),
        "start": lambda: measure_start(clip, budgets, arguments.runs),
        "paced": lambda: measure_paced(clip, budgets, arguments.frames),
        "memory": lambda: measure_memory(clip, budgets),
        "networks": lambda: measure_networks(budgets),
    }
    asked = [name for name in measurements if getattr(arguments, name)] or list(measurements)
    parts = []
    for name in asked:
        progress(f"latency: {name}")
        parts.append(measurements[name]())
    verdicts = [verdict for part in parts for verdict in part.verdicts]
    lines = [line for part in parts for line in part.lines] + [verdict.line() for verdict in verdicts]
    return LatencyReport("edge.benchmark.latency/1", clip.path.name, machine, load_averages(), parts), lines, verdicts


def _accuracy(arguments: argparse.Namespace) -> tuple[object, list[str], list[Verdict]]:
    if arguments.plots is not None:
        # Asked for before the run, which takes minutes.
        require("matplotlib", install="pip install matplotlib   or: make setup", why="drawing the plots")
    from benchmarks.accuracy.command import Order, measure_accuracy
    from benchmarks.accuracy.model_card import require_card, write_card

    if arguments.geometry is not None and not arguments.geometry.is_file():
        raise ConfigError(f"--geometry: no file at {arguments.geometry}", hint="ICT-FaceKit's geometry, see python -m calibration --help; leave it out")
    if arguments.card is not None:
        if arguments.geometry is None:
            raise ConfigError("--card: expected --geometry too, for the card tells of rendered faces", hint="--geometry ict_facekit.npz")
        require_card(load_package(arguments.model), arguments.card)
    order = Order(arguments.model, arguments.data, arguments.geometry, arguments.precision, peers=arguments.peers)
    report = measure_accuracy(order)
    if arguments.card is not None:
        write_card(report, arguments.card)
    if arguments.plots is not None:
        from benchmarks.accuracy.plots import draw_all

        draw_all(report, arguments.plots)
    return report, report.lines(), report.verdicts


def _write(report: object, path: Path) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the runtime against its peers and its budgets (benchmarks/budgets.toml).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", type=Path, metavar="FILE", help="write every sample, the machine and the verdicts to FILE")

    peers = commands.add_parser(
        "peers", parents=[shared], help="ourselves, fer and MediaPipe on the same clip", description="Same clip, same machine, in turns."
    )
    peers.add_argument("--clip", type=Path, metavar="FILE", help="default: the sample clip")
    peers.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    peers.add_argument("--peer", action="append", choices=[peer.name for peer in known_peers()[1:]], help="only this one; may be repeated")

    latency = commands.add_parser(
        "latency", parents=[shared], help="our own stages, start, paced run, memory, networks", description="Without a choice, all measurements are made."
    )
    latency.add_argument("--clip", type=Path, metavar="FILE", help="default: the sample clip")
    latency.add_argument("--stages", action="store_true", help="time per stage and overhead, as fast as it goes")
    latency.add_argument("--start", action="store_true", help="from the start of the process to the first result")
    latency.add_argument("--paced", action="store_true", help="30 frames/s like a camera: ages and drops")
    latency.add_argument("--memory", action="store_true", help="resident memory after 20 passes against 2")
    latency.add_argument("--networks", action="store_true", help="each converted graph against LiteRT on one thread")
    latency.add_argument("--frames", type=int, default=1000, metavar="N", help="of the paced run (default: 1000)")
    latency.add_argument("--runs", type=int, default=5, metavar="N", help="of the start (default: 5)")

    accuracy = commands.add_parser(
        "accuracy",
        parents=[shared],
        help="how right a package's emotions and action units are",
        description="On FER2013's PrivateTest with FER+'s votes, on what a teacher package says of the same faces, and on rendered faces (synthetic). "
        "The first run takes a quarter of an hour: what detector, teacher and renderer gave is then kept in the cache.",
    )
    accuracy.add_argument("--model", default="default", metavar="NAME|DIR", help="the package (default: default)")
    accuracy.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="FER2013 with the votes of FER+: .npz, or .csv with fer2013new.csv beside it"
    )
    accuracy.add_argument("--geometry", type=Path, metavar="FILE", help="ICT-FaceKit's geometry: action units and pose on rendered faces too")
    accuracy.add_argument("--precision", choices=get_args(PrecisionChoice), default="fp32", help="of the package's networks (default: fp32)")
    accuracy.add_argument("--peers", action="store_true", help="networks of others on the same pictures too; needs Node, npm and the network once")
    accuracy.add_argument("--plots", type=Path, metavar="DIR", help="draw confusion matrices, reliability diagrams and action units into DIR")
    accuracy.add_argument("--card", type=Path, metavar="DIR", help="write the figures into the model card of the package's weights: converters/trained/default")

    for name in NOT_YET:
        commands.add_parser(name, parents=[shared], help="not yet")
    return parser


if __name__ == "__main__":
    sys.exit(main())
