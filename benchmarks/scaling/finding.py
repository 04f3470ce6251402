"""What `python -m benchmarks scaling` reports: five curves, each measured apart, and the floor."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from benchmarks.budgets import Verdict
from benchmarks.estimates import Interval, median_interval
from edge.package import Precision

Bound = Literal["memory", "arithmetic"]
Kind = Literal["float32", "int8"]


class Sampled(msgspec.Struct, frozen=True):
    """A duration.

    Attributes:
        ms: Median with its 95 % interval.
        samples_ms: Every sample, in the order in which they were taken.
    """

    ms: Interval
    samples_ms: list[float]


class Ran(msgspec.Struct, frozen=True):
    """On what something was measured.

    Attributes:
        engine: What ran the networks, in its own words; empty where none ran.
        precision: Of the networks; None where none ran.
        machine: How it was before and after, and what others did on it; as of `MachineWatch.end`.
        invalid: Why the samples cannot be trusted; empty where they can.
    """

    engine: str
    precision: Precision | None
    machine: dict[str, Any]
    invalid: str


class Fit(msgspec.Struct, frozen=True):
    """A straight line through the medians of the points with at least one face: milliseconds = `fixed_ms` + `each_ms` * faces.

    Attributes:
        fixed_ms: What a frame costs beside its faces.
        each_ms: What each face adds.
        worst_ms: The largest distance of a median from the line: how straight the curve is.
    """

    fixed_ms: Interval
    each_ms: Interval
    worst_ms: float


class FacePoint(msgspec.Struct, frozen=True):
    """Pictures with some faces.

    Attributes:
        drawn: Faces that were put into the picture.
        found: Faces with a result, mean over the frames that were timed: the abscissa.
        whole: A frame, from the decoded picture to its result; one sample is the mean of `frames_a_sample` frames.
        stages: The same for `detect`, `crop`, `infer` and `post` (decoding of the answers, tracking, smoothing), and `other`: what is between them.
        slowest_frame_ms: Of the frames that were timed.
    """

    drawn: int
    found: float
    whole: Sampled
    stages: dict[str, Sampled]
    slowest_frame_ms: float


class FaceScaling(msgspec.Struct, frozen=True):
    """Cost against faces in the picture, while they are being followed.

    Attributes:
        picture_wh_px: Size of every picture.
        frames_a_sample: Frames of one sample: in them the search for newcomers has had each view of the picture.
        ran: On what.
        points: By faces drawn, ascending. The first one, without faces, is of another kind: the whole picture is searched in every frame.
        fits: The line of `whole` and of each stage, over the points with faces.
        lost_at: Faces at which the line of `whole` reaches the period of 25 frames/s; None where it does not rise.
        largest_measured: Most faces found: a `lost_at` above is read off the line, not measured.
    """

    picture_wh_px: tuple[int, int]
    frames_a_sample: int
    ran: Ran
    points: list[FacePoint]
    fits: dict[str, Fit]
    lost_at: Interval | None
    largest_measured: float


class Stream(msgspec.Struct, frozen=True):
    """One of several processes of edge-run, each with a source of its own, while all of them ran.

    Attributes:
        due: Frames that a camera of this rate takes in that time.
        results: Frames with a result.
        dropped: Frames that came and were overwritten by the next one.
        late: Frames that were due and did not come: the decoder did not keep up.
        with_face: Results with a face.
        ages_ms: Of every result, in order.
        p50_ms: Of the ages; None without any.
        p99_ms: The same.
        pss_mb: Its memory at the end, what it shares with others counted in shares.
        cpu_share: Of one core.
    """

    due: int
    results: int
    dropped: int
    late: int
    with_face: int
    ages_ms: list[float]
    p50_ms: float | None
    p99_ms: float | None
    pss_mb: float
    cpu_share: float


class StreamPoint(msgspec.Struct, frozen=True):
    """Some streams at once.

    Attributes:
        n: How many.
        lost: Frames of all of them that have no result: dropped and late.
        age_p99_ms: Over the ages of all streams.
        pss_mb: Memory of all of them together.
        streams: Each of them.
        ran: On what.
    """

    n: int
    lost: int
    age_p99_ms: float | None
    pss_mb: float
    streams: list[Stream]
    ran: Ran


class StreamScaling(msgspec.Struct, frozen=True):
    """Cost against streams, a process of edge-run for each, decoding included.

    Attributes:
        fps: Of each source.
        window_s: How long was measured, all streams running.
        points: By number, ascending.
        most_without_loss: The largest number that was measured without a lost frame, all smaller ones being without too; 0 where there is none.
        first_with_loss: The smallest number that was measured with one; None where there is none.
        not_run: Why larger numbers were not measured; empty where all were.
    """

    fps: float
    window_s: float
    points: list[StreamPoint]
    most_without_loss: int
    first_with_loss: int | None
    not_run: str


class SizePoint(msgspec.Struct, frozen=True):
    """The same content in one size.

    Attributes:
        name: Such as `720p`.
        wh_px: Width and height.
        coding: Of the file that is decoded.
        read: Decoding and conversion, a frame where nothing else is done; as many threads as the decoder takes. One sample is the mean of a pass.
        read_cpu: CPU time of the same, over all threads.
        convert: Of it, the conversion of raw video to RGB.
        path: From the RGB picture to its result; one sample is as of `FacePoint`.
        stages: As of `FacePoint`.
        found: Faces with a result, mean over the frames.
        ran: On what.
    """

    name: str
    wh_px: tuple[int, int]
    coding: str
    read: Sampled
    read_cpu: Sampled
    convert: Sampled
    path: Sampled
    stages: dict[str, Sampled]
    found: float
    ran: Ran


class SizeScaling(msgspec.Struct, frozen=True):
    """Cost against pixels of the picture: the clip, enlarged, which has no more detail to decode than before.

    Attributes:
        points: By size, ascending.
    """

    points: list[SizePoint]


class ModelPoint(msgspec.Struct, frozen=True):
    """A network, timed alone.

    Attributes:
        name: Package and stage, or architecture.
        trained: False for random weights: a time does not depend on them.
        precision: Of the network.
        macs: Multiplications with a sum behind them, for one input.
        parameters: Numbers in its weights and biases.
        weight_bytes: What these take in the precision: 4 bytes each, or 1.
        batch: Inputs of one run.
        threads: Of one run.
        run: One run.
        first_ms: The first one, no sample.
        gmacs_per_s: Arithmetic done, by the median.
    """

    name: str
    trained: bool
    precision: Precision
    macs: int
    parameters: int
    weight_bytes: int
    batch: int
    threads: int
    run: Sampled
    first_ms: float
    gmacs_per_s: float


class ModelScaling(msgspec.Struct, frozen=True):
    """Cost against the size of the network, on the CPU.

    Attributes:
        runs: On what, for each number of threads; all networks take turns in it. The precision is each point's own.
        points: In the order of the networks, then by threads and batch.
        not_run: A line for each network that could not be measured, with the reason.
    """

    runs: list[Ran]
    points: list[ModelPoint]
    not_run: list[str]


class Copied(msgspec.Struct, frozen=True):
    """Memory copied on one thread.

    Attributes:
        n_bytes: Read; as many are written.
        gb_per_s: Bytes read and written a second, in 1e9; the best of `samples`, as STREAM has it.
        samples: Each copy's.

    Source: McCalpin 1995, Memory Bandwidth and Machine Balance in Current High Performance Computers (STREAM).
    """

    n_bytes: int
    gb_per_s: float
    samples: list[float]


class Multiplied(msgspec.Struct, frozen=True):
    """A product of two matrices in the library that runs the networks.

    Attributes:
        kind: Of its factors: float32, or 8-bit integers summed in 32 bits.
        side: Rows and columns of each factor: of the sizes that were tried, the fastest.
        threads: As many as a network gets.
        gmacs_per_s: Multiply-accumulates a second, in 1e9; the best of `samples`.
        samples: Each product's.
    """

    kind: Kind
    side: int
    threads: int
    gmacs_per_s: float
    samples: list[float]


class FloorStage(msgspec.Struct, frozen=True):
    """A stage against what the machine could do.

    Attributes:
        name: Of the stage.
        runs_a_frame: How often it runs: 1, or a fraction where it runs at looks for newcomers alone.
        n_bytes: Read and written by one run at least: what comes in, what goes out, weights; nothing twice.
        macs: Multiply-accumulates of one run.
        kind: Of the numbers that are multiplied.
        copy_bytes: Of the copy whose rate `n_bytes` is held against: the smallest that moves as much.
        memory_ms: `n_bytes` at that rate.
        arithmetic_ms: `macs` at the rate of a matrix product.
        floor_ms: The larger one.
        bound: Which one that is.
        ours: What one run takes.
        over_floor: `ours` over `floor_ms`; None under a microsecond, of which a multiple says nothing.
        what: Which bytes and operations these are.
    """

    name: str
    runs_a_frame: float
    n_bytes: int
    macs: int
    kind: Kind
    copy_bytes: int
    memory_ms: float
    arithmetic_ms: float
    floor_ms: float
    bound: Bound
    ours: Sampled
    over_floor: Interval | None
    what: str


class Floor(msgspec.Struct, frozen=True):
    """Where the time of a frame with one face goes, and the least that this machine could need for it; decoding is outside.

    Attributes:
        peaks_ran: On what copies and products were measured.
        ran: On what the path was measured.
        picture_wh_px: Of the frames.
        face_px: Long side of the face's box, mean.
        copies: Memory, by size, ascending; the last one is far larger than usual caches.
        products: Arithmetic.
        stages: In the order of the path.
        frame: From raw video to the result, a sample as of `FacePoint`.
        frame_floor_ms: The sum of the stages' floors, each as often as it runs.
        frame_over_floor: `frame` over that.

    Source: Williams, Waterman & Patterson 2009, Roofline, doi:10.1145/1498765.1498785.
    """

    peaks_ran: Ran
    ran: Ran
    picture_wh_px: tuple[int, int]
    face_px: float
    copies: list[Copied]
    products: list[Multiplied]
    stages: list[FloorStage]
    frame: Sampled
    frame_floor_ms: float
    frame_over_floor: Interval


class ScalingReport(msgspec.Struct, frozen=True):
    """The whole report; a curve that was not asked for, or could not be measured, is None.

    Attributes:
        schema: `edge.benchmark.scaling/1`.
        clip: What streams, frame sizes and the floor show.
        quick: Fewer points and samples.
        machine: On what it was measured.
        load_after: Load averages at the end.
        faces: Cost against faces.
        streams: Cost against streams.
        frame_sizes: Cost against pixels.
        model_sizes: Cost against networks.
        floor: Ours over the floor.
        built: What was made for it, untrained.
        not_run: A line for each curve that was asked for and could not be measured, with the reason.
        verdicts: Of the budgets, and of whether the runs can be trusted.
    """

    schema: str
    clip: str
    quick: bool
    machine: dict[str, Any]
    load_after: list[float]
    faces: FaceScaling | None
    streams: StreamScaling | None
    frame_sizes: SizeScaling | None
    model_sizes: ModelScaling | None
    floor: Floor | None
    built: list[str]
    not_run: list[str]
    verdicts: list[Verdict]


def sampled(samples_ms: list[float]) -> Sampled:
    """Return a duration with the median of its samples.

    Raises:
        ValueError: There are fewer than two samples.
    """
    return Sampled(median_interval(samples_ms), samples_ms)
