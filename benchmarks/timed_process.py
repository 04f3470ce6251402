"""Runs a command and measures its times, its CPU time, and what everybody else on the machine did meanwhile."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EdgeError

REPOSITORY = Path(__file__).resolve().parents[1]
STDERR_LINES = 12


class RunFailed(EdgeError):
    """A measured program failed or said something that cannot be read.

    Args:
        message: What was expected and what came.
        hint: What to do next.
        exit_code: The program's own where it means something here (2 to 7), else 70.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 70) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code if 2 <= exit_code <= 7 else 70


@dataclass(frozen=True)
class TimedProcess:
    """A finished command.

    Attributes:
        t_spawn_ns: CLOCK_MONOTONIC just before it was started.
        t_exit_ns: CLOCK_MONOTONIC just after it was reaped.
        stdout: What it printed.
        cpu_s: User and system time of it and of every process that it waited for.
        others_cpu: CPU time of all other processes meanwhile, as a share of what the machine has, in [0, 1]; steal counts as others.
    """

    t_spawn_ns: int
    t_exit_ns: int
    stdout: str
    cpu_s: float
    others_cpu: float

    @property
    def wall_s(self) -> float:
        """Seconds from start to exit."""
        return (self.t_exit_ns - self.t_spawn_ns) / 1e9


class OthersCpu:
    """Measures, between its making and `share()`, the CPU time that neither this process nor its finished children used."""

    def __init__(self) -> None:
        self._busy_s, self._own_s, self._start_ns = machine_busy_s(), own_cpu_s(), time.monotonic_ns()

    def share(self) -> float:
        """Return the others' share of all cores' time since the start, in [0, 1]. Children count as own once they were waited for."""
        elapsed_s = (time.monotonic_ns() - self._start_ns) / 1e9
        others_s = (machine_busy_s() - self._busy_s) - (own_cpu_s() - self._own_s)
        return min(1.0, max(0.0, others_s) / (elapsed_s * (os.cpu_count() or 1)))


def machine_busy_s() -> float:
    """Return the seconds that all cores together were busy since boot.

    Source: man 5 proc_stat: user, nice, system, idle, iowait, irq, softirq, steal in ticks; guest time is inside user.
    """
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_cpu_s() -> float:
    """Return user and system seconds of this process and of its children that were waited for."""
    usages = [resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_timed(command: Sequence[str | Path], *, name: str, timeout_s: float) -> TimedProcess:
    """Run a command in the repository's root and wait for it.

    Args:
        command: Program and arguments.
        name: What to call it in an error.
        timeout_s: After this it is killed.

    Raises:
        RunFailed: It cannot be started, took too long, or exited with something else than 0; with the end of what it said.
    """
    # PYTHONPATH would bring our packages into a peer's environment.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONNOUSERSITE": "1"}
    others, cpu_before_s, t_spawn_ns = OthersCpu(), own_cpu_s(), time.monotonic_ns()
    try:
        done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"{name}: expected an end within {timeout_s:g} s, killed it: {_shell(command)}") from error
    except OSError as error:
        raise RunFailed(f"{name} cannot be started ({error.strerror}): {_shell(command)}") from error
    t_exit_ns = time.monotonic_ns()
    if done.returncode != 0:
        said = "\n  ".join(done.stderr.strip().splitlines()[-STDERR_LINES:])
        raise RunFailed(f"{name}: expected exit code 0, got {done.returncode}, from {_shell(command)}\n  {said}", exit_code=done.returncode)
    return TimedProcess(t_spawn_ns=t_spawn_ns, t_exit_ns=t_exit_ns, stdout=done.stdout, cpu_s=own_cpu_s() - cpu_before_s, others_cpu=others.share())


def progress(text: str) -> None:
    """Tell the person at the terminal what is going on; standard output stays the report's."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _shell(command: Sequence[str | Path]) -> str:
    return " ".join(str(word) for word in command)
