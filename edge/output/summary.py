"""What a run amounted to: the record `edge.summary/1`."""

from __future__ import annotations

import contextlib
import os
import resource
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from edge.errors import OutputError
from edge.output.histogram import DurationHistogram
from edge.result import Estimate, FaceStatus, FrameResult, top_label

SUMMARY_SCHEMA = "edge.summary/1"

Exit = Literal["done", "interrupted", "failed"]

_RSS_EVERY_NS = 1_000_000_000  # often enough to see growth; reading it costs some microseconds
_N_RECENT_TRACKS = 1024


class Summary:
    """Counts, sums and percentiles over a run, in memory that does not grow with it.

    Args:
        engine: The inference library, at the start.
        precision: What it computes in.
        model: Name of the package.
        reads_pictures: Every frame should have numbers of its own; those that have none are noted.
    """

    def __init__(self, *, engine: str, precision: str, model: str, reads_pictures: bool = False) -> None:
        self._engine = engine
        self._precision = precision
        self._model = model
        self._reads_pictures = reads_pictures
        self._notes: list[str] = []
        self._n_frames = self._n_faces = self._n_dropped = self._n_tracks = self._n_blank = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._age = DurationHistogram()
        self._stages: dict[str, DurationHistogram] = {}
        self._of_faces, self._of_frames = _Tally(), _Tally()
        self._statuses: dict[str, int] = dict.fromkeys(get_args(FaceStatus), 0)
        self._reasons: Counter[str] = Counter()
        self._recent_tracks: OrderedDict[int, None] = OrderedDict()
        self._ok_media_ns: dict[int, int] = {}
        self._frame_media_ns: int | None = None
        self._rss_start_mb = self._rss_max_mb = rss_mb()
        self._rss_read_ns = 0

    def note(self, text: str) -> bool:
        """Keep something that the reader should know, such as a fallback. Return whether it is new: the same text is kept once."""
        if text in self._notes:
            return False
        self._notes.append(text)
        return True

    def served_by(self, engine: str, precision: str) -> None:
        """Say what runs the networks now, where that is another one than at the start."""
        self._engine, self._precision = engine, precision

    def add(self, result: FrameResult) -> None:
        """Count one frame."""
        if self._first_ns is None:
            self._first_ns = result.t_capture_ns
        self._last_ns = result.t_publish_ns
        self._n_frames += 1
        self._n_faces += len(result.faces)
        self._n_dropped += result.dropped
        if result.age_ms is not None:
            self._age.add(result.age_ms)
        for stage, ms in result.stage_ms.items():
            self._stages.setdefault(stage, DurationHistogram()).add(ms)
        for face in result.faces:
            self._count_track(face.track)
            self._statuses[face.status] += 1
            self._reasons.update(face.reasons)
            if face.estimate is not None:
                self._of_faces.add(face.estimate, since_ns=self._ok_media_ns.get(face.track), t_media_ns=result.t_media_ns)
        if result.frame is not None:
            self._of_frames.add(result.frame, since_ns=self._frame_media_ns, t_media_ns=result.t_media_ns)
            self._frame_media_ns = result.t_media_ns
        elif self._reads_pictures:
            self._n_blank += 1
        self._ok_media_ns = {face.track: result.t_media_ns for face in result.faces if face.status == "ok"}
        if result.t_publish_ns - self._rss_read_ns >= _RSS_EVERY_NS:
            self._rss_read_ns = result.t_publish_ns
            self._rss_max_mb = max(self._rss_max_mb, rss_mb())

    def report(self, exit_: Exit, *, error: str | None = None) -> dict[str, Any]:
        """Return the contract's JSON object.

        `seconds` reaches from the first frame's capture to the last record; `faces` counts faces over all frames, `tracks` different ones (one that comes back
        after 1,024 others counts again). `statuses` splits `faces`, of which only those that are `ok` have numbers; `reasons` says for how many faces each
        was given, the most frequent first, and a face may have several. Percentiles are within 1 %. `emotions` holds the seconds of media time during which
        each was the strongest, summed over faces, and its mean probability; `action_units` the means; `scores` the same as `emotions` for labels of the
        package's own, where it has any; `frame` all three for what is said of whole pictures, where anything is.

        Args:
            exit_: How the run ended.
            error: Why, where it failed.
        """
        seconds = 0.0 if self._first_ns is None else (self._last_ns - self._first_ns) / 1e9
        rss_end_mb = rss_mb()
        blank = [f"no numbers of the whole picture in {self._n_blank} of {self._n_frames} frames: its networks gave none"] if self._n_blank else []
        return {
            "schema": SUMMARY_SCHEMA,
            "frames": self._n_frames,
            "faces": self._n_faces,
            "tracks": self._n_tracks,
            "statuses": dict(self._statuses),
            "reasons": dict(self._reasons.most_common()),
            "dropped": self._n_dropped,
            "seconds": round(seconds, 3),
            "fps": round(self._n_frames / seconds, 2) if seconds > 0 else None,
            "age_ms": _percentiles(self._age) | {"max": _rounded(self._age.max_ms)} if self._age.n else None,
            "stage_ms": {stage: _percentiles(histogram) for stage, histogram in self._stages.items()},
            "engine": self._engine,
            "precision": self._precision,
            "model": self._model,
            "exit": exit_,
            **({"error": error} if error is not None else {}),
            "notes": self._notes + blank,
            **({"emotions": {}, "action_units": {}} | self._of_faces.report()),
            **({"frame": whole} if (whole := self._of_frames.report()) else {}),
            "rss_mb": {"start": self._rss_start_mb, "end": rss_end_mb, "max": max(self._rss_max_mb, rss_end_mb)},
        }

    def _count_track(self, track: int) -> None:
        if track not in self._recent_tracks:
            self._n_tracks += 1
            if len(self._recent_tracks) == _N_RECENT_TRACKS:
                self._recent_tracks.popitem(last=False)
        self._recent_tracks[track] = None
        self._recent_tracks.move_to_end(track)


class _Tally:
    """Means of numbers, and how long each label was the strongest."""

    def __init__(self) -> None:
        self._means: dict[str, dict[str, _Mean]] = {"emotions": {}, "action_units": {}, "scores": {}}
        self._seconds: dict[str, dict[str, float]] = {"emotions": {}, "scores": {}}

    def add(self, estimate: Estimate, *, since_ns: int | None, t_media_ns: int) -> None:
        """The time since the frame before belongs to what is seen now; None where the same was away or unclear then: there is no such time."""
        for role, values in (("emotions", estimate.emotions), ("action_units", estimate.action_units), ("scores", estimate.scores)):
            if values is None:
                continue
            for name, value in values.items():
                self._means[role].setdefault(name, _Mean()).add(value)
            if since_ns is not None and role in self._seconds:
                strongest = top_label(values)
                self._seconds[role][strongest] = self._seconds[role].get(strongest, 0.0) + (t_media_ns - since_ns) / 1e9

    def report(self) -> dict[str, Any]:
        """What there was, by role."""
        report: dict[str, Any] = {}
        for role, means in self._means.items():
            if role == "action_units":
                values: dict[str, Any] = {name: round(mean.value, 4) for name, mean in means.items()}
            else:
                seconds = self._seconds[role]
                values = {name: {"seconds": round(seconds.get(name, 0.0), 3), "mean": round(mean.value, 4)} for name, mean in means.items()}
            if values:
                report[role] = values
        return report


class _Mean:
    def __init__(self) -> None:
        self._n = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        self._n += 1
        self.value += (value - self.value) / self._n


def write_summary(report: dict[str, Any], path: Path) -> None:
    """Write a summary so that a reader finds the old file or the whole new one, never half of it.

    Args:
        report: What `Summary.report` returned.
        path: The file.

    Raises:
        OutputError: It could not be written.
    """
    text = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OutputError(f"the summary could not be written to {path}: {error.strerror}", hint="make room, or choose another place with --summary") from error


def rss_mb() -> float:
    """Return the memory that this process occupies now, in MB of 1e6 bytes."""
    resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(resident_pages * resource.getpagesize() / 1e6, 1)


def _percentiles(histogram: DurationHistogram) -> dict[str, float | None]:
    return {f"p{percent}": _rounded(histogram.percentile_ms(percent)) for percent in (50, 95, 99)}


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)
