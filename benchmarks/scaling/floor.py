"""Where the time of a frame goes, and the least that this machine could need for it: the bytes and the operations of each stage against the roofline.

A stage cannot be faster than its bytes can be moved, nor than its operations can be done; its floor is the larger of the two times. What a stage does besides,
Python among it, is in `ours` alone.

Source: Williams, Waterman & Patterson 2009, Roofline: An Insightful Visual Performance Model, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.budgets import Budget
from benchmarks.clips import Clip
from benchmarks.estimates import Interval
from benchmarks.limits.finding import Device
from benchmarks.limits.turns import in_turns
from benchmarks.loops.faces import decoded
from benchmarks.scaling.finding import Bound, Copied, Floor, FloorStage, Kind, Multiplied, Ran, Sampled, sampled
from benchmarks.scaling.followed_path import FRAMES_A_LOOK, FollowedPath, LastTurns, analyzers, few_faces
from benchmarks.scaling.frame_sizes import conversion
from benchmarks.scaling.networks import Size, size_of
from benchmarks.scaling.peaks import measure_peaks
from benchmarks.scaling.views import count_views
from benchmarks.timed_process import progress
from edge.analyzer import Analyzer
from edge.config import Config
from edge.engine.ort import default_threads
from edge.errors import ConfigError
from edge.frame import Pixels
from edge.package import Package, Precision
from edge.stage import BoxRegion, CropInput, Stage

LEAST_FLOOR_MS = 0.001  # under a microsecond, less than one call in Python: a multiple of it says nothing
_N_FRAMES = 60
_FLOAT, _RGB, _I420 = 4, 3, 1.5  # bytes of a number, of a pixel


@dataclass(frozen=True)
class Work:
    """What one run of a stage has to do at least.

    Attributes:
        name: Of the stage.
        runs_a_frame: As of `FloorStage`.
        n_bytes: As there.
        macs: As there.
        kind: As there.
        what: As there.
    """

    name: str
    runs_a_frame: float
    n_bytes: float
    macs: float
    kind: Kind
    what: str


def measure_floor(clip: Clip, rounds: int, budgets: Mapping[str, Budget]) -> Floor:
    """Time the path over a clip stage by stage, and hold it against copies and matrix products of this machine.

    Args:
        clip: With one face.
        rounds: Turns of the path, and samples of each peak.
        budgets: Of which those of `validity` are used.

    Raises:
        ConfigError: A GPU runs the networks: the model is one of a CPU.
        ConversionError: The operations of a network cannot be counted.
        PackageError: The default package cannot be used.
        RunFailed: The clip cannot be read.
    """
    progress(f"floor: memory and arithmetic of this machine, {rounds} samples each")
    copies, products, peaks_ran = measure_peaks(rounds, default_threads(), budgets)
    progress(f"floor: the path, {rounds} turns")
    pictures = decoded(clip, _N_FRAMES)
    height, width = pictures[0].shape[:2]
    with analyzers(Config(precision=_serving_precision())) as new:
        analyzer = new()
        path = FollowedPath(analyzer, pictures)
        require_cpu(path.device)
        convert, memory = conversion((width, height))
        turns = in_turns({"convert": lambda: convert(memory), "path": path}, rounds, "cpu", budgets)
        last = path.last(rounds)
        works = works_of(analyzer, pictures[0], last.side_px)
        few = few_faces(last.found)
        ran = Ran(analyzer.engine_description, analyzer.serving[1], turns.machine, "; ".join(filter(None, [turns.invalid, few])))
    ours = _ours(turns.samples_ms["convert"], last, analyzer.package)
    stages = [floor_stage(work, each, copies, products) for work, each in zip(works, ours, strict=True)]
    frame = sampled([each + path_ms for each, path_ms in zip(turns.samples_ms["convert"], last.samples_ms("whole"), strict=True)])
    floor_ms = sum(stage.floor_ms * stage.runs_a_frame for stage in stages)
    return Floor(peaks_ran, ran, (width, height), last.side_px, copies, products, stages, frame, floor_ms, _over(frame.ms, floor_ms))


def require_cpu(device: Device) -> None:
    """Check what runs the networks.

    Raises:
        ConfigError: It is a GPU, which the model does not know.
    """
    if device == "gpu":
        raise ConfigError("floor: expected networks on the CPU, got them on a GPU", hint="an environment with plain onnxruntime measures the CPU")


def floor_stage(work: Work, ours: Sampled, copies: Sequence[Copied], products: Sequence[Multiplied]) -> FloorStage:
    """Hold a stage against the machine.

    Args:
        work: What it has to do at least; some bytes.
        ours: What it takes.
        copies: By size, ascending; memory in a cache is faster, so a stage is held against a copy that moves as much as it does.
        products: One of its kind among them.
    """
    copied = next((each for each in copies if 2 * each.n_bytes >= work.n_bytes), copies[-1])
    product = next(each for each in products if each.kind == work.kind)
    memory_ms, arithmetic_ms = work.n_bytes / copied.gb_per_s / 1e6, work.macs / product.gmacs_per_s / 1e6
    bound: Bound = "memory" if memory_ms >= arithmetic_ms else "arithmetic"
    floor_ms = max(memory_ms, arithmetic_ms)
    return FloorStage(
        name=work.name,
        runs_a_frame=work.runs_a_frame,
        n_bytes=round(work.n_bytes),
        macs=round(work.macs),
        kind=work.kind,
        copy_bytes=copied.n_bytes,
        memory_ms=memory_ms,
        arithmetic_ms=arithmetic_ms,
        floor_ms=floor_ms,
        bound=bound,
        ours=ours,
        over_floor=_over(ours.ms, floor_ms) if floor_ms >= LEAST_FLOOR_MS else None,
        what=work.what,
    )


def works_of(analyzer: Analyzer, picture: Pixels, face_px: float) -> list[Work]:
    """Return what each stage has to do for a picture with one face that is being followed, in the order of the path.

    Args:
        analyzer: Of a package whose networks read crops around a box.
        picture: uint8[H, W, 3].
        face_px: Long side of the face's box.

    Raises:
        ConfigError: The package is of another kind.
        ConversionError: The operations of a network cannot be counted.
    """
    package, detector, precision = analyzer.package, analyzer.detector_package, analyzer.serving[1]
    assert detector is not None  # what FollowedPath is made of finds faces
    n_pixels, looks = picture.shape[0] * picture.shape[1], 1 / FRAMES_A_LOOK
    views = _views(detector, precision, picture)
    seen, fed, network_bytes, macs = (sum(each) / len(views) for each in zip(*views, strict=True))
    stages = package.manifest.stages
    sizes = {stage.name: size_of(package.model_path(stage)) for stage in stages}
    crops = sum(_crop_bytes(stage, face_px) for stage in stages)
    answers = sum(size.given for size in sizes.values()) * _FLOAT
    return [
        Work("convert", 1.0, n_pixels * (_I420 + _RGB), 0, "float32", "I420 in, RGB out"),
        Work("detect besides network", looks, seen + fed, 0, "float32", "pixels of a view in, float32 input out; mean of the views, which take turns"),
        Work("detect.infer", looks, network_bytes, macs, _kind(detector, detector.manifest.stages[0], precision), "input, weights, answers; mean of the views"),
        Work("crop", 1.0, crops, 0, "float32", "pixels under the crop in, float32 input out"),
        *(_network(package, stage, precision, sizes[stage.name]) for stage in stages),
        Work("post", 1.0, answers, 0, "float32", "answers in: decoding, tracking, smoothing are Python on few numbers"),
    ]


def _network(package: Package, stage: Stage, precision: Precision, size: Size) -> Work:
    n_bytes = _network_bytes(package, stage, precision, size)
    return Work(f"infer.{stage.name}", 1.0, n_bytes, size.macs, _kind(package, stage, precision), "input, weights, answers")


def _ours(convert_ms: list[float], last: LastTurns, package: Package) -> list[Sampled]:
    """What one run of each of `works_of` takes: the means of a frame, where a stage runs once in a look, times its frames."""
    detect, network = last.samples_ms("detect"), last.samples_ms("detect.infer")
    besides = [FRAMES_A_LOOK * (both - alone) for both, alone in zip(detect, network, strict=True)]
    return [
        sampled(convert_ms),
        sampled(besides),
        sampled([FRAMES_A_LOOK * ms for ms in network]),
        sampled(last.samples_ms("crop")),
        *(sampled(last.samples_ms(f"infer.{stage.name}")) for stage in package.manifest.stages),
        sampled(last.samples_ms("decode", "smooth")),
    ]


def _serving_precision() -> Precision:
    """What the runtime chooses by itself: asked for by name then, so that the detector's follows from it."""
    with analyzers(Config()) as new:
        return new().serving[1]


def _views(detector: Package, precision: Precision, picture: Pixels) -> list[tuple[float, float, float, float]]:
    """For each view: bytes of its pixels, bytes of the network's input, bytes that the network moves, its multiply-accumulates."""
    height, width = picture.shape[:2]
    views: list[tuple[float, float, float, float]] = []
    for stage, n in zip(detector.manifest.stages, count_views(detector, picture), strict=True):
        size = size_of(detector.model_path(stage))
        # Several views of one network are squares of the short side.
        seen = height * width if n == 1 else min(height, width) ** 2
        views += [(seen * _RGB, size.fed * _FLOAT, _network_bytes(detector, stage, precision, size), size.macs)] * n
    return views


def _crop_bytes(stage: Stage, face_px: float) -> float:
    spec = stage.input
    if not isinstance(spec, CropInput) or not isinstance(spec.region, BoxRegion):
        raise ConfigError(f"floor: expected stage '{stage.name}' to read a crop around the face's box", hint="the default package does")
    width, height = spec.size_wh_px
    channels = 1 if spec.color == "gray" else 3
    return (face_px * spec.region.expand) ** 2 * _RGB + width * height * channels * _FLOAT


def _kind(package: Package, stage: Stage, precision: Precision) -> Kind:
    return "int8" if precision in package.offers and package.stage_precision(stage, precision) == "int8" else "float32"


def _network_bytes(package: Package, stage: Stage, precision: Precision, size: Size) -> float:
    weights = size.parameters * (1 if _kind(package, stage, precision) == "int8" else _FLOAT)
    return (size.fed + size.given) * _FLOAT + weights


def _over(ours: Interval, floor_ms: float) -> Interval:
    return Interval(ours.estimate / floor_ms, ours.low / floor_ms, ours.high / floor_ms)
