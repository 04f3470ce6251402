"""mypy reads our calls of TensorRT against NVIDIA's own signatures: the `tensorrt-stubs` of 10.13, mended where they are no Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What the stubs' generator got wrong: a keyword as a parameter's name, a default missing behind others, and a class that may be iterated.
MENDED = (
    (re.compile(r"^(    def .*), in: ", re.MULTILINE), r"\1, in_: "),
    (re.compile(r"(channel_axis: int)(\) -> IScaleLayer)"), r"\1 = ...\2"),
    (re.compile(r"^(class Dims:\n)", re.MULTILINE), r"\1    def __iter__(self) -> typing.Iterator[int]: ...\n"),
)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stubs")
    for name in ("tensorrt", "tensorrt_bindings"):
        source = Path(sysconfig.get_path("purelib")) / name
        assert (source / "__init__.pyi").exists(), "tensorrt-stubs is one of the test requirements"
        shutil.copytree(source, folder / name)
    for path in folder.rglob("*.pyi"):
        path.write_text(f"# mypy: ignore-errors\n{path.read_text()}")
    path = folder / "tensorrt_bindings" / "tensorrt.pyi"
    text = path.read_text()
    for pattern, better in MENDED:
        text, n = pattern.subn(better, text)
        assert n, f"the stubs no longer have {pattern.pattern}: drop what mends it"
    path.write_text(text)
    return folder


def check(stubs: Path, *paths: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(stubs / "cache"), *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "MYPYPATH": str(stubs)}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_our_calls_are_tensorrt_s(stubs: Path) -> None:
    code, said = check(stubs, *sorted((ROOT / "edge" / "engine" / "trt").glob("*.py")))
    assert code == 0, said
    assert re.fullmatch(r"Success: no issues found in \d\d source files\n", said)


def test_a_wrong_call_is_seen(stubs: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import tensorrt as trt\n\n\ndef limit(config: trt.IBuilderConfig) -> None:\n"
        "    config.max_workspace_size = 1\n    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 'all')\n"
    )
    code, said = check(stubs, wrong)
    assert code == 1
    assert 'wrong.py:5: error: "IBuilderConfig" has no attribute "max_workspace_size"' in said
    assert 'wrong.py:6: error: Argument 2 to "set_memory_pool_limit" of "IBuilderConfig" has incompatible type "str"; expected "int"' in said
