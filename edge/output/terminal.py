"""What a person sees of a run in the terminal: a line that lives, and a table at its end."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Mapping
from typing import Any, TextIO

from edge.output.rate import RecentRate
from edge.result import FrameResult, top_label

_LIVE_EVERY_NS = 200_000_000  # five times a second: faster cannot be read
_PLAIN_EVERY_NS = 5_000_000_000  # in a log, a line now and then
_N_RECENT_AGES = 300
_BAR_WIDTH = 20


class StatusLine:
    """One line that is drawn over itself where `stream` is a terminal, and a plain line every five seconds where it is not.

    Args:
        stream: Where it goes, as a rule the standard error.
        duration_ns: Length of the source in media time, for progress and time to go; None where it has no known end.
        quiet: Print nothing.
    """

    def __init__(self, stream: TextIO, *, duration_ns: int | None, quiet: bool = False) -> None:
        self._stream = stream
        self._duration_ns = duration_ns
        self._quiet = quiet
        self._live = stream.isatty()
        self._rate = RecentRate()
        self._ages_ms: deque[float] = deque(maxlen=_N_RECENT_AGES)
        self._n_dropped = 0
        self._first_ns: int | None = None
        self._shown_ns: int | None = None
        self._drawn = False

    def update(self, result: FrameResult) -> None:
        """Count a frame, and show the line when its time has come."""
        self._rate.add(result.t_publish_ns)
        self._n_dropped += result.dropped
        if result.age_ms is not None:
            self._ages_ms.append(result.age_ms)
        if self._first_ns is None:
            self._first_ns = self._shown_ns = result.t_publish_ns
        assert self._shown_ns is not None
        if self._quiet or result.t_publish_ns - self._shown_ns < (_LIVE_EVERY_NS if self._live else _PLAIN_EVERY_NS):
            return
        self._shown_ns = result.t_publish_ns
        line = self._fitted(self._parts(result, self._first_ns))
        self._drawn = self._live
        self._write(f"\r{line}\x1b[K" if self._live else f"{line}\n")

    def close(self) -> None:
        """Wipe the line, so that what follows starts at the margin. Closing twice is allowed."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _write(self, text: str) -> None:
        # Nobody reads the line any more where this fails (`2>&1 | head`); the records go on.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def _parts(self, result: FrameResult, first_ns: int) -> list[str]:
        parts = []
        if self._duration_ns:
            part = min(1.0, result.t_media_ns / self._duration_ns)
            elapsed_s = (result.t_publish_ns - first_ns) / 1e9
            to_go = f"  {_clock(elapsed_s * (1 - part) / part)} to go" if part > 0 else ""
            parts.append(f"{part:4.0%}{to_go}")
        else:
            parts.append(_clock(result.t_media_ns / 1e9))
        if (fps := self._rate.fps) is not None:
            parts.append(f"{fps:5.1f} fps")
        if self._ages_ms:
            ages = sorted(self._ages_ms)
            parts.append(f"age {ages[len(ages) // 2]:.0f} ms, p99 {ages[min(len(ages) - 1, len(ages) * 99 // 100)]:.0f}")
        if result.faces or result.status != "ok":  # else nobody looked for any
            parts.append({0: "no face", 1: "1 face"}.get(len(result.faces), f"{len(result.faces)} faces"))
        primary = next((face for face in result.faces if face.primary), None)
        if result.frame is not None and (scores := result.frame.ranked):
            parts.append(f"picture: {_strongest(scores)}")
        if primary is not None and primary.estimate is not None and (scores := primary.estimate.ranked):
            parts.append(_strongest(scores))
        elif primary is not None and primary.status != "ok":
            parts.append(", ".join((primary.status.replace("_", " "), *primary.reasons)))
        if self._n_dropped:
            parts.append(f"{self._n_dropped} dropped")
        return parts

    def _fitted(self, parts: list[str]) -> str:
        width = _columns(self._stream) if self._live else None
        line = "  |  ".join(parts)
        while width is not None and len(line) >= width and len(parts) > 1:
            parts = parts[:-1]  # the last ones matter least
            line = "  |  ".join(parts)
        return line if width is None else line[: width - 1]


def closing_table(report: Mapping[str, Any]) -> str:
    """Return the table that ends a run.

    Args:
        report: What `Summary.report` returned.
    """
    fps = "" if report["fps"] is None else f", {report['fps']:.1f} frames/s"
    dropped = f", {report['dropped']} dropped" if report["dropped"] else ""
    whole = report.get("frame", {})
    followed = f"; {_counted(report['tracks'], 'face')} followed, seen {report['faces']} times" if report["faces"] or not whole else ""
    lines = [
        f"{report['exit']}: {_counted(report['frames'], 'frame')} in {report['seconds']:.1f} s{fps}{dropped}{followed}",
        f"{report['model']} on {report['engine']}, {report['precision']}",
    ]
    lines += _without_numbers(report)
    if "error" in report:
        lines.append(f"error: {report['error']}")
    lines += [f"note: {note}" for note in report["notes"]]
    lines += _times(report)
    lines += _numbers(report, "")
    lines += _numbers(whole, "picture: ")
    return "\n".join(line.rstrip() for line in lines)


def _without_numbers(report: Mapping[str, Any]) -> list[str]:
    statuses = report["statuses"]
    n = statuses["low_quality"] + statuses["warming_up"]
    if not n:
        return []
    if statuses["warming_up"] == report["faces"]:
        why = "warming up to the end, for this package reads a longer stretch of a face"
    else:
        counts = report["reasons"] | ({"warming up": statuses["warming_up"]} if statuses["warming_up"] else {})
        why = ", ".join(reason if len(counts) == 1 else f"{reason} {count}" for reason, count in counts.items())
    return [f"no numbers in {n} of {report['faces']}: {why}"]


def _times(report: Mapping[str, Any]) -> list[str]:
    rows = dict(report["stage_ms"])
    if report["age_ms"] is not None:
        rows["age"] = report["age_ms"]
    if not rows:
        return []
    width = max(12, *(len(name) for name in rows))
    return ["", f"{'ms':<{width}}{'p50':>8}{'p95':>8}{'p99':>8}"] + [
        f"{name:<{width}}{row['p50']:>8.2f}{row['p95']:>8.2f}{row['p99']:>8.2f}" for name, row in rows.items()
    ]


def _numbers(report: Mapping[str, Any], of: str) -> list[str]:
    lines = []
    for role, heading in (("emotions", "emotion"), ("scores", "label")):
        if values := report.get(role):
            strongest_first = sorted(values.items(), key=lambda item: (-item[1]["seconds"], -item[1]["mean"]))
            width = max(12, len(of + heading) + 1, *(len(name) + 1 for name in values))
            lines += ["", f"{of + heading:<{width}}{'seconds':>8}{'mean':>7}"]
            lines += [f"{name:<{width}}{number['seconds']:>8.1f}{number['mean']:>7.2f}  {_bar(number['mean'])}" for name, number in strongest_first]
    if units := report.get("action_units"):
        lines += ["", f"{of + 'action unit':<12}{'':>8}{'mean':>7}"]
        lines += [f"{name:<12}{'':>8}{mean:>7.2f}  {_bar(mean)}" for name, mean in units.items()]
    return lines


def _strongest(scores: Mapping[str, float]) -> str:
    label = top_label(scores)
    return f"{label} {scores[label]:.0%}"


def _bar(value: float) -> str:
    eighths = round(min(max(value, 0.0), 1.0) * _BAR_WIDTH * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80  # a terminal without a size says 0
    except OSError:
        return 80
