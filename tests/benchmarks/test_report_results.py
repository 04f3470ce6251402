"""Reading of what the commands wrote: whole, in its own type, or with an error that names the file."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.results import Run, keep, read_runs, rounded
from edge.errors import ConfigError, OutputError
from tests.benchmarks.report_runs import latency_report, machine, peers_report, write, write_run
from tests.benchmarks.report_scaling_run import scaling_report

ROOT = Path(__file__).resolve().parents[2]


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return path.parent


def test_a_run_is_read_into_the_commands_own_types(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write(folder / "scaling.json", scaling_report(machine()))
    (folder / "accuracy.json").write_bytes((ROOT / "converters/trained/default/accuracy.json").read_bytes())
    (run,) = read_runs([folder])
    assert run.name == "run"
    assert [*run.machines] == ["latency", "limits", "peers", "gate", "scaling", "accuracy"]
    assert run.peers == peers_report(machine())
    assert run.scaling == scaling_report(machine())
    assert run.commits[0] == "012345678"
    assert run.hardware == "Example 9000, 4 cores, no NVIDIA GPU"
    assert {"latency.start", "loops.age_30", "peers.fer", "gate.median", "accuracy.fer2013"} <= {verdict.name for _, verdict in run.verdicts}


def test_a_history_is_read_with_its_oldest_run_first(tmp_path: Path) -> None:
    write_run(tmp_path / "history/2026-11-22-7/gpu", utc="2026-11-22T01:00:00+00:00", gpu="RTX 9")
    write_run(tmp_path / "history/2026-11-20-5/gpu", utc="2026-11-20T01:00:00+00:00", gpu="RTX 9")
    write_run(tmp_path / "history/2026-11-21-6/cpu", utc="2026-11-21T01:00:00+00:00")
    runs = read_runs([tmp_path / "history"])
    assert [run.name for run in runs] == ["history/2026-11-20-5/gpu", "history/2026-11-21-6/cpu", "history/2026-11-22-7/gpu"]
    assert [run.hardware for run in runs] == ["Example 9000, 4 cores, RTX 9", "Example 9000, 4 cores, no NVIDIA GPU", "Example 9000, 4 cores, RTX 9"]


def test_a_packed_report_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "latency.json.xz").write_bytes(lzma.compress(json.dumps(json.loads(write(tmp_path / "x", latency_report(machine())).read_text())).encode()))
    (tmp_path / "x").unlink()
    assert read_runs([tmp_path])[0].latency == read_runs([write(tmp_path / "plain/latency.json", latency_report(machine())).parent])[0].latency


def test_a_run_of_nothing_but_this_commands_own_summary_is_none(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"schema": "edge.benchmark.report/1"}')
    with pytest.raises(ConfigError, match=r"expected some of latency\.json, .* in .* or below, got none"):
        read_runs([tmp_path])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda raw: raw.update(schema="edge.benchmark.latency/2"), "expected a schema of .*, got 'edge.benchmark.latency/2'"),
        (lambda raw: raw.pop("schema"), "expected a schema of .*, got None"),
        (lambda raw: raw.pop("parts"), "Object missing required field `parts`"),
        (lambda raw: raw.update(parts=3), "Expected `array`, got `int`"),
        (lambda raw: raw.update(power=3), r"a field that is not known here: \$\.power"),
        (lambda raw: raw["parts"][0]["verdicts"][0].update(owner="me"), r"not known here: \$\.parts\[0\]\.verdicts\[0\]\.owner"),
    ],
)
def test_a_report_that_is_not_ours_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], problem: str) -> None:
    folder = changed(write(tmp_path / "latency.json", latency_report(machine())), change)
    with pytest.raises(ConfigError, match=rf"{re.escape(str(folder / 'latency.json'))}.*{problem}"):
        read_runs([folder])


@pytest.mark.parametrize(("name", "content"), [("latency.json", b"{"), ("latency.json", b"[]"), ("latency.json.xz", b"{}"), ("latency.json", b"\xff")])
def test_what_is_no_json_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{re.escape(str(tmp_path / name))}: expected a report in JSON"):
        read_runs([tmp_path])


def test_two_reports_of_a_kind_in_one_run_are_refused(tmp_path: Path) -> None:
    write(write_run(tmp_path) / "latency-again.json", latency_report(machine()))
    with pytest.raises(ConfigError, match=r"expected one report of latency in .*, got latency-again\.json and latency\.json"):
        read_runs([tmp_path])


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*gone"):
        read_runs([tmp_path / "gone"])


def test_what_is_kept_is_small_and_keeps_every_sample(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    kept = keep(folder, tmp_path / "kept")
    assert sorted(path.name for path in kept) == ["gate.json", "latency.json", "limits.json", "peers.json"]
    (before,), (after,) = read_runs([folder]), read_runs([tmp_path / "kept"])
    assert [verdict for _, verdict in after.verdicts] == [verdict for _, verdict in before.verdicts], "single figures are as they were"
    one, other = frame_samples(before), frame_samples(after)
    assert len(one) == len(other)
    assert other == [float(f"{each:.4g}") for each in one] != one
    assert sum(path.stat().st_size for path in kept) < 0.5 * sum(path.stat().st_size for path in folder.iterdir())


def frame_samples(run: Run) -> list[float]:
    assert run.latency is not None
    samples: list[float] = run.latency.parts[0].numbers["samples_ms"]["frame"]
    return samples


def test_long_reports_are_packed_and_too_long_ones_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")

    def lengthen(raw: dict[str, Any]) -> None:
        raw["parts"][0]["numbers"]["samples_ms"]["frame"] = [0.1 + number / 1e4 for number in range(50_000)]

    changed(folder / "latency.json", lengthen)
    kept = keep(folder, tmp_path / "kept")
    assert "latency.json.xz" in [path.name for path in kept]
    assert len(frame_samples(read_runs([tmp_path / "kept"])[0])) == 50_000
    with pytest.raises(ConfigError, match=r"--keep: expected at most 10,000 bytes in all, got .*latency\.json\.xz"):
        keep(folder, tmp_path / "kept", most_bytes=10_000)


def test_what_was_kept_before_is_replaced(tmp_path: Path) -> None:
    keep(write_run(tmp_path / "run"), tmp_path / "kept")
    (tmp_path / "run/gate.json").unlink()
    keep(tmp_path / "run", tmp_path / "kept")
    assert not (tmp_path / "kept/gate.json").exists(), "it would be of another run"


def test_a_history_is_not_kept_as_one_run(tmp_path: Path) -> None:
    write_run(tmp_path / "history/a")
    with pytest.raises(ConfigError, match="--keep: expected the folder of one run"):
        keep(tmp_path / "history", tmp_path / "kept")


def test_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(OutputError, match=r"cannot write .*kept"):
        keep(write_run(tmp_path / "run"), tmp_path / "kept")


def test_rounding_leaves_single_figures_and_hides_the_home_folder() -> None:
    samples = [1.23456789, 5] * 5
    raw = {"value": 1.23456789, "few": samples[:8], "many": samples, "ns": [123456789] * 9, "where": f"{Path.home()}/clip.mp4", "flags": [True] * 9}
    assert rounded(raw) == {**raw, "many": [1.235, 5] * 5, "ns": [123500000] * 9, "where": "~/clip.mp4"}
