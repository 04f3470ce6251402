"""Counts in place of times, for machines that are never quiet: what they count does not depend on what else runs.

- `instructions` a frame, of the thread that analyses, by callgrind: the networks on the CPU are in it, the decoder's threads and the start are not;
- `calls` of functions a frame, Python's and C's, of the same thread;
- `new_bytes` a frame: memory that came to be in pieces of 4 KiB or more, a copy of a picture among them. An array that an expression makes and drops between
  two calls is not seen; nor is memory that GStreamer or the inference library keeps for itself.

Each side is counted twice, to show whether the count repeats exactly. Where it does not, the verdict is on the whole range.
A count is no time: a cache miss costs as much as a hundred instructions, and callgrind's processor has no AVX-512. A count that holds says that the work did
not grow, not that it is as fast.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.budgets import Budget, Verdict, judge
from benchmarks.estimates import Interval
from benchmarks.gate.blocks import Side, WorkerReport, Workload, check_same_frames, run_worker
from benchmarks.timed_process import RunFailed, progress

REPEATS = 2
NO_VALGRIND = "valgrind is not installed: sudo apt-get install valgrind"
_SAME_EACH_TIME = ("env", "PYTHONHASHSEED=0")  # sets of strings are walked in the same order in every process
_MARK = "getloadavg"  # called by the worker where the counted frames begin and end
_TOTALS = re.compile(r"^(?:totals|summary): (\d+)$", re.MULTILINE)


class Count(msgspec.Struct, frozen=True):
    """One kind of count, each side as many times as it was repeated.

    Attributes:
        name: `instructions`, `calls` or `new_bytes`.
        base: A frame, one number a repeat.
        head: The same.
        not_run: Why there are none; else empty.
    """

    name: str
    base: list[float]
    head: list[float]
    not_run: str = ""

    @property
    def exact(self) -> bool:
        """True where each side gave the same number every time."""
        return len(set(self.base)) == len(set(self.head)) == 1

    def ratio(self) -> Interval:
        """Return head over base: the means' ratio, and the lowest and highest that the repeats allow."""
        middle = sum(self.head) / sum(self.base)
        return Interval(middle, low=min(self.head) / max(self.base), high=max(self.head) / min(self.base))

    def line(self) -> str:
        """Return one line for a person."""
        if self.not_run:
            return f"{self.name:14}not run: {self.not_run}"
        shown = {side: " and ".join(f"{value:,.1f}" for value in values) for side, values in (("base", self.base), ("head", self.head))}
        repeats = "exactly repeatable" if self.exact else "not exactly repeatable"
        return f"{self.name:14}a frame: base {shown['base']}, head {shown['head']}; {repeats}"


def count_both(base: Side, head: Side, workload: Workload) -> list[Count]:
    """Count each side twice.

    Raises:
        RunFailed: A run failed, or the sides do not analyse the same frames.
    """
    reports: dict[str, list[WorkerReport]] = {"base": [], "head": []}
    instructions: dict[str, list[float]] = {"base": [], "head": []}
    valgrind = shutil.which("valgrind")
    for key, side in (("base", base), ("head", head)):
        for number in range(REPEATS):
            progress(f"counting {side.name}, {number + 1} of {REPEATS}{'' if valgrind is None else ': callgrind takes minutes'}")
            report, _ = run_worker(side, workload, wrapper=_SAME_EACH_TIME, count="python")
            check_same_frames("base", (reports["base"] or [report])[0], side.name, report)
            reports[key].append(report)
            if valgrind is not None:
                instructions[key].append(_instructions(side, workload))
    counts = [_python_count(name, reports, workload) for name in ("calls", "new_bytes")]
    return [Count("instructions", instructions["base"], instructions["head"], not_run="" if valgrind is not None else NO_VALGRIND), *counts]


def judge_counts(counts: list[Count], budgets: Mapping[str, Budget]) -> list[Verdict]:
    """Compare each count's ratio of head over base with its limit.

    Args:
        counts: As `count_both` returns them.
        budgets: Of which `gate.instructions`, `gate.calls` and `gate.new_bytes` are used.
    """
    return [judge(f"gate.{count.name}", budgets[f"gate.{count.name}"], None if count.not_run else count.ratio(), not_run=count.not_run) for count in counts]


def _python_count(name: str, reports: Mapping[str, list[WorkerReport]], workload: Workload) -> Count:
    counts: dict[str, list[float]] = {}
    for key, said in reports.items():
        values = [getattr(report, name) for report in said]
        if None in values:
            raise RunFailed(f"{key}: expected a count '{name}' from the worker, got none")
        counts[key] = [value / workload.frames for value in values]
    return Count(name, counts["base"], counts["head"])


def _instructions(side: Side, workload: Workload) -> float:
    with tempfile.TemporaryDirectory(prefix="edge-callgrind-") as folder:
        callgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--dump-before={_MARK}", f"--callgrind-out-file={folder}/out"]
        run_worker(side, workload, wrapper=[*_SAME_EACH_TIME, *callgrind], count="instructions")
        return marked_instructions(Path(folder)) / workload.frames


def marked_instructions(folder: Path) -> int:
    """Return the instructions of the first thread between the worker's two marks.

    callgrind writes a file for each part and thread: `out.1-01` up to the first mark, `out.2-01` between the two.

    Raises:
        RunFailed: There is no such file, or no total in it.
    """
    path = folder / "out.2-01"
    found = _TOTALS.search(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else None
    if found is None:
        names = ", ".join(sorted(each.name for each in folder.iterdir())) or "none"
        raise RunFailed(f"expected callgrind's counts between two marks in {path.name}, got the files {names}")
    return int(found.group(1))
