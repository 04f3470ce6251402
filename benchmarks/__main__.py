"""`python -m benchmarks`: the command line of the measurements."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from benchmarks import latency_command as latency
from benchmarks import peers_command as peers
from benchmarks.accuracy import command as accuracy
from benchmarks.budgets import Verdict
from benchmarks.gate import command as gate
from benchmarks.limits import command as limits
from benchmarks.report import command as report
from benchmarks.scaling import command as scaling
from edge.errors import ConfigError, EdgeError, OutputError

NOT_PASSED = 1
BUG = 70

_EXAMPLES = """examples:
  python -m benchmarks peers --json peers.json        ourselves and others on the sample clip, five rounds in turns; single stages
  python -m benchmarks peers --peer mediapipe --rounds 3
  python -m benchmarks latency                        stages, start, closed and open loop, memory, networks
  python -m benchmarks latency --open --frames 1000   like cameras of 24, 25, 30 and 60 frames/s: ages and drops
  python -m benchmarks latency --closed --queries 128
  python -m benchmarks limits --plots figures         what the documents say about latency, measured here
  python -m benchmarks limits --only L2 --precision int8 --quick
  python -m benchmarks scaling --faces --streams      what more faces and more cameras cost
  python -m benchmarks gate --base main               is the working tree slower than main?
  python -m benchmarks gate --base HEAD~1 --counts    does it compute more? For machines that are never quiet
  python -m benchmarks gate --prove --profile full    does the gate find a planted slowdown, and nothing where there is none?
  python -m benchmarks accuracy --data fer2013.csv    emotions and action units of the default package, each figure with its interval
  python -m benchmarks accuracy --model mesh-chain --data fer2013.npz --geometry ict_facekit.npz --peers --plots figures
  python -m benchmarks accuracy --data fer2013.npz --geometry ict_facekit.npz --peers --card converters/trained/default
  python -m benchmarks report out/bench -o page       one page of what lies in a folder as JSON

exit codes: 0 every budget is kept; 1 a budget is broken, an interval is too wide to tell (unclear), the run is invalid (too much else on the machine, or
clocks that moved), or something could not run; 2 configuration, 3 missing dependency, 4 model package, 5 capture, 6 engine, 7 output, 70 a bug
"""


class Command(Protocol):
    """What each command's module has."""

    def add_parser(self, commands: Any, shared: argparse.ArgumentParser) -> None:
        """Add the command's own flags to those of all."""

    def command(self, arguments: argparse.Namespace) -> tuple[object, list[str], list[Verdict]]:
        """Measure, and return the report for `--json`, its lines for a person, and the verdicts that the exit code follows from."""


COMMANDS: Mapping[str, Command] = {
    "latency": latency,
    "limits": limits,
    "scaling": scaling,
    "peers": peers,
    "accuracy": accuracy,
    "gate": gate,
    "report": report,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.json is not None and not arguments.json.resolve().parent.is_dir():
            raise ConfigError(f"no folder {arguments.json.resolve().parent} for --json", hint="make it first: the run takes minutes")
        measured, lines, verdicts = COMMANDS[arguments.command].command(arguments)
        print("\n".join(lines))
        if arguments.json is not None:
            _write(measured, arguments.json)
        return 0 if verdicts and all(verdict.word == "pass" for verdict in verdicts) else NOT_PASSED
    except EdgeError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:  # noqa: BLE001 - whatever is not an EdgeError is a bug, and is shown as one
        traceback.print_exc()
        return BUG


def _write(measured: object, path: Path) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")
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
    for command in COMMANDS.values():
        command.add_parser(commands, shared)
    return parser


if __name__ == "__main__":
    sys.exit(main())
