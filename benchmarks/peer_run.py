"""One peer, one turn of passes over the clip: the same clock boundaries for everybody.

A pass is one process over the whole clip. A turn is as many passes as fill `TURN_S`: a fast program's single pass is over in two seconds, in which a shared
machine's clock may be anywhere.

Each program says when each of its results was there (CLOCK_MONOTONIC, the same clock in every process). From these times alone follow

- rate: results after the first one, divided by the time from the first result to the last. Reading and decoding of the clip are inside, and everything
  that the program does with a result; loading of libraries and networks, the opening of the clip and the first, warming frame are outside;
- interval: time from one result to the next, per frame;
- load: from the start of the process to the opening of the clip: libraries and networks (the peers' programs only; `edge-run` does not say);
- first result: from the start of the process to the first result, loading and the warming frame included;
- wall: from the start of the process to its end: nothing is outside.

`edge-run` writes a JSON line for every frame inside these times; the peers only keep a label. Where the decoder is a process of its own (Node has none), it
starts after the opening of the clip, and works beside the peer as far ahead as a pipe is long.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import msgspec

from benchmarks.estimates import flips_per_100
from benchmarks.peer_environments import npm_environment, peer_python, require_programs
from benchmarks.timed_process import RunFailed, TimedProcess, run_timed

RUN_TIMEOUT_S = 900.0
TURN_S = 10.0  # from first results to last ones, all passes of a turn together
RESULT_FILE = "results.jsonl"
NPM_PEERS = "tfjs"  # the environment of those on npm; the accuracy of their networks is measured in the same one
CLIP_SCRIPT = Path(__file__).parent / "peers" / NPM_PEERS / "clip.mjs"
EDGE_RUN = (sys.executable, "-c", "import sys; from edge.cli import main; sys.exit(main())")  # edge-run of this checkout, installed or not


@dataclass(frozen=True)
class Peer:
    """A program that analyses a clip.

    Attributes:
        name: Short name.
        what: What is run, for the report.
        prepare: Makes whatever the command needs; raises `MissingDependency` where that cannot be had here.
        command: From clip and a folder for its files to program and arguments.
        says: `edge.result`: result records in `RESULT_FILE` of the folder; `edge.peer`: one JSON object on its last line of standard output.
    """

    name: str
    what: str
    prepare: Callable[[], object]
    command: Callable[[Path, Path], Sequence[str | Path]]
    says: Literal["edge.result", "edge.peer"]


class PeerRun(msgspec.Struct, frozen=True):
    """What one pass gave; see the module for the boundaries of each time.

    Attributes:
        peer: Its name.
        round: That of its turn.
        frames: Results.
        frames_with_face: Those with at least one face.
        rate_fps: Results a second.
        interval_ms: Every one, in the order of the frames: one fewer than results.
        load_s: None where the program does not say when it opened the clip.
        first_result_s: From the start of the process.
        wall_s: Of the process.
        cpu_s: Of the process and of those that it started.
        others_cpu: As of `TimedProcess`.
        flips_per_100: As of `benchmarks.estimates.flips_per_100`; None for peers without emotions.
    """

    peer: str
    round: int
    frames: int
    frames_with_face: int
    rate_fps: float
    interval_ms: list[float]
    load_s: float | None
    first_result_s: float
    wall_s: float
    cpu_s: float
    others_cpu: float
    flips_per_100: float | None

    @property
    def results_s(self) -> float:
        """Seconds from the first result to the last."""
        return (self.frames - 1) / self.rate_fps


class PeerReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a peer's program prints (`benchmarks/peers/frame_clock.py`)."""

    schema: Literal["edge.peer/1"]
    t_open_ns: int | None
    t_done_ns: list[int]
    faces: list[int]
    top: list[str | None]


def known_peers() -> tuple[Peer, ...]:
    """Return ourselves and the rivals."""
    return (
        Peer("edge", "edge-run with its defaults, results written as JSON Lines", lambda: None, _edge_command, "edge.result"),
        _in_python("fer", "fer", "fer 25.10.3 with its defaults (Haar cascade, quantised TFLite), cv2.VideoCapture"),
        _in_python("mediapipe", "mediapipe", "MediaPipe 0.10.21 Face Landmarker, video mode, blendshapes, one face, cv2.VideoCapture"),
        _in_python("facemesh", "mediapipe", "MediaPipe 0.10.21 FaceMesh, video mode, one face, 468 landmarks and nothing else, cv2.VideoCapture"),
        _in_node("human", "@vladmandic/human 3.3.6, face detector, mesh and emotion, an own emotion for every frame"),
        _in_node("human-cached", "@vladmandic/human 3.3.6, the same with its own cache: a frame like the one before keeps an emotion for up to 1.5 s"),
        _in_node("face-api", "@vladmandic/face-api 1.7.15, its smaller detector and expressions, no landmarks, one face"),
    )


def take_turn(peer: Peer, clip: Path, round_number: int, turn_s: float = TURN_S) -> list[PeerRun]:
    """Run a peer over the clip until its passes have taken `turn_s`; at least once.

    Raises:
        RunFailed: As `run_peer`.
    """
    runs: list[PeerRun] = []
    while not runs or sum(run.results_s for run in runs) < turn_s:
        runs.append(run_peer(peer, clip, round_number))
    return runs


def rate_of_turn(runs: Sequence[PeerRun]) -> float:
    """Return the frames per second of the passes of one turn: results after each pass's first one, over the time that they took together."""
    return sum(run.frames - 1 for run in runs) / sum(run.results_s for run in runs)


def run_peer(peer: Peer, clip: Path, round_number: int) -> PeerRun:
    """Run a peer over the clip once.

    Raises:
        RunFailed: It failed, or what it wrote is not what it should write.
    """
    with tempfile.TemporaryDirectory(prefix="edge-peer-") as folder:
        process = run_timed(peer.command(clip, Path(folder)), name=peer.name, timeout_s=RUN_TIMEOUT_S)
        report = _edge_report(Path(folder) / RESULT_FILE) if peer.says == "edge.result" else _peer_report(peer.name, process.stdout)
    return _measured(peer.name, round_number, report, process)


def _measured(name: str, round_number: int, report: PeerReport, process: TimedProcess) -> PeerRun:
    done_ns = report.t_done_ns
    if len(done_ns) < 2 or any(after <= before for before, after in itertools.pairwise(done_ns)):
        raise RunFailed(f"{name}: expected at least 2 results at increasing times, got {len(done_ns)} results")
    if not process.t_spawn_ns < done_ns[0] <= done_ns[-1] < process.t_exit_ns:
        raise RunFailed(f"{name}: expected results between the start and the end of its process; its clock is not CLOCK_MONOTONIC")
    if not len(done_ns) == len(report.faces) == len(report.top):
        raise RunFailed(f"{name}: expected as many times as faces and labels, got {len(done_ns)}, {len(report.faces)} and {len(report.top)}")
    return PeerRun(
        peer=name,
        round=round_number,
        frames=len(done_ns),
        frames_with_face=sum(count > 0 for count in report.faces),
        rate_fps=(len(done_ns) - 1) * 1e9 / (done_ns[-1] - done_ns[0]),
        interval_ms=[(after - before) / 1e6 for before, after in itertools.pairwise(done_ns)],
        load_s=None if report.t_open_ns is None else (report.t_open_ns - process.t_spawn_ns) / 1e9,
        first_result_s=(done_ns[0] - process.t_spawn_ns) / 1e9,
        wall_s=process.wall_s,
        cpu_s=process.cpu_s,
        others_cpu=process.others_cpu,
        flips_per_100=flips_per_100(report.top),
    )


def _peer_report(name: str, stdout: str) -> PeerReport:
    lines = stdout.strip().splitlines()
    try:
        return msgspec.json.decode(lines[-1] if lines else "", type=PeerReport)
    except msgspec.MsgspecError as error:
        said = lines[-1][:120] if lines else "nothing"
        raise RunFailed(f"{name}: expected one JSON object of schema edge.peer/1 on its last line, got {said!r}: {error}") from error


def _edge_report(path: Path) -> PeerReport:
    records = result_records(path)
    faces = [len(record["faces"]) for record in records]
    top = [next((face["emotion"] for face in record["faces"] if face["primary"]), None) for record in records]
    done_ns = [record["t_publish_ns"] for record in records]
    return PeerReport(schema="edge.peer/1", t_open_ns=None, t_done_ns=done_ns, faces=faces, top=top)


def result_records(path: Path) -> list[dict[str, Any]]:
    """Return the result records of a JSON Lines file of `edge-run`, without its header.

    Raises:
        RunFailed: The file is missing or is not what edge-run writes.
    """
    try:
        lines = [msgspec.json.decode(line, type=dict[str, Any]) for line in path.read_bytes().splitlines()]
    except (OSError, msgspec.MsgspecError) as error:
        raise RunFailed(f"expected result records of edge-run in {path.name}: {error}") from error
    return [line for line in lines if line.get("schema") == "edge.result/1"]


def _edge_command(clip: Path, folder: Path) -> Sequence[str | Path]:
    return [*EDGE_RUN, "--source", str(clip), "--output", str(folder / RESULT_FILE), "--summary", str(folder / "summary.json")]


def _in_python(name: str, environment: str, what: str) -> Peer:
    def command(clip: Path, _folder: Path) -> Sequence[str | Path]:
        return [peer_python(environment), "-m", f"benchmarks.peers.run_{name}", clip]

    return Peer(name, what, lambda: peer_python(environment), command, "edge.peer")


def _in_node(name: str, what: str) -> Peer:
    def prepare() -> None:
        npm_environment(NPM_PEERS)
        require_programs("gst-launch-1.0", packages="gstreamer1.0-tools")

    def command(clip: Path, _folder: Path) -> Sequence[str | Path]:
        capture = cv2.VideoCapture(str(clip))
        width_px, height_px = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        capture.release()
        return ["node", CLIP_SCRIPT, npm_environment(NPM_PEERS), name, clip, str(width_px), str(height_px)]

    return Peer(name, f"{what}; TensorFlow.js on WebAssembly, which in Node has one thread; gst-launch-1.0 decodes beside it", prepare, command, "edge.peer")
