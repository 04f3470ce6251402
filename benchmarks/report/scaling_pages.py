"""`scaling` in a report: cost against faces, streams, pixels and networks, and the floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.report.document import Block, Curves, Picture, Series, Stacks, Table, Words
from benchmarks.report.results import Run
from benchmarks.report.wording import interval, number
from benchmarks.scaling.finding import FaceScaling, Floor, ModelPoint, ModelScaling, Ran, Sampled, SizeScaling, StreamScaling

PERIOD_MS = 40.0  # of 25 frames a second
_PERIOD = {"25 frames/s": PERIOD_MS}


def scaling_blocks(run: Run, prefix: str) -> list[Block]:
    """Return each curve that was measured, and the floor.

    Args:
        run: With a scaling report.
        prefix: Of the pictures' names.
    """
    report = run.scaling
    assert report is not None
    blocks: list[Block] = [Words(f"Clip: {report.clip}.{' Quick: fewer points and samples.' * report.quick}")]
    blocks += [] if report.faces is None else _faces(report.faces, prefix)
    blocks += [] if report.streams is None else _streams(report.streams, prefix)
    blocks += [] if report.frame_sizes is None else _sizes(report.frame_sizes, prefix)
    blocks += [] if report.model_sizes is None else _models(report.model_sizes, prefix)
    return blocks + ([] if report.floor is None else _floor(report.floor, prefix))


def _faces(faces: FaceScaling, prefix: str) -> list[Block]:
    stages = list(dict.fromkeys(name for point in faces.points for name in point.stages))
    rows = [
        (str(point.drawn), number(point.found), interval(point.whole.ms), *(_median(point.stages, name) for name in stages), number(point.slowest_frame_ms))
        for point in faces.points
    ]
    fits = [(name, interval(fit.fixed_ms), interval(fit.each_ms), number(fit.worst_ms)) for name, fit in faces.fits.items()]
    found = [point.found for point in faces.points]
    series = [_series("whole", found, [point.whole for point in faces.points])]
    series += [_series(name, found, [point.stages[name] for point in faces.points]) for name in stages if all(name in point.stages for point in faces.points)]
    if faces.lost_at is None:
        lost = "the line does not rise"
    else:
        beyond = f", beyond the {number(faces.largest_measured)} that were measured" if faces.lost_at.estimate > faces.largest_measured else ""
        lost = f"25 frames/s is lost at {interval(faces.lost_at)} faces{beyond}"
    return [
        *_ran("faces", faces.ran),
        Words(f"Faces in a picture of {_size(faces.picture_wh_px)}: {lost}. The first row, without faces, searches the whole picture in every frame."),
        Table(("faces drawn", "found", "a frame (ms)", *stages, "slowest frame"), rows),
        Table(("line through the points with faces", "fixed (ms)", "each face (ms)", "largest distance (ms)"), fits),
        Picture(f"{prefix}faces", "Cost of a frame over the faces that were found, with its stages.", Curves(series, "faces found", "ms, median", _PERIOD)),
    ]


def _streams(streams: StreamScaling, prefix: str) -> list[Block]:
    rows = [
        (
            str(point.n),
            str(point.lost),
            number(point.age_p99_ms),
            number(point.pss_mb),
            number(sum(stream.cpu_share for stream in point.streams)),
            str(sum(stream.due for stream in point.streams)),
        )
        for point in streams.points
    ]
    timed = [(point.n, point.age_p99_ms) for point in streams.points if point.age_p99_ms is not None]
    first = "every number measured had none" if streams.first_with_loss is None else f"the first with a lost frame: {streams.first_with_loss}"
    series = [Series("age, p99", [n for n, _ in timed], [ms for _, ms in timed])]
    blocks: list[Block] = [
        *_ran("streams", *(point.ran for point in streams.points)),
        Words(
            f"Streams of {streams.fps:g} frames/s at once, a process of edge-run each, decoding included, over {number(streams.window_s)} s: most without a "
            f"lost frame {streams.most_without_loss}; {first}."
        ),
        Table(("streams", "frames lost", "age p99 (ms)", "memory (MB)", "cores used", "frames due"), rows),
    ]
    if timed:
        blocks.append(Picture(f"{prefix}streams", "Age of results over the number of streams.", Curves(series, "streams", "ms", _PERIOD)))
    return blocks


def _sizes(sizes: SizeScaling, prefix: str) -> list[Block]:
    rows = [
        (
            point.name,
            _size(point.wh_px),
            interval(point.read.ms),
            interval(point.read_cpu.ms),
            interval(point.convert.ms),
            interval(point.path.ms),
            number(point.found),
        )
        for point in sizes.points
    ]
    stacks = {f"{point.name} path": {name: stage.ms.estimate for name, stage in point.stages.items()} for point in sizes.points}
    pixels = [point.wh_px[0] * point.wh_px[1] / 1e6 for point in sizes.points]
    series = [_series(name, pixels, [getattr(point, key) for point in sizes.points]) for name, key in (("decoding", "read"), ("our path", "path"))]
    coding = ", ".join(dict.fromkeys(point.coding for point in sizes.points))
    return [
        *_ran("frame sizes", *(point.ran for point in sizes.points)),
        Words(f"The same content in several sizes ({coding}); decoding and conversion apart from the path from the picture to its result."),
        Table(("size", "pixels", "decoding (ms)", "its CPU (ms)", "conversion (ms)", "our path (ms)", "faces found"), rows),
        Picture(f"{prefix}sizes", "Cost of a frame over its size.", Curves(series, "megapixels", "ms, median", _PERIOD)),
        Picture(f"{prefix}size-stages", "Our path by stage, at each size.", Stacks(stacks, "ms, median")),
    ]


def _models(models: ModelScaling, prefix: str) -> list[Block]:
    rows = [
        (
            f"{point.name}{'' if point.trained else ' (random weights)'}",
            point.precision,
            str(point.batch),
            str(point.threads),
            number(point.macs / 1e6),
            number(point.weight_bytes / 1e6),
            interval(point.run.ms),
            number(point.gmacs_per_s),
        )
        for point in models.points
    ]
    groups: dict[str, list[ModelPoint]] = {}
    for point in models.points:
        groups.setdefault(f"{point.precision}, batch {point.batch}, {point.threads} thread{'s' * (point.threads > 1)}", []).append(point)
    series = [
        Series(
            name,
            [point.macs * point.batch / 1e6 for point in points],
            [point.run.ms.estimate for point in points],
            [(point.run.ms.low, point.run.ms.high) for point in points],
            joined=False,
        )
        for name, points in groups.items()
    ]
    curves = Curves(series, "million multiply-accumulates of a run", "ms, median", x_log=True, y_log=True)
    return [
        *_ran("model sizes", *models.runs),
        Words("Networks alone, on the CPU: what each takes over what it has to compute."),
        Table(("network", "precision", "batch", "threads", "MACs (M)", "weights (MB)", "a run (ms)", "GMAC/s"), rows),
        Picture(f"{prefix}models", "Latency over arithmetic, one point a network.", curves),
    ]


def _floor(floor: Floor, prefix: str) -> list[Block]:
    rows = [
        (
            stage.name,
            number(stage.runs_a_frame),
            number(stage.n_bytes / 1e6),
            number(stage.macs / 1e6),
            f"{number(stage.floor_ms)} ({stage.bound})",
            interval(stage.ours.ms),
            "-" if stage.over_floor is None else interval(stage.over_floor),
            stage.what,
        )
        for stage in floor.stages
    ]
    peaks = [(f"copy of {number(copy.n_bytes / 1e6)} MB", f"{number(copy.gb_per_s)} GB/s") for copy in floor.copies]
    peaks += [
        (
            f"{product.kind} product of {product.side}x{product.side}, {product.threads} thread{'s' * (product.threads > 1)}",
            f"{number(product.gmacs_per_s)} GMAC/s",
        )
        for product in floor.products
    ]
    return [
        *_ran("floor", floor.peaks_ran, floor.ran),
        Words(
            f"Where the time of a frame of {_size(floor.picture_wh_px)} with one face goes, and the least that this machine could need: the larger of bytes "
            "over the rate of a copy and operations over the rate of a matrix product (roofline: Williams, Waterman & Patterson 2009, "
            f"doi:10.1145/1498765.1498785). A frame takes {interval(floor.frame.ms)} ms, its floor is {number(floor.frame_floor_ms)} ms: "
            f"{interval(floor.frame_over_floor)} times."
        ),
        Table(("what the machine can do, at best", "measured"), peaks),
        Table(("stage", "runs a frame", "bytes (MB)", "MACs (M)", "floor (ms)", "ours (ms)", "over the floor", "what is counted"), rows),
        Picture(f"{prefix}roofline", "Roofline: what each stage computes a second over its operations a byte, under what the machine can do.", roofline(floor)),
    ]


def roofline(floor: Floor) -> Curves:
    """Return arithmetic a second over arithmetic a byte: the roofs of the machine, and every stage that computes.

    Source: Williams, Waterman & Patterson 2009, Roofline, doi:10.1145/1498765.1498785.
    """
    computing = [stage for stage in floor.stages if stage.macs > 0 and stage.n_bytes > 0]
    places = {stage.name: (stage.macs / stage.n_bytes, stage.macs / stage.ours.ms.estimate / 1e6) for stage in computing}
    fastest = max(floor.copies, key=lambda copy: copy.gb_per_s)
    roofs = {
        f"{product.kind}, copies of {number(copy.n_bytes / 1e6)} MB": (copy.gb_per_s, product.gmacs_per_s)
        for product in floor.products
        for copy in (fastest, floor.copies[-1])
    }
    ends = [*(peak / bandwidth for bandwidth, peak in roofs.values()), *(intensity for intensity, _ in places.values())]
    low, high = min(ends) / 4, max(ends) * 4
    series = []
    for name, (bandwidth, peak) in roofs.items():
        x = [low, peak / bandwidth, high]
        series.append(Series(f"roof: {name}", x, [min(each * bandwidth, peak) for each in x]))
    series += [Series(name, [intensity], [rate], joined=False) for name, (intensity, rate) in places.items()]
    return Curves(series, "multiply-accumulates a byte", "GMAC/s", x_log=True, y_log=True)


def _ran(what: str, *ran: Ran) -> list[Block]:
    reasons = dict.fromkeys(each.invalid for each in ran if each.invalid)
    return [Words(f"INVALID, {what}: {reason}.") for reason in reasons]


def _series(label: str, x: Sequence[float], over: Sequence[Sampled]) -> Series:
    return Series(label, x, [each.ms.estimate for each in over], [(each.ms.low, each.ms.high) for each in over])


def _median(stages: Mapping[str, Sampled], name: str) -> str:
    return number(stages[name].ms.estimate) if name in stages else "-"


def _size(wh_px: tuple[int, int]) -> str:
    return f"{wh_px[0]}x{wh_px[1]}"
