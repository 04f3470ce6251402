"""L5: the documents' networks of large pictures on camera frames: how fast one camera goes, and how many cameras stay in real time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import msgspec

from benchmarks.budgets import Budget
from benchmarks.clips import Clip
from benchmarks.limits.devices import Place
from benchmarks.limits.finding import Finding, Point, Ran, found, not_run, point
from benchmarks.limits.turns import in_turns
from benchmarks.limits.untrained import system_package
from benchmarks.loops.faces import Camera, decoded
from benchmarks.loops.open import MIN_FACE_SHARE
from benchmarks.loops.turns import Turns
from benchmarks.timed_process import RunFailed, progress
from converters.errors import ConversionError
from edge.analyzer import Analyzer
from edge.config import Config
from edge.errors import EngineError, MissingDependency
from edge.frame import Pixels
from edge.package import Package, Precision

# Those of documents 000, 001 and 002, by the side of their picture.
SYSTEMS = (
    *("resnet18-5", "efficientnet-b0-5", "inceptionv3-5", "mobilenetv2-5"),
    *("effnetv2b2-sadness", "effnetv2b2-gram2", "effnetv2b2-gram3", "effnetv2b2-gram4", "zhang-multilevel"),
)
QUICK_SYSTEMS = ("resnet18-5", "mobilenetv2-5", "effnetv2b2-sadness")
STATED = "no document's statement: networks of 224 to 299 pixels that were built for single pictures follow a camera of 25 frames/s"
REAL_TIME_FPS = 25.0
PERIOD_MS = 1e3 / REAL_TIME_FPS
_N_FRAMES = 25  # of the clip, which every camera shows forwards and backwards


class StreamCount(msgspec.Struct, frozen=True):
    """How many cameras stay in real time.

    Attributes:
        most: The largest number of those measured that does; 0 where not even one.
        next_measured: The smallest number measured that does not; None where every one did.
        points: One for each number that was measured, ascending.
    """

    most: int
    next_measured: int | None
    points: list[Point]


def measure_large_networks(
    place: Place,
    precisions: Sequence[Precision],
    systems: Sequence[str],
    clip: Clip,
    rounds: int,
    most_streams: int,
    budgets: Mapping[str, Budget],
    built: list[str],
) -> list[Finding]:
    """Run each system by the runtime's own path, from the picture to the result: detector and crop, or the whole picture; network; smoothing.

    Capture and decoding are outside, for they run beside it. Several cameras are taken in turns, a frame from each, by one process.

    Args:
        place: What runs the networks.
        precisions: Those to measure; the detector's is the runtime's choice.
        systems: Their ids.
        clip: What the cameras show.
        rounds: Frames of each camera in each measurement.
        most_streams: More cameras than this are not tried.
        budgets: Of which those of `validity` are used.
        built: Gets a line for each package that had to be made.

    Returns:
        One row for each system and precision; a system that cannot be made or loaded is `not run`, with the reason.

    Raises:
        RunFailed: The clip cannot be read, or a package that looks at faces found hardly any.
    """
    lacking = {precision: place.lacks(precision, whole_path=True) for precision in precisions}
    wanted = [precision for precision in precisions if not lacking[precision]]
    pictures = decoded(clip, _N_FRAMES) if wanted else []
    findings = []
    for name, precision in itertools.product(systems, precisions):
        problem = lacking[precision]
        if not problem:
            progress(f"L5 {place.device} {precision}: {name}")
            try:
                findings.append(_measure(system_package(name, wanted, built), place, precision, pictures, rounds, most_streams, budgets))
            except (MissingDependency, ConversionError, EngineError) as error:
                problem = str(error)
        if problem:
            findings.append(not_run("L5", place.device, precision, name, STATED, problem))
    return findings


def _measure(
    package: Package, place: Place, precision: Precision, pictures: Sequence[Pixels], rounds: int, most_streams: int, budgets: Mapping[str, Budget]
) -> Finding:
    config = Config(model=str(package.path), allow_untrained=True, engine=place.engine, precision=precision)
    taken: dict[int, Turns] = {}
    with ExitStack() as stack:
        cameras: list[Camera] = []
        engine = ""

        def measure(n: int) -> Point:
            nonlocal engine
            while len(cameras) < n:
                analyzer = Analyzer(config)
                stack.callback(analyzer.close)
                analyzer.wait_until_opened()
                cameras.append(Camera(analyzer, pictures, REAL_TIME_FPS))
                engine = analyzer.engine_description
            taken[n] = in_turns({"round": partial(_one_each, cameras[:n])}, rounds, place.device, budgets)
            return point(_streams(n), n, taken[n].samples_ms["round"], taken[n].first_ms["round"])

        count = count_streams(measure, most_streams)
        shown, with_face = sum(camera.n_shown for camera in cameras), sum(camera.n_complete for camera in cameras)
    if package.manifest.detector and with_face < MIN_FACE_SHARE * shown:
        raise RunFailed(f"{package.name}: expected a face in every frame of the clip, got one in {with_face} of {shown}", hint="give a clip with one face")
    told = next((turns for turns in taken.values() if turns.invalid), taken[1])
    ran = Ran(place.device, precision, engine, told.machine, told.invalid)
    return judge_streams(count, package.name, ran)


def judge_streams(count: StreamCount, name: str, ran: Ran) -> Finding:
    """Return the row of a system.

    Args:
        count: What was measured; one camera is among it.
        name: The system.
        ran: On what.
    """
    one = count.points[0].ms
    shown = f"{1e3 / one.estimate:.1f} frames/s [{1e3 / one.high:.1f}, {1e3 / one.low:.1f}], {one.estimate:.1f} ms a frame; "
    if count.most == 0:
        shown += f"not one camera at {REAL_TIME_FPS:g} frames/s"
    elif count.next_measured is None:
        shown += f"{_streams(count.most)} at {REAL_TIME_FPS:g} frames/s, more were not tried"
    else:
        shown += f"{_streams(count.most)} at {REAL_TIME_FPS:g} frames/s, not {count.next_measured}"
    interval, sides = (1e3 / one.high, 1e3 / one.low), [end <= PERIOD_MS for end in (one.low, one.high)]
    return found("L5", ran, name, STATED, figure=shown, value=1e3 / one.estimate, interval=interval, sides=sides, points=count.points)


def count_streams(measure: Callable[[int], Point], most: int) -> StreamCount:
    """Find how many cameras stay in real time: twice as many each time until they do not, then halving what is between. Each number is measured.

    Args:
        measure: Takes how many cameras, gives the time in which one frame of each was analysed.
        most: More are not tried; at least one.
    """
    points: dict[int, Point] = {}

    def in_time(n: int) -> bool:
        points[n] = measure(n)
        return points[n].ms.estimate <= PERIOD_MS

    good, bad, n = 0, None, 1
    while bad is None and good < most:
        if in_time(n):
            good, n = n, min(2 * n, most)
        else:
            bad = n
    while bad is not None and bad - good > 1:
        middle = (good + bad) // 2
        if in_time(middle):
            good = middle
        else:
            bad = middle
    return StreamCount(good, bad, [points[n] for n in sorted(points)])


def _one_each(cameras: Sequence[Camera]) -> None:
    for camera in cameras:
        camera()


def _streams(n: int) -> str:
    return f"{n} camera{'s' if n > 1 else ''}"
