"""The report for a person at a terminal."""

from __future__ import annotations

from benchmarks.estimates import Interval
from benchmarks.scaling.finding import FaceScaling, Floor, FloorStage, ModelScaling, Ran, SizeScaling, StreamScaling
from benchmarks.scaling.followed_path import FPS


def face_lines(faces: FaceScaling) -> list[str]:
    """Return a line for each number of faces, one for the straight line and one for where it leaves real time."""
    names = [*faces.points[0].stages]
    width, height = faces.picture_wh_px
    lines = [
        f"faces in {width}x{height}, {_ran(faces.ran)}; ms a frame, median of means of {faces.frames_a_sample} frames",
        f"{'drawn':>7}{'found':>7}{'frame':>26}" + "".join(f"{name:>9}" for name in names) + f"{'slowest':>9}",
    ]
    lines += [
        f"{point.drawn:7}{point.found:7.1f}{_ms(point.whole.ms):>26}"
        + "".join(f"{point.stages[name].ms.estimate:9.2f}" for name in names)
        + f"{point.slowest_frame_ms:9.1f}"
        + ("  no face: every view is searched in every frame" if point.drawn == 0 else "")
        for point in faces.points
    ]
    whole = faces.fits["whole"]
    lines.append(f"a frame takes {_ms(whole.fixed_ms)} ms and {_ms(whole.each_ms)} ms for each face; medians lie up to {whole.worst_ms:.2f} ms off that line")
    if faces.lost_at is None:
        return [*lines, f"{FPS:g} frames/s: not to be said, for the line does not surely rise"]
    beyond = f", read off the line: {faces.largest_measured:.0f} were measured" if faces.lost_at.estimate > faces.largest_measured else ""
    return [*lines, f"{FPS:g} frames/s are lost at {_interval(faces.lost_at, 1)} faces{beyond}"]


def stream_lines(streams: StreamScaling) -> list[str]:
    """Return a line for each number of streams, and the largest one without a lost frame."""
    lines = [f"streams of {streams.fps:g} frames/s, a process of edge-run each, which decodes its own clip, {streams.window_s:g} s"]
    for point in streams.points:
        due, dropped, late = (sum(values) for values in zip(*((each.due, each.dropped, each.late) for each in point.streams), strict=True))
        age = "no result" if point.age_p99_ms is None else f"age p99 {point.age_p99_ms:.1f} ms"
        cores = sum(each.cpu_share for each in point.streams)
        told = f"{dropped} dropped and {late} late of {due}, {age}, {point.pss_mb:.0f} MB, {cores:.2f} cores busy"
        lines.append(f"{point.n:7}  {told}{_invalid(point.ran)}")
    first = "none that was tried lost any" if streams.first_with_loss is None else f"{streams.first_with_loss} lost some"
    most = streams.most_without_loss
    lines.append(f"{most} stream{'s' * (most != 1)} without a lost frame; {first}")
    return [*lines, *([streams.not_run] if streams.not_run else [])]


def size_lines(sizes: SizeScaling) -> list[str]:
    """Return a line for each frame size."""
    lines = ["frame size; ms a frame: read = decoding and conversion to RGB, path = from RGB to the result, which runs beside it"]
    lines.append(f"{'':>7}{'read':>26}{'read, CPU':>11}{'convert':>9}{'path':>26}{'detect':>9}{'crop':>9}{'infer':>9}")
    for point in sizes.points:
        stages = "".join(f"{point.stages[name].ms.estimate:9.2f}" for name in ("detect", "crop", "infer"))
        read = f"{_ms(point.read.ms):>26}{point.read_cpu.ms.estimate:11.2f}{point.convert.ms.estimate:9.2f}"
        lines.append(f"{point.name:>7}{read}{_ms(point.path.ms):>26}{stages}  {point.coding}{_invalid(point.ran)}")
    return lines


def model_lines(models: ModelScaling) -> list[str]:
    """Return a line for each network, precision and number of threads."""
    lines = ["model size; ms of one run"] + [f"{ran.engine}{_invalid(ran)}" for ran in models.runs]
    lines.append(f"{'network':28}{'':>6}{'threads':>8}{'batch':>6}{'MMAC':>9}{'weights MB':>11}{'ms':>26}{'GMAC/s':>8}")
    for point in models.points:
        size = f"{point.macs / 1e6:9.1f}{point.weight_bytes / 1e6:11.2f}"
        lines.append(f"{point.name:28}{point.precision:>6}{point.threads:8}{point.batch:6}{size}{_ms(point.run.ms):>26}{point.gmacs_per_s:8.1f}")
    return lines + models.not_run


def floor_lines(floor: Floor) -> list[str]:
    """Return what the machine can do, a line for each stage, and the frame over its floor."""
    width, height = floor.picture_wh_px
    lines = [f"floor of a frame of {width}x{height} with one face of {floor.face_px:.0f} px, {_ran(floor.ran)}"]
    copied = ", ".join(f"{_size(each.n_bytes)} {each.gb_per_s:.1f}" for each in floor.copies)
    lines.append(f"copies, GB/s read and written, one thread, by size: {copied}")
    multiplied = ", ".join(f"{each.kind} {each.gmacs_per_s:.1f} ({each.threads} thread{'s' * (each.threads > 1)})" for each in floor.products)
    lines.append(f"matrix products, GMAC/s: {multiplied}{_invalid(floor.peaks_ran)}")
    lines.append(f"{'stage':24}{'a frame':>8}{'MB':>9}{'MMAC':>9}{'floor ms':>10}  {'bound':12}{'ours, ms':>26}{'times the floor':>18}")
    lines += [_stage_line(stage) for stage in floor.stages]
    lines.append(f"frame: {_ms(floor.frame.ms)} ms over a floor of {floor.frame_floor_ms:.3f} ms: {_interval(floor.frame_over_floor, 1)} times")
    return lines


def _stage_line(stage: FloorStage) -> str:
    work = f"{stage.runs_a_frame:8.1f}{stage.n_bytes / 1e6:9.3f}{stage.macs / 1e6:9.1f}{stage.floor_ms:10.4f}"
    times = "-" if stage.over_floor is None else f"{stage.over_floor.estimate:.1f}"
    return f"{stage.name:24}{work}  {stage.bound:12}{_ms(stage.ours.ms):>26}{times:>18}"


def _ran(ran: Ran) -> str:
    return f"{ran.engine} in {ran.precision}{_invalid(ran)}"


def _invalid(ran: Ran) -> str:
    return f" (invalid: {ran.invalid})" if ran.invalid else ""


def _ms(ms: Interval) -> str:
    return _interval(ms, 2)


def _interval(interval: Interval, digits: int) -> str:
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _size(n_bytes: int) -> str:
    return f"{n_bytes >> 10} KiB" if n_bytes < 1 << 20 else f"{n_bytes >> 20} MiB"
