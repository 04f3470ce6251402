from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import peer_environments
from benchmarks.peer_environments import environment_folder, peer_python
from benchmarks.peer_run import known_peers, run_peer
from benchmarks.timed_process import RunFailed
from edge.errors import MissingDependency
from tests.benchmarks.toy_peers import program_peer


def test_each_rival_in_python_has_pinned_requirements_and_a_program() -> None:
    in_python = [peer.name for peer in known_peers()[1:] if "cv2.VideoCapture" in peer.what]
    assert in_python == ["fer", "mediapipe", "facemesh"]
    for name in in_python:
        assert (peer_environments.REQUIREMENTS / f"run_{name}.py").is_file()
    for requirements in ("fer", "mediapipe"):
        lines = (peer_environments.REQUIREMENTS / f"{requirements}.txt").read_text().splitlines()
        pins = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
        assert pins
        assert all("==" in pin for pin in pins)


def test_other_requirements_make_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = environment_folder("fer", b"fer==1"), environment_folder("fer", b"fer==2")
    assert one != two
    assert one.parent == two.parent == tmp_path / "edge" / "peers"
    assert one == environment_folder("fer", b"fer==1")


@pytest.mark.skipif(not peer_environments.PYTHONS[0] <= sys.version_info[:2] <= peer_environments.PYTHONS[1], reason="the peers have no wheels for this Python")
def test_an_environment_is_made_once_and_a_failed_one_is_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(peer_environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "toy.txt").write_text(f"{tmp_path}/toy-1.0-py3-none-any.whl\n")
    for _ in range(2):  # the second time as clearly as the first: half an environment is none
        with pytest.raises(MissingDependency, match="the environment of toy cannot be made") as caught:
            peer_python("toy")
    assert "has your package index a wheel for this platform" in caught.value.hint
    (tmp_path / "toy.txt").write_text("# nothing\n")
    python = peer_python("toy")
    made_ns = python.lstat().st_mtime_ns
    assert subprocess.run([python, "-c", "import sys; print(sys.prefix != sys.base_prefix)"], capture_output=True, text=True, check=True).stdout == "True\n"
    assert peer_python("toy").lstat().st_mtime_ns == made_ns


def test_a_python_without_wheels_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peer_environments, "PYTHONS", ((2, 6), (2, 7)))
    with pytest.raises(MissingDependency, match=r"fer has wheels for Python 2.6 to 2.7, this is 3\.\d+"):
        peer_python("fer")
    assert not list(tmp_path.iterdir())


_COUNT_FRAMES = """
import sys
from benchmarks.peers.frame_clock import Seen, time_clip
assert not any(name == "edge" or name.startswith("edge.") for name in sys.modules), "a rival's program must not import edge"
stamps = []
def analyse(picture, t_ms):
    assert picture.ndim == 3 and str(picture.dtype) == "uint8"
    assert not stamps or t_ms > stamps[-1]
    stamps.append(t_ms)
    return Seen(faces=len(stamps) % 2, top=None)
time_clip(sys.argv[1], analyse)
"""


def test_the_rivals_clock_reads_every_frame_of_a_real_clip(clip: Callable[[str], Path]) -> None:
    path = clip("single_face.mp4")
    run = run_peer(program_peer("counter", _COUNT_FRAMES, str(path)), path, 0)
    assert (run.frames, run.frames_with_face) == (72, 36)


def test_the_rivals_clock_refuses_what_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no clip")
    with pytest.raises(RunFailed, match="OpenCV cannot open"):
        run_peer(program_peer("counter", _COUNT_FRAMES, str(path)), path, 0)
