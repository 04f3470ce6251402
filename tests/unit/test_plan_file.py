"""Plans on disk: what is not whole, or not the plan of this network, library and GPU, is never handed on; no kill leaves half of one."""

from __future__ import annotations

import fcntl
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from edge.engine.trt.errors import PlanRefused
from edge.engine.trt.plan_file import PROFILE, PlanKey, find_plan, one_builder, plans_dir, read_plan, remove_replaced, write_plan
from edge.package import models_dir

KEY = PlanKey(
    package="default",
    stage="mesh",
    model_sha256="ab" * 32,
    precision="fp16",
    library="tensorrt",
    library_version="10.3.0",
    gpu="Orin",
    compute_capabilities=("sm87",),
    edge_version="0.1.0",
    profile=PROFILE,
)
AHEAD = msgspec.structs.replace(KEY, library="tensorrt_rtx", gpu="", compute_capabilities=("sm86", "sm89"))
HERE = msgspec.structs.replace(AHEAD, gpu="NVIDIA GeForce RTX 4070", compute_capabilities=("sm89",))
OTHER: dict[str, object] = {
    "package": "other",
    "stage": "emotion",
    "model_sha256": "cd" * 32,
    "precision": "int8",
    "library": "tensorrt_rtx",
    "library_version": "10.16.2",
    "gpu": "Thor",
    "compute_capabilities": ("sm110",),
    "edge_version": "0.2.0",
    "profile": (1, 2, 4),
}
CONTENT = bytes(range(256)) * 3


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write_plan(tmp_path / "plans", KEY, CONTENT, ("weakly typed",))
    plan = read_plan(path, KEY)
    assert (plan.path, plan.key, plan.notes, plan.content) == (path, KEY, ("weakly typed",), CONTENT)
    assert re.fullmatch(r"default-mesh-fp16-[0-9a-f]{16}\.plan", path.name)
    assert [found.name for found in (tmp_path / "plans").iterdir()] == [path.name]


@pytest.mark.parametrize("field", OTHER)
def test_a_stale_plan_is_refused_and_the_difference_named(field: str, tmp_path: Path) -> None:
    built = msgspec.structs.replace(KEY, **{field: OTHER[field]})
    assert built.file_name != KEY.file_name
    path = write_plan(tmp_path, built, CONTENT)
    with pytest.raises(PlanRefused, match=f"stale: built for {field} ") as caught:
        read_plan(path, KEY)
    assert "it is never loaded" in caught.value.hint


def test_every_field_of_the_key_is_tested() -> None:
    assert (*OTHER,) == PlanKey.__struct_fields__


def test_one_built_ahead_fits_the_gpus_that_it_lists(tmp_path: Path) -> None:
    path = write_plan(tmp_path, AHEAD, CONTENT)
    assert read_plan(path, HERE).content == CONTENT
    assert read_plan(path, msgspec.structs.replace(AHEAD, compute_capabilities=("sm86",))).content == CONTENT
    with pytest.raises(PlanRefused, match="built ahead of time for sm86, sm89, wanted for sm120"):
        read_plan(path, msgspec.structs.replace(HERE, compute_capabilities=("sm120",)))
    with pytest.raises(PlanRefused, match="stale: built for model_sha256 abab"):
        read_plan(path, msgspec.structs.replace(HERE, model_sha256="00" * 32))


def test_one_built_here_is_not_for_other_gpus_of_its_generation(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused, match="stale: built for gpu NVIDIA GeForce RTX 4070, here it is L4"):
        read_plan(write_plan(tmp_path, HERE, CONTENT), msgspec.structs.replace(HERE, gpu="L4"))


def test_no_byte_of_a_plan_can_change(tmp_path: Path) -> None:
    path = write_plan(tmp_path, KEY, CONTENT[:64], ("note",))
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 128):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(PlanRefused):
                read_plan(path, KEY)
    path.write_bytes(whole)
    assert read_plan(path, KEY).content == CONTENT[:64]


def test_no_byte_of_a_plan_can_be_missing_or_too_much(tmp_path: Path) -> None:
    path = write_plan(tmp_path, KEY, CONTENT)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(PlanRefused, match=r"no plan that this program wrote|damaged, or cut short|expected a plan of 768 bytes, got \d+"):
            read_plan(path, KEY)
    path.write_bytes(whole + b"x")
    with pytest.raises(PlanRefused, match="expected a plan of 768 bytes, got 769"):
        read_plan(path, KEY)


@pytest.mark.parametrize("content", [b"", b"ftrt\x00\x01", b"edge-plan/2\n" + bytes(100)])
def test_foreign_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "foreign.plan").write_bytes(content)
    with pytest.raises(PlanRefused, match="is no plan that this program wrote"):
        read_plan(tmp_path / "foreign.plan", KEY)
    with pytest.raises(PlanRefused, match=r"cannot be read \(No such file or directory\)"):
        read_plan(tmp_path / "none.plan", KEY)


def test_the_plan_that_fits_is_found_and_the_others_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    assert find_plan(tmp_path / "none", KEY, say=said.append) is None
    write_plan(tmp_path, msgspec.structs.replace(KEY, model_sha256="00" * 32), CONTENT)
    write_plan(tmp_path, msgspec.structs.replace(KEY, precision="int8"), CONTENT)
    assert find_plan(tmp_path, KEY, say=said.append) is None
    assert len(said) == 1
    assert "stale: built for model_sha256 0000" in said[0]
    path = write_plan(tmp_path, KEY, CONTENT)
    assert find_plan(tmp_path, KEY, say=said.append) == path
    path.write_bytes(path.read_bytes()[:-1])
    assert find_plan(tmp_path, KEY, say=said.append) is None
    assert "expected a plan of 768 bytes, got 767" in "".join(said)


def test_a_new_plan_removes_what_it_replaces_and_nothing_else(tmp_path: Path) -> None:
    def plan(**changes: object) -> Path:
        return write_plan(tmp_path, msgspec.structs.replace(KEY, **changes), CONTENT)

    stay = {plan(**{field: OTHER[field]}) for field in ("package", "stage", "precision", "library", "gpu", "compute_capabilities")}
    go = {plan(**{field: OTHER[field]}) for field in ("model_sha256", "library_version", "edge_version", "profile")}
    go.add(plan(gpu="", compute_capabilities=("sm86", "sm87"), model_sha256="00" * 32))
    damaged = plan(model_sha256="11" * 32)
    damaged.write_bytes(b"edge-plan/1\n")
    half = tmp_path / ".default-mesh-fp16-0123456789abcdef.plan.half"
    half.write_bytes(b"half")
    new = plan()
    assert set(remove_replaced(tmp_path, KEY)) == go | {damaged, half}
    assert set(tmp_path.iterdir()) == stay | {new}


def test_what_was_compiled_from_a_plan_goes_with_it(tmp_path: Path) -> None:
    def kernels(plan: Path) -> Path:
        path = plan.with_name(f"{plan.stem}-NVIDIA_L4-12.6.jit")
        path.write_bytes(b"compiled")
        return path

    new, other_stage = write_plan(tmp_path, KEY, CONTENT), write_plan(tmp_path, msgspec.structs.replace(KEY, stage="emotion"), CONTENT)
    stay = {kernels(new), kernels(other_stage)}
    old = write_plan(tmp_path, msgspec.structs.replace(KEY, library_version="10.2.0"), CONTENT)
    go = {kernels(old), kernels(tmp_path / "default-mesh-fp16-0123456789abcdef.plan"), old}
    assert set(remove_replaced(tmp_path, KEY)) == go
    assert set(tmp_path.iterdir()) == stay | {new, other_stage}


def test_where_plans_lie_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGE_STATE", "XDG_STATE_HOME", "HOME", "EDGE_MODELS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # who is in no list of users
    assert plans_dir() == Path("/~/.local/state/edge/plans")
    assert models_dir() == Path("/~/.local/share/edge/models")


def test_where_plans_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_STATE", str(tmp_path / "state"))
    assert plans_dir() == tmp_path / "state/plans"
    monkeypatch.delenv("EDGE_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert plans_dir() == tmp_path / "xdg/edge/plans"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plans_dir() == tmp_path / ".local/state/edge/plans"


def test_a_plan_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = write_plan(tmp_path, KEY, CONTENT)
    path.with_name(f".{path.name}.half").mkdir()  # in its way, even for root
    with pytest.raises(IsADirectoryError):
        write_plan(tmp_path, KEY, b"new")
    assert read_plan(path, KEY).content == CONTENT


# Writes the same plan again and again, with one content and the other in turns.
_WRITER = """
import sys
from pathlib import Path
import msgspec
from edge.engine.trt.plan_file import PlanKey, one_builder, write_plan
folder, key = Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=PlanKey)
print("ready", flush=True)
while True:
    for letter in b"ab":
        with one_builder(folder, say=print):
            write_plan(folder, key, bytes([letter]) * (4 << 20))
"""


def test_a_writer_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    """Whatever a kill interrupts, there is a whole plan, the lock is free, and the next writer goes on."""
    path = write_plan(tmp_path, KEY, b"a" * (4 << 20))
    contents, halves = set(), 0
    for delay_s in random.Random(0).choices([n / 1000 for n in range(40)], k=15):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), msgspec.json.encode(KEY).decode()], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay_s)
            writer.kill()
        plan = read_plan(path, KEY)
        assert plan.content in (b"a" * (4 << 20), b"b" * (4 << 20))
        contents.add(plan.content[:1])
        halves += len([*tmp_path.glob(".*.half")])
        with (tmp_path / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert halves, "no kill came while a plan was being written: the test shows nothing"
    assert contents == {b"a", b"b"}
    remove_replaced(tmp_path, KEY)
    assert {found.name for found in tmp_path.iterdir()} == {path.name, ".lock"}


_HOLDER = """
import sys
from pathlib import Path
from edge.engine.trt.plan_file import one_builder
with one_builder(Path(sys.argv[1]), say=print):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_builder_at_a_time(tmp_path: Path) -> None:
    said: list[str] = []
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()

        def say(line: str) -> None:
            said.append(line)
            assert holder.stdin is not None
            holder.stdin.close()

        with one_builder(tmp_path, say=say):
            assert holder.wait(10) == 0
    assert said == [f"another builder works in {tmp_path}: waiting for it"]
