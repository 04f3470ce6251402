"""What the programs on npm share: frames out of GStreamer. The packages themselves are run by `python -m benchmarks peers`, not by the tests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import peer_environments
from benchmarks.peer_environments import require_programs
from benchmarks.peer_run import known_peers
from edge.errors import MissingDependency

_FRAMES = peer_environments.REQUIREMENTS / "tfjs" / "frames.mjs"
_WRITE_FRAMES = """
const [module, clip, width, height] = process.argv.slice(1)
const { writeSync } = await import('node:fs')
const { framesOf } = await import(module)
for await (const rgb of framesOf(clip, Number(width), Number(height))) writeSync(1, rgb)
"""

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("gst-launch-1.0") is None, reason="no Node or no gst-launch-1.0: sudo apt install nodejs gstreamer1.0-tools"
)


def _frames(clip: Path, width: int, height: int) -> subprocess.CompletedProcess[bytes]:
    command = ["node", "--input-type=module", "-e", _WRITE_FRAMES, "--", _FRAMES.as_uri(), str(clip), str(width), str(height)]
    return subprocess.run(command, capture_output=True, check=False, timeout=100)


def _write_clip(path: Path, *, width: int, height: int, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (width, height))
    columns = np.linspace(0, 200, width)
    for number in range(frames):
        # smooth, for JPEG; red grows to the right, green downwards, blue from frame to frame
        picture = np.stack(np.broadcast_arrays(20.0 * number, np.linspace(0, 200, height)[:, None], columns[None]), axis=-1)
        writer.write(picture.astype(np.uint8))
    writer.release()


@needs_node
@pytest.mark.parametrize("width", [64, 66])  # 66: rows of 198 bytes come as 200
def test_a_program_in_node_gets_every_frame_as_opencv_does(tmp_path: Path, width: int) -> None:
    path = tmp_path / 'a "clip" of mine.avi'
    _write_clip(path, width=width, height=48, frames=10)
    done = _frames(path, width, 48)
    assert done.returncode == 0, done.stderr.decode()
    seen = np.frombuffer(done.stdout, np.uint8).reshape(-1, 48, width, 3)
    capture = cv2.VideoCapture(str(path))
    for rgb in seen:
        _, bgr = capture.read()
        # two JPEG decoders; a row that begins a byte late or swapped colours are tens off
        assert np.abs(rgb[..., ::-1].astype(int) - np.asarray(bgr, dtype=int)).max() <= 12
    assert len(seen) == 10


@needs_node
def test_what_gstreamer_cannot_decode_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no clip")
    assert b"gst-launch-1.0 ended with exit code" in _frames(path, 64, 48).stderr
    clip = tmp_path / "clip.avi"
    _write_clip(clip, width=64, height=48, frames=3)
    wrong_size = _frames(clip, 32, 48)
    assert wrong_size.returncode != 0
    assert b"expected a clip of 32x48" in wrong_size.stderr


def test_the_programs_in_node_need_node_and_gstreamer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = json.loads((peer_environments.REQUIREMENTS / "tfjs" / "package.json").read_text())["dependencies"]
    in_node = {peer.name: peer for peer in known_peers() if "TensorFlow.js" in peer.what}
    assert in_node.keys() == {"human", "human-cached", "face-api"}
    for name, package in (("human", "@vladmandic/human"), ("human-cached", "@vladmandic/human"), ("face-api", "@vladmandic/face-api")):
        assert f"{package} {pinned[package]}" in in_node[name].what
    monkeypatch.setenv("PATH", str(tmp_path))
    for peer in in_node.values():
        with pytest.raises(MissingDependency, match="no node and npm on this machine"):
            peer.prepare()
    with pytest.raises(MissingDependency, match=r"no gst-launch-1\.0 on this machine") as caught:
        require_programs("gst-launch-1.0", packages="gstreamer1.0-tools")
    assert "apt install gstreamer1.0-tools" in caught.value.hint
