"""The builder's own process: it serves nobody but its parent, says how far it is, and may end at any moment."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.engine.trt import child
from edge.engine.trt.build import Target, plan_key, stage_network
from edge.engine.trt.child import WORKSPACE_MB, Done, Failed, PlanBuild, Progress
from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.library import find_library
from edge.engine.trt.plan_file import find_plan, one_builder, read_plan
from edge.package import Package, load_package
from edge.stage import Stage

RTX = find_library(["tensorrt_rtx"])
AHEAD = Target(RTX, ("sm80", "sm89", "sm120"))


@pytest.fixture
def package(models: Path) -> Package:
    return load_package(models / "mesh-chain")


@pytest.fixture
def emotion(package: Package) -> Stage:
    return next(stage for stage in package.manifest.stages if stage.name == "emotion")


def start(package: Package, stage: Stage, folder: Path, target: Target = AHEAD) -> PlanBuild:
    return PlanBuild.start(package, stage, "fp32", target, folder=folder, workspace_mb=WORKSPACE_MB)


def is_free(folder: Path) -> bool:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        raise InterruptedError(line)

    try:
        with one_builder(folder, say=say):
            return True
    except InterruptedError:
        return False


def test_a_process_builds_while_this_one_goes_on(package: Package, emotion: Stage, tmp_path: Path) -> None:
    build = start(package, emotion, tmp_path)
    lines: list[str] = []
    polls = 0
    while isinstance(state := build.poll(), Progress):
        lines += state.lines
        polls += 1
        time.sleep(0.01)
    assert isinstance(state, Done), state
    assert polls > 3
    assert lines[0].startswith("building in the background, workspace up to 512 MB; nice 10; ")
    assert "Building engine" in [*lines, *state.lines]
    key = plan_key(package, emotion, stage_network(package, emotion, "fp32"), AHEAD)
    assert find_plan(tmp_path, key, say=lines.append) == Path(state.path)
    assert state.key == key
    assert build.poll() == Done(state.path, key)
    build.cancel()
    assert build.poll() == Done(state.path, key)


def test_two_builders_of_one_plan_build_it_once(package: Package, emotion: Stage, tmp_path: Path) -> None:
    first, second = start(package, emotion, tmp_path), start(package, emotion, tmp_path)
    lines: list[str] = []
    assert first.wait(lines.append) == second.wait(lines.append)
    assert lines.count("Building engine") == 1
    assert sum(line.endswith("is there and fits") for line in lines) == 1


def test_what_fails_there_is_an_error_here(package: Package, emotion: Stage, tmp_path: Path) -> None:
    build = start(package, emotion, tmp_path, Target(RTX, ("sm87",)))
    with pytest.raises(BuildFailed, match=r"package 'mesh-chain', stage 'emotion': TensorRT-RTX \S+ cannot build for sm87") as caught:
        build.wait(print)
    assert "sm89" in caught.value.hint
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BuildFailed, match=r"the plan cannot be written: .*Not a directory") as caught:
        start(package, emotion, tmp_path / "file" / "plans").wait(print)
    assert caught.value.hint == "check permissions and free space; another folder: EDGE_STATE for edge-run, -o for python -m converters build"


def test_a_file_that_cannot_be_read_there_is_not_one_that_cannot_be_written() -> None:
    folder = Path("/state/plans")
    for name in ("/state/plans", "/state/plans/.lock", "/state", None):
        assert child._unreadable_or_unwritable(OSError(28, "No space left on device", name), folder).message.startswith("the plan cannot be written: ")
    failed = child._unreadable_or_unwritable(PermissionError(13, "Permission denied", "/models/default/mesh.onnx"), folder)
    assert failed.message == "the builder cannot go on: [Errno 13] Permission denied: '/models/default/mesh.onnx'"
    assert failed.hint == "check that file, and its permissions"


def test_nothing_of_the_working_directory_runs_there(package: Package, emotion: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("msgspec", "edge", "json", "argparse", "ctypes"):
        (tmp_path / f"{module}.py").write_text("import os, pathlib; pathlib.Path('ran').touch(); os._exit(9)")
    monkeypatch.chdir(tmp_path)
    assert start(package, emotion, tmp_path / "plans").wait(print).exists()
    assert not (tmp_path / "ran").exists()
    monkeypatch.syspath_prepend(tmp_path)  # that of a program that wants its own first: then it is the same there
    with pytest.raises(BuildFailed, match="the builder ended with exit code 9"):
        start(package, emotion, tmp_path / "others").wait(print)


@pytest.mark.parametrize(("executable", "reason"), [("", "does not know its Python"), ("/nowhere/python", "No such file or directory: '/nowhere/python'")])
def test_a_builder_that_cannot_be_started_is_said(
    executable: str, reason: str, package: Package, emotion: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(BuildFailed, match=f"stage 'emotion': the builder cannot be started: .*{reason}") as caught:
        start(package, emotion, tmp_path)
    assert "--engine onnxruntime" in caught.value.hint


def test_a_builder_that_is_killed_is_said(package: Package, emotion: Stage, tmp_path: Path) -> None:
    with one_builder(tmp_path, say=print):
        build = start(package, emotion, tmp_path)
        while isinstance(state := build.poll(), Progress) and not any("waiting for it" in line for line in state.lines):
            time.sleep(0.01)
        os.kill(build._process.pid, signal.SIGKILL)
        with pytest.raises(BuildFailed, match="stage 'emotion': the builder was ended by SIGKILL") as caught:
            build.wait(print)
    assert "where memory ran out" in caught.value.hint


def test_a_builder_that_fails_to_start_is_said(package: Package, emotion: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "msgspec.py").write_text("raise RuntimeError('broken installation')")
    with pytest.raises(BuildFailed, match=r"the builder ended with exit code 1: RuntimeError: broken installation"):
        start(package, emotion, tmp_path / "plans").wait(print)


def test_a_build_can_be_given_up_at_any_moment(package: Package, emotion: Stage, tmp_path: Path) -> None:
    """A kill leaves no plan or a whole one, and the lock free; the next build succeeds."""
    key = plan_key(package, emotion, stage_network(package, emotion, "fp32"), AHEAD)
    said: list[str] = []
    for delay_s in random.Random(0).choices([n / 20 for n in range(20)], k=6):
        build = start(package, emotion, tmp_path)
        time.sleep(delay_s)
        build.cancel()
        build.cancel()
        assert isinstance(build.poll(), Failed | Done)
        assert is_free(tmp_path)
        if (path := find_plan(tmp_path, key, say=said.append)) is not None:
            path.unlink()
    assert not said, "a plan was there that is not whole"
    assert read_plan(start(package, emotion, tmp_path).wait(print), key).key == key
    with one_builder(tmp_path, say=print):
        assert not is_free(tmp_path), "the check that the lock is free cannot fail"


_PARENT = """
import sys, time
from pathlib import Path
from edge.engine.trt.build import Target
from edge.engine.trt.child import PlanBuild
from edge.engine.trt.library import find_library
from edge.package import load_package
package = load_package(sys.argv[1])
target = Target(find_library(["tensorrt_rtx"]), ("sm89",))
build = PlanBuild.start(package, package.manifest.stages[0], "fp32", target, folder=Path(sys.argv[2]), workspace_mb=64)
print(build._process.pid, flush=True)
time.sleep(60)
"""


def test_a_builder_ends_with_its_parent(package: Package, tmp_path: Path) -> None:
    with (
        one_builder(tmp_path, say=print),  # so that it waits
        subprocess.Popen([sys.executable, "-c", _PARENT, str(package.path), str(tmp_path)], stdout=subprocess.PIPE) as parent,
    ):
        assert parent.stdout is not None
        builder = Path("/proc") / parent.stdout.readline().decode().strip()
        assert builder.exists()
        time.sleep(1)  # also once it has long been running
        assert builder.exists()
        parent.kill()
        parent.wait()
        for _ in range(100):
            if not builder.exists() or re.search(r"^State:\s+Z", (builder / "status").read_text(), re.MULTILINE):
                return
            time.sleep(0.05)
    pytest.fail("the builder outlives its parent")


def test_a_builder_whose_parent_is_gone_does_not_start(tmp_path: Path, package: Package) -> None:
    arguments = [str(package.path), "--stage", "emotion", "--precision", "fp32", "--library", "tensorrt_rtx", "--compute-capabilities", "sm89"]
    command = [sys.executable, "-c", child._code(), *arguments, "--folder", str(tmp_path), "--workspace-mb", "64", "--parent", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert [*tmp_path.iterdir()] == []
