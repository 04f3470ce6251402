"""`edge-run` in a process of its own, with its records."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer_run import EDGE_RUN, RESULT_FILE, result_records
from benchmarks.timed_process import TimedProcess, run_timed

Record = dict[str, Any]


def recorded_run(arguments: Sequence[str]) -> tuple[list[Record], TimedProcess]:
    """Run it with the arguments and return its result records in order, and what its process took.

    Raises:
        RunFailed: It failed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-recorded-") as folder:
        path = Path(folder) / RESULT_FILE
        process = run_timed([*EDGE_RUN, *arguments, "--output", str(path), "--quiet"], name="edge-run", timeout_s=3600)
        return result_records(path), process
