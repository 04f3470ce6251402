"""Summaries: counts, percentiles with a known error, and what a person reads at the end."""

from __future__ import annotations

import json
import mmap
import os
import pty
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from edge.errors import OutputError
from edge.output.histogram import DurationHistogram
from edge.output.summary import Summary, rss_mb, write_summary
from edge.output.terminal import StatusLine, closing_table
from edge.result import Estimate, FaceStatus
from tests.output.example_results import a_face, a_picture_estimate, a_picture_result, a_result, an_estimate


def new_summary() -> Summary:
    return Summary(engine="onnxruntime", precision="fp32", model="toy")


@pytest.mark.parametrize("spread", [0.05, 0.5, 3.0])
def test_percentiles_are_within_one_percent(spread: float) -> None:
    durations_ms = np.random.default_rng(1).lognormal(np.log(8.0), spread, 20_000)
    histogram = DurationHistogram()
    for duration_ms in durations_ms:
        histogram.add(float(duration_ms))
    for percent, rank in ((1, 200), (50, 10_000), (95, 19_000), (99, 19_800), (99.9, 19_980), (100, 20_000)):
        exact = np.sort(durations_ms)[rank - 1]
        assert histogram.percentile_ms(percent) == pytest.approx(exact, rel=0.01)
    assert histogram.max_ms == durations_ms.max()
    assert histogram.n == 20_000


def test_percentiles_of_few_and_of_extreme_durations() -> None:
    histogram = DurationHistogram()
    assert histogram.percentile_ms(50) is None
    assert histogram.max_ms is None
    histogram.add(3.7)
    assert histogram.percentile_ms(50) == 3.7  # one value is its own percentile, exactly
    for extreme_ms in (0.0, 1e12):
        histogram.add(extreme_ms)
    assert histogram.percentile_ms(100) == pytest.approx(1e7, rel=0.01)  # the range ends there, as its docstring says
    assert histogram.max_ms == 1e12


def test_counts_and_means() -> None:
    summary = new_summary()
    happy, sad = an_estimate("happy"), an_estimate("sad")
    for seq, faces in enumerate(
        [
            (a_face(estimate=happy),),
            (a_face(estimate=happy), a_face(track=8, estimate=sad, primary=False)),
            (a_face(estimate=sad), a_face(track=8, estimate=sad, primary=False)),
            (),
            (a_face(estimate=sad),),
            (a_face(status="low_quality", reasons=("blur",)),),
            (a_face(estimate=sad),),
        ]
    ):
        summary.add(a_result(*faces, seq=seq, dropped=seq % 2))
    summary.note("fell back")
    summary.note("fell back")
    report = summary.report("done")
    assert (report["frames"], report["faces"], report["tracks"], report["dropped"]) == (7, 8, 2, 3)
    assert report["seconds"] == pytest.approx(6 * 0.04 + 0.005)
    assert report["fps"] == pytest.approx(7 / 0.245, abs=0.01)
    # 0.04 s each: track 7 happy in frame 1, sad in 2; track 8 sad in 2. Frames 4 and 6 follow one that said nothing of it: they add none.
    assert report["emotions"]["happy"] == {"seconds": 0.04, "mean": pytest.approx((2 * 0.7 + 5 * 0.05) / 7, abs=1e-4)}
    assert report["emotions"]["sad"]["seconds"] == 0.08
    assert report["action_units"]["AU12"] == 0.4
    assert "AU9" not in report["action_units"]
    assert report["notes"] == ["fell back"]
    assert report["statuses"] == {"ok": 7, "warming_up": 0, "low_quality": 1}
    assert report["reasons"] == {"blur": 1}
    assert report["age_ms"] is None
    assert report["stage_ms"]["infer"]["p50"] == 2.0


def test_ages_of_paced_sources() -> None:
    summary = new_summary()
    for seq in range(100):
        summary.add(a_result(seq=seq, age_ms=10.0 if seq < 99 else 80.0))
    age = summary.report("interrupted")["age_ms"]
    assert age == {"p50": pytest.approx(10, rel=0.01), "p95": pytest.approx(10, rel=0.01), "p99": pytest.approx(10, rel=0.01), "max": 80.0}


def test_memory_does_not_grow_with_the_run() -> None:
    summary = new_summary()
    held = [len(value) for value in vars(summary).values() if hasattr(value, "__len__")]
    for seq in range(5000):
        summary.add(a_result(a_face(track=seq), seq=seq, age_ms=float(seq)))
    grown = [len(value) for value in vars(summary).values() if hasattr(value, "__len__")]
    assert max(grown) <= 1024
    assert len(grown) == len(held)
    assert summary.report("done")["tracks"] == 5000


def test_rss_is_what_the_kernel_says() -> None:
    before_mb = rss_mb()
    ballast = np.frombuffer(mmap.mmap(-1, 200_000_000), np.uint8)  # fresh from the kernel: an allocator may have had such memory already
    ballast[:] = 1
    assert rss_mb() - before_mb == pytest.approx(200, abs=20)
    assert ballast[0] == 1


def test_summary_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    report = new_summary().report("failed", error="the camera went away")
    write_summary(report, path)
    assert json.loads(path.read_text()) == report
    assert report["error"] == "the camera went away"
    assert os.listdir(tmp_path) == ["summary.json"]
    with pytest.raises(OutputError, match=r"the summary could not be written to .*: No such file or directory"):
        write_summary(report, tmp_path / "absent" / "summary.json")
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match="Is a directory"):
        write_summary(report, path)
    assert os.listdir(tmp_path) == ["summary.json"]  # no rest of the attempt


def test_closing_table_says_what_was_seen() -> None:
    summary = new_summary()
    for seq in range(50):
        summary.add(a_result(a_face(), seq=seq, age_ms=12.0, dropped=1))
    summary.note("no GPU: the CPU runs the networks")
    table = closing_table(summary.report("done"))
    assert "done: 50 frames in 2.0 s, 25.4 frames/s, 50 dropped; 1 face followed, seen 50 times" in table
    assert "note: no GPU: the CPU runs the networks" in table
    assert re.search(r"^infer +2\.00 +2\.00 +2\.00$", table, re.MULTILINE)
    assert re.search(r"^age +12\.\d\d", table, re.MULTILINE)
    assert re.search(r"^happy +2\.0 +0\.70  █{14}$", table, re.MULTILINE)
    assert re.search(r"^AU12 +0\.40  █{8}$", table, re.MULTILINE)
    assert "AU9 " not in table


@pytest.mark.parametrize(
    ("n_ok", "poor", "line"),
    [
        (3, [("low_quality", ("no sound",))] * 97, "no numbers in 97 of 100: no sound"),
        (0, [("warming_up", ())] * 4 + [("low_quality", ("no sound",))] * 8, "no numbers in 12 of 12: no sound 8, warming up 4"),
        (9, [("low_quality", ("blur",)), ("low_quality", ("yaw>35", "blur"))], "no numbers in 2 of 11: blur 2, yaw>35 1"),
        (6, [("warming_up", ())] * 4, "no numbers in 4 of 10: warming up"),
        (0, [("warming_up", ())], "no numbers in 1 of 1: warming up to the end, for this package reads a longer stretch of a face"),
        (5, [], None),
    ],
)
def test_closing_table_says_why_there_are_no_numbers(n_ok: int, poor: list[tuple[FaceStatus, tuple[str, ...]]], line: str | None) -> None:
    summary = new_summary()
    faces = [a_face()] * n_ok + [a_face(status=status, reasons=reasons) for status, reasons in poor]
    for seq, face in enumerate(faces):
        summary.add(a_result(face, seq=seq))
    table = closing_table(summary.report("done")).splitlines()
    assert [text for text in table if text.startswith("no numbers")] == ([] if line is None else [line])


def test_closing_table_of_a_run_without_frames() -> None:
    table = closing_table(new_summary().report("failed", error="no frame"))
    assert table.splitlines() == ["failed: 0 frames in 0.0 s; 0 faces followed, seen 0 times", "toy on onnxruntime, fp32", "error: no frame"]


def test_plain_status_lines_come_every_five_seconds() -> None:
    stream = StringIO()
    status = StatusLine(stream, duration_ns=20_000_000_000)
    for seq in range(401):  # 16 s
        status.update(a_result(a_face(), seq=seq, dropped=1))
    status.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0] == " 25%  0:15 to go  |   25.0 fps  |  1 face  |  happy 70%  |  126 dropped"


def test_quiet_prints_nothing() -> None:
    stream = StringIO()
    status = StatusLine(stream, duration_ns=None, quiet=True)
    for seq in range(1000):
        status.update(a_result(seq=seq))
    status.close()
    assert stream.getvalue() == ""


def _on_terminal(columns: int) -> str:
    import fcntl
    import struct
    import termios

    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(writer, "w") as stream:
        status = StatusLine(stream, duration_ns=None)
        for seq in range(51):  # 2 s
            status.update(a_result(a_face(status="low_quality", reasons=("blur",)), seq=seq, age_ms=12.0))
        status.close()
        text = b""
        while not text.endswith(b"\r\x1b[K"):
            text += os.read(reader, 100_000)
    os.close(reader)
    return text.decode()


def test_live_status_line_is_drawn_over_itself_and_wiped() -> None:
    drawn = _on_terminal(120).split("\r")[1:]
    assert len(drawn) == 11  # five times a second, and the wiping
    assert drawn[-2] == "0:02  |   25.0 fps  |  age 12 ms, p99 12  |  1 face  |  low quality, blur\x1b[K"
    assert drawn[-1] == "\x1b[K"


@pytest.mark.parametrize("columns", [50, 20, 4])
def test_live_status_line_fits_its_terminal(columns: int) -> None:
    drawn = [line.removesuffix("\x1b[K") for line in _on_terminal(columns).split("\r")[1:]]
    assert all(len(line) < columns for line in drawn)
    # Whole parts, as many as fit; only the first one may be cut.
    assert drawn[-2] == {50: "0:02  |   25.0 fps  |  age 12 ms, p99 12", 20: "0:02  |   25.0 fps", 4: "0:0"}[columns]


def test_scores_of_other_labels_are_no_emotions() -> None:
    summary = new_summary()
    for seq in range(3):
        summary.add(a_result(a_face(estimate=Estimate(scores={"calm": 1.0, "tense": 0.0})), seq=seq))
    report = summary.report("done")
    assert report["emotions"] == {}
    assert report["scores"] == {"calm": {"seconds": 0.08, "mean": 1.0}, "tense": {"seconds": 0.0, "mean": 0.0}}
    assert re.search(r"^label +seconds +mean$", closing_table(report), re.MULTILINE)
    assert "frame" not in report


def test_whole_pictures_have_seconds_and_means_of_their_own() -> None:
    summary = new_summary()
    for seq, sadness in enumerate([0.8, 0.8, 0.8, 0.4]):
        summary.add(a_picture_result(seq=seq, sadness=sadness))
    report = summary.report("done")
    assert report["frame"] == {"scores": {"sadness": {"seconds": 0.08, "mean": 0.7}, "not sadness": {"seconds": 0.04, "mean": 0.3}}}
    assert (report["faces"], report["emotions"]) == (0, {})
    table = closing_table(report)
    assert "face" not in table  # nobody looked for any
    assert re.search(r"^picture: label +seconds +mean$", table, re.MULTILINE)
    assert re.search(r"^sadness +0\.1 +0\.70  █{14}$", table, re.MULTILINE)


def test_pictures_without_numbers_are_noted() -> None:
    summary = Summary(engine="onnxruntime", precision="fp32", model="toy", reads_pictures=True)
    summary.add(a_picture_result())
    assert summary.report("done")["notes"] == []
    summary.add(a_result(seq=1, looks_for_faces=False))
    report = summary.report("done")
    assert "note: no numbers of the whole picture in 1 of 2 frames: its networks gave none" in closing_table(report)
    assert report["frame"]["scores"]["sadness"]["mean"] == 0.8


def test_status_line_of_whole_pictures() -> None:
    for frame, faces, expected in (
        (a_picture_estimate(), (), "25.0 fps  |  picture: sadness 80%"),
        (a_picture_estimate(), (a_face(),), "25.0 fps  |  1 face  |  picture: sadness 80%  |  happy 70%"),
        (None, (a_face(estimate=Estimate(scores={"calm": 0.6, "tense": 0.4})),), "25.0 fps  |  1 face  |  calm 60%"),
    ):
        stream = StringIO()
        status = StatusLine(stream, duration_ns=None)
        for seq in range(130):
            status.update(a_result(*faces, seq=seq, frame=frame, looks_for_faces=bool(faces)))
        assert stream.getvalue().splitlines()[0].endswith(expected)
