"""Processes of edge-run that run until they are stopped, and what they use meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.peer_run import EDGE_RUN, RESULT_FILE
from benchmarks.timed_process import REPOSITORY, STDERR_LINES, RunFailed

_STOP_S = 30.0
_POLL_S = 0.05


class EdgeRun:
    """A running edge-run with its defaults.

    Args:
        process: Its process.
        folder: Where its files go.

    Attributes:
        results: File of its records.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.results = folder / RESULT_FILE
        self._process, self._said = process, said_file(folder)

    def has_result(self) -> bool:
        """Whether a result can be read."""
        return self.results.is_file() and self.results.read_bytes().count(b"\n") > 1  # the first line is a header

    def check(self) -> None:
        """Check that it runs.

        Raises:
            RunFailed: It ended; with the end of what it said.
        """
        code = self._process.poll()
        if code is not None:
            said = "\n  ".join(self._said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-STDERR_LINES:])
            raise RunFailed(f"edge-run: expected it to run until it is stopped, it ended with exit code {code}\n  {said}", exit_code=code)

    def cpu_s(self) -> float:
        """Return its CPU time up to now, in seconds.

        Raises:
            RunFailed: It ended.

        Source: man 5 proc_pid_stat: utime and stime are the 14th and the 15th field; the second one, in parentheses, may hold anything.
        """
        self.check()
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pss_mb(self) -> float:
        """Return its memory in MB of 1e6 bytes, what it shares with others counted in shares.

        Raises:
            RunFailed: It ended.

        Source: man 5 proc_pid_smaps: Pss, in KiB.
        """
        self.check()
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6

    def stop(self) -> None:
        """Ask it to end.

        Raises:
            RunFailed: It has ended by itself.
        """
        self.check()
        self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = _STOP_S) -> None:
        """Wait for its end, so that its records are whole.

        Raises:
            RunFailed: It still runs after `timeout_s`.
        """
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise RunFailed(f"edge-run: expected an end within {timeout_s:g} s, it still runs") from error


@contextlib.contextmanager
def edge_run(source: str, folder: Path) -> Iterator[EdgeRun]:
    """Start edge-run on a source; at the end it is killed, if it still runs.

    Args:
        source: As of `--source`.
        folder: For its files; made.
    """
    folder.mkdir()
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONNOUSERSITE": "1"}
    with said_file(folder).open("wb") as said:
        command = [*EDGE_RUN, "--source", source, "--output", str(folder / RESULT_FILE), "--quiet"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
    try:
        yield EdgeRun(process, folder)
    finally:
        process.kill()
        process.wait()


def wait_for_results(runs: Sequence[EdgeRun], timeout_s: float) -> None:
    """Wait until each has a result.

    Raises:
        RunFailed: One ended, or has none after `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    while waiting := [each for each in runs if not each.has_result()]:
        for each in runs:
            each.check()
        if time.monotonic() > deadline_s:
            raise RunFailed(f"edge-run: expected a first result of each of {len(runs)} streams within {timeout_s:g} s, {len(waiting)} have none")
        time.sleep(_POLL_S)


def said_file(folder: Path) -> Path:
    """Return the file of what an edge-run says on its standard error."""
    return folder / "stderr.txt"
