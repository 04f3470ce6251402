"""`python -m calibration`: sets of faces that reduced precisions are calibrated with and judged by, and the renderer of synthetic faces."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from edge.errors import EdgeError, OutputError

_EXAMPLES = """examples:
  python -m calibration build default                                   the set that everybody can have: our renders and the pulled test clips
  python -m calibration build default kiosk-clips/ -o kiosk-set         that, and faces of your own
  python -m calibration build people/ --origin folder -o my-set         a folder for each person: nobody is in both calibration and held-out
  python -m calibration build fer.npz:images:usage=0 --exclude fer.npz:images:usage=2 -o fer-set     rows of an array, none of them among the test's
  python -m calibration render --geometry ict_facekit.npz -o renders --count 640 --seed 1     synthetic faces
  python -m calibration check my-set --exclude test-pictures/           every hash, what it covers, and that it shares no picture with the test

A SOURCE is a folder (with its sub-folders), a picture, a clip, an array (FILE.npy, FILE.npz:KEY, FILE.npz:KEY:COLUMN=0,1) or `default`. Each gives an equal
share where it can. The default set goes to the folder `calibration/default` beside the packages, where `--calibration default` finds it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 wrong usage, 3 a missing dependency, 4 a set that cannot be made or used, 5 a source."""
    options = _parser().parse_args(arguments)
    try:
        return int(_COMMANDS[options.command](options))
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more on its way out
        return 0
    except OSError as error:
        print(f"error: {error}\n  check permissions and free space; -o chooses another folder", file=sys.stderr)
        return OutputError.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing half-made is left behind", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m calibration", description=__doc__, epilog=_EXAMPLES, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make a set", epilog=_EXAMPLES, formatter_class=raw)
    build.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder, a picture, a clip, an array, or `default`")
    build.add_argument("-o", "--output", type=Path, metavar="SET", help="folder of the set; not needed for `default` alone")
    build.add_argument("--licence", action="append", default=[], metavar="TEXT", help="of the sources: once for all, or once for each; recorded, never guessed")
    build.add_argument("--exclude", action="append", default=[], metavar="SOURCE", help="evaluation data: no picture of it and no copy gets in; repeatable")
    build.add_argument(
        "--origin", choices=("file", "folder"), default="file", help="what stays together in one split: each file (default), or the files of a folder"
    )
    build.add_argument("--max", type=_count, default=512, metavar="N", help="most pictures for calibration (default: 512)")
    build.add_argument("--held-out", type=_count, default=160, metavar="N", help="most pictures that precisions are judged by (default: 160)")
    build.add_argument("--without-clips", action="store_true", help="do not copy clips; packages that read clips cannot be quantised with the set then")
    check = commands.add_parser("check", help="check a set and say what it is", epilog=_EXAMPLES, formatter_class=raw)
    check.add_argument("set", metavar="SET", help="its folder, or `default`")
    check.add_argument("--exclude", action="append", default=[], metavar="SOURCE", help="the set must share no picture or frame with this; repeatable")
    render = commands.add_parser("render", help="render synthetic faces, with what each shows written down", epilog=_EXAMPLES, formatter_class=raw)
    render.add_argument("--geometry", type=Path, required=True, metavar="FILE.npz", help="ICT-FaceKit's face model, see calibration/rendering/geometry.py")
    render.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a new folder for sheets, people.jsonl, faces.jsonl and card.json")
    render.add_argument("--count", type=_count, default=640, metavar="N", help="faces (default: 640), four of each person")
    render.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same faces (default: 0)")
    render.add_argument("--size", type=_count, default=160, metavar="PX", help="side of each picture, a multiple of 16 (default: 160)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return int(text)


def _build(options: argparse.Namespace) -> int:
    from calibration.build import Order, build_set
    from calibration.report import lines
    from calibration.set_file import set_path
    from edge.errors import ConfigError

    if options.output is None and options.sources != ["default"]:
        raise ConfigError("--output: where shall the set go?", hint="python -m calibration build SOURCE -o SET")
    order = Order(
        sources=tuple(options.sources),
        licences=tuple(options.licence),
        exclude=tuple(options.exclude),
        origins=options.origin,
        n_calibration=options.max,
        n_held_out=options.held_out,
        with_clips=not options.without_clips,
    )
    made = build_set(order, options.output or set_path("default"), say=_say)
    for line in lines(made):
        _say(line)
    print(made.path)
    return 0


def _check(options: argparse.Namespace) -> int:
    from calibration.errors import NotDisjoint
    from calibration.exclusion import read_exclusion, shared_with
    from calibration.report import check_pictures, lines
    from calibration.set_file import load_set

    found = load_set(options.set)
    check_pictures(found)
    shared = shared_with(found, read_exclusion(options.exclude, say=_say))
    if shared:
        some = ", ".join([*shared[:3], *(["..."] if shared[3:] else [])])
        raise NotDisjoint(
            f"{found.path}: {len(shared)} of its files are, look like or were cut from excluded pictures: {some}",
            hint="build the set again with the same --exclude",
        )
    print("\n".join(lines(found)))
    return 0


def _render(options: argparse.Namespace) -> int:
    from calibration.judge import FaceJudge
    from calibration.rendering.geometry import load_face_model
    from calibration.rendering.sheets import write_renders

    model = load_face_model(options.geometry)
    with FaceJudge() as judge:
        card = write_renders(model, judge, options.output, n=options.count, seed=options.seed, size_px=options.size, say=_say)
    _say(f"{card.n_faces} faces; not kept: {', '.join(f'{n} {reason}' for reason, n in card.refused.items()) or 'none'}")
    print(options.output)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_COMMANDS = {"build": _build, "check": _check, "render": _render}


if __name__ == "__main__":
    # What is half-made is swept away then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
