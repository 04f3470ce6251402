"""`edge-run`: flags to settings, results to files, errors to exit codes."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge.capture.source import masked
from edge.config import Config, load_config, toml_of
from edge.errors import CaptureError, ConfigError, EdgeError, MissingDependency, require

if TYPE_CHECKING:
    from edge.pipeline import Pipeline

BUG_EXIT_CODE = 70
# Before anything was opened. Source: the shells' convention, 128 + SIGINT.
INTERRUPTED_EXIT_CODE = 130

_EXAMPLES = """examples:
  edge-run --camera 0                                        live, with a status line
  edge-run --camera 0 --rotate 90 --output affect.jsonl      an upright kiosk, records to a file
  edge-run --source sample --annotate out.mp4                the sample clip, results drawn in
  edge-run --source clip.mp4 --output - | jq .faces          records to a pipe
  edge-run --source rtsp://10.0.0.5/stream --display window  a network camera, on the screen

exit codes: 0 done, 2 configuration, 3 missing dependency, 4 model package, 5 capture, 6 engine, 7 output, 70 a bug
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - closed by whoever started us (`2>&-`): the log must not go among the records
    try:
        flags = vars(_parser().parse_args(argv))
        quiet, config_path, print_config = flags.pop("quiet"), flags.pop("config", None), flags.pop("print_config")
        config = load_config(config_path, flags)
        if print_config:
            sys.stdout.write(toml_of(config))
            return 0
        return _Run(config, quiet=quiet).execute()
    except EdgeError as error:
        print(f"edge-run: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except Exception:  # noqa: BLE001 - whatever is not an EdgeError is a bug, and is shown as one
        traceback.print_exc()
        print("edge-run: this is a bug: please report it with the lines above", file=sys.stderr)
        return BUG_EXIT_CODE


class _Run:
    """One run of the command: what is open, and how it ends."""

    def __init__(self, config: Config, *, quiet: bool) -> None:
        from edge.output.summary import Summary

        self._config = config
        self._quiet = quiet
        self._interrupted = False
        self._pipeline: Pipeline | None = None
        self._summary = Summary(engine=config.engine, precision=config.precision, model=config.model)

    def execute(self) -> int:
        """Run to the end, to a signal or to an error; the summary is written in each case."""
        from edge.output.summary import write_summary
        from edge.output.terminal import closing_table

        self._check_destinations()
        error: BaseException | None = None
        try:
            with ExitStack() as stack:
                stack.enter_context(_signals(self._interrupt))
                self._run(stack)
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - raised again below, after the summary
            # A source that is given up while it connects has not failed.
            error = None if self._interrupted and isinstance(caught, (CaptureError, KeyboardInterrupt)) else caught
        self._look_back()
        report = self._summary.report("failed" if error else "interrupted" if self._interrupted else "done", error=str(error) if error else None)
        if self._config.summary:
            write_summary(report, Path(self._config.summary))
        if error is not None:
            raise error
        self._say(closing_table(report))
        for what, path in (("records", ", ".join(self._config.output)), ("annotated", self._config.annotate), ("summary", self._config.summary)):
            if path:
                self._say(f"{what:>10}  {path}")
        return 0

    def _run(self, stack: ExitStack) -> None:
        require("cv2", install="make setup   or: pip install opencv-python-headless", why="image processing")
        from edge.output.header import make_header
        from edge.output.output import open_output
        from edge.output.summary import Summary
        from edge.output.terminal import StatusLine
        from edge.pipeline import Pipeline
        from edge.stage import frame_labels
        from edge.view.viewer import open_viewer

        config = self._config
        self._pipeline = pipeline = stack.enter_context(Pipeline(config, say=self._say_beside))
        analyzer, source = pipeline.analyzer, pipeline.source
        self._summary = Summary(
            engine=analyzer.serving[0],
            precision=analyzer.serving[1],
            model=analyzer.package.name,
            reads_pictures=bool(frame_labels(analyzer.package.manifest.stages)),
        )
        self._say(f"source   {source.name}: {source.description}")
        self._say(f"engine   {analyzer.engine_description}: {analyzer.choice.why}")
        looks_at = f"faces by {analyzer.detector_package.name}" if analyzer.detector_package is not None else "whole pictures"
        self._say(f"package  {analyzer.package.name} ({analyzer.package.path}), {looks_at}")
        for note in analyzer.notes:
            print(f"edge-run: {note}", file=sys.stderr)
            self._summary.note(note)
        if analyzer.package.manifest.not_offered:
            self._say(f"         not offered: {', '.join(analyzer.package.manifest.not_offered)}")
        if analyzer.package.manifest.low_confidence:
            self._say(f"         low confidence: {', '.join(analyzer.package.manifest.low_confidence)}")
        settings = msgspec.to_builtins(config) | {"source": masked(config.source)}
        header = make_header(analyzer.package, source=source.name, settings=settings, gstreamer=_gstreamer_version())
        input_path = self._input_path()
        outputs = [
            stack.enter_context(closing(open_output(dest, header=header, csv_style=config.csv_style, raw=config.raw, input_path=input_path)))
            for dest in config.output
        ]
        viewer = open_viewer(display=config.display, annotate=config.annotate, package=analyzer.package, input_path=input_path)
        if viewer is not None:
            stack.enter_context(closing(viewer))
            self._say(f"view     {viewer.description}")
        status = stack.enter_context(closing(StatusLine(sys.stderr, duration_ns=source.duration_ns, quiet=self._quiet)))
        if self._interrupted:
            return
        for frame, result in pipeline.run():
            for output in outputs:
                output.write(result)
            if viewer is not None and not viewer.show(frame, result):
                pipeline.stop()
            self._summary.add(result)
            status.update(result)
        if viewer is not None and viewer.n_skipped:
            self._summary.note(f"{viewer.n_skipped} frames were not drawn: drawing is slower than the source, and results come first")

    def _look_back(self) -> None:
        """Put into the summary what was learned of the engines on the way."""
        if self._pipeline is None:
            return
        self._summary.served_by(*self._pipeline.analyzer.serving)
        for note in self._pipeline.analyzer.notes:
            if self._summary.note(note) and self._quiet:  # the closing table shows it to everybody else
                print(f"edge-run: {note}", file=sys.stderr)

    def _check_destinations(self) -> None:
        """Refuse what cannot be written, before anything is opened; and two results in one file."""
        from edge.output.destination import check_destination

        named = [("--output", dest) for dest in self._config.output]
        named += [(option, dest) for option, dest in (("--summary", self._config.summary), ("--annotate", self._config.annotate)) if dest is not None]
        taken: dict[str, str] = {}
        for option, dest in named:
            is_file = dest != "-" and "://" not in dest
            place = os.path.realpath(dest) if is_file else dest
            if place in taken:
                raise ConfigError(f"{option} names what {taken[place]} names already: {dest}", hint="give each result a file of its own")
            taken[place] = option
            try:
                if is_file:
                    check_destination(Path(dest), option=option, input_path=self._input_path())
            except OSError as error:
                raise ConfigError(f"{option}: {dest}: {error.strerror}", hint="choose another name") from error

    def _input_path(self) -> Path | None:
        """The file that is being read, where it is one."""
        from edge.pipeline import source_settings

        try:
            path = Path(source_settings(self._config).uri)
            return path if path.exists() else None
        except OSError:  # also a sample that is not there, which is said when it is opened
            return None

    def _interrupt(self) -> None:
        asked_before, self._interrupted = self._interrupted, True
        if asked_before or self._pipeline is None:
            raise KeyboardInterrupt  # while something is being opened, or hangs: it is given up
        self._pipeline.stop()

    def _say_beside(self, text: str) -> None:
        """Print a line from another thread: over the status line, which is drawn again below it."""
        self._say(f"\r\x1b[K{text}" if sys.stderr.isatty() else text)

    def _say(self, text: str) -> None:
        if not self._quiet:
            with suppress(OSError):  # nobody reads the log any more; the records go on
                print(text, file=sys.stderr)


@contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` on SIGINT, SIGTERM and SIGHUP; put the former handlers back at the end."""
    former = {number: signal.signal(number, lambda *_: interrupt()) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _gstreamer_version() -> str | None:
    """Version of GStreamer, None where it is not installed (pictures are read without it)."""
    from edge.gst import load_gst

    try:
        return ".".join(str(part) for part in load_gst().Gst.version()[:3])
    except MissingDependency:
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-run",
        description="Read faces from a camera or a clip: action units and emotions, smoothed, with their latency.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.register("action", None, _Once)
    source = parser.add_argument_group("source")
    which = source.add_mutually_exclusive_group()
    which.add_argument("--camera", dest="source", type=lambda text: f"camera:{text}", metavar="N|/dev/videoN|csi", help="a V4L2 or CSI camera")
    which.add_argument("--source", metavar="URI", help="a file, a picture, rtsp://..., gst:'a pipeline', or sample")
    source.add_argument("--camera-size", type=_size, metavar="WxH", help="picture size asked of the camera")
    source.add_argument("--camera-fps", type=float, metavar="N", help="rate asked of the camera")
    source.add_argument("--camera-format", metavar="F", help="pixel format asked of the camera: MJPG, YUY2, NV12, ...")
    source.add_argument("--microphone", metavar="default|hw:N[,M]", help="take a camera's sound from this ALSA device, for a package that hears")
    source.add_argument("--rotate", type=int, choices=(0, 90, 180, 270), help="degrees clockwise that bring the picture upright")
    source.add_argument("--mirror", action="store_true", help="flip left and right")
    source.add_argument("--realtime", action="store_true", help="play a file at its own speed, newest frame wins (else every frame, in order)")
    source.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    source.add_argument("--duration", type=float, metavar="SECONDS", help="stop after this much media time")

    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="NAME|DIR", help="affect package (default: default)")
    model.add_argument("--allow-untrained", action="store_true", help="run a package that was never trained, to measure latency")
    model.add_argument("--engine", choices=("auto", "onnxruntime", "tensorrt"), help="what runs the networks (default: auto)")
    model.add_argument("--precision", choices=("auto", "fp32", "fp16", "int8"), help="of the networks (default: auto)")

    faces = parser.add_argument_group("faces")
    faces.add_argument("--roi", type=_four_ints, metavar="L,T,R,B", help="look at the inside of this rectangle only, in pixels")
    faces.add_argument("--min-face", type=float, metavar="PX", help="ignore faces whose box is smaller")
    faces.add_argument("--max-faces", type=int, metavar="N", help="follow at most N faces (default: 8)")
    faces.add_argument("--primary", choices=("largest", "central", "longest"), help="which face is the primary one (default: largest)")
    faces.add_argument("--smooth", metavar="none|ema", help="filter of the numbers (default: ema)")
    faces.add_argument("--time-constant", type=float, metavar="SECONDS", help="of the filter, in media time (default: 0.25)")

    results = parser.add_argument_group("results")
    results.add_argument("--output", action="append", metavar="DEST", help="- | out.jsonl | out.csv; may be repeated")
    results.add_argument("--csv-style", choices=("edge", "openface", "pyfeat"), help="column names of CSV files (default: edge)")
    results.add_argument("--raw", action="store_true", help="unsmoothed values beside the smoothed ones")
    results.add_argument("--display", metavar="none|window", help="show the picture with the results (default: none)")
    results.add_argument("--annotate", metavar="FILE", help="write the picture with the results to out.mp4, out.png or out.jpg")
    results.add_argument("--summary", metavar="FILE.json", help="written at the end, also after Ctrl-C and on a failure")
    results.add_argument("--slo-ms", metavar="MS", help=argparse.SUPPRESS)

    run = parser.add_argument_group("run")
    run.add_argument("--config", type=Path, metavar="FILE.toml", help="the same settings from a file; flags win")
    run.add_argument("--print-config", action="store_true", default=False, help="print the settings as TOML and end")
    run.add_argument("--quiet", action="store_true", default=False, help="errors only")
    return parser


class _Once(argparse.Action):
    """What a flag with a value does: of two values, one would be ignored silently."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        if self.dest == "source" and hasattr(namespace, "source"):
            raise ConfigError("not yet: several sources in one run", hint=f"start edge-run once for each; {option_string} is given twice")
        if hasattr(namespace, self.dest):
            raise ConfigError(f"{option_string} is given twice: {getattr(namespace, self.dest)} and {values}", hint="leave one of them out")
        setattr(namespace, self.dest, values)


def _size(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d+[xX]\d+", text):
        raise argparse.ArgumentTypeError(f"expected WxH in pixels, such as 1280x720; got '{text}'")
    width, height = text.lower().split("x")
    return int(width), int(height)


def _four_ints(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+){3}", text):
        raise argparse.ArgumentTypeError(f"expected L,T,R,B in pixels, such as 0,0,640,360; got '{text}'")
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
