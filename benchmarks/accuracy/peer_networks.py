"""Emotion networks of others on the same pictures, by the same script: their own preprocessing, then the same figures."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.accuracy.emotions import EmotionFigures, emotion_figures
from benchmarks.accuracy.metrics import Numbers
from benchmarks.accuracy.readings import Convention, Networks
from benchmarks.accuracy.truth import Truth
from benchmarks.peer_environments import npm_environment
from benchmarks.timed_process import RunFailed
from converters.registry import Say
from converters.training.affect.teacher import PACKAGE
from converters.training.fer2013 import Split
from edge.errors import EdgeError
from edge.frame import Pixels
from edge.package import file_sha256, load_package
from edge.result import EMOTIONS

_ENVIRONMENT = "tfjs"
_SCRIPT = Path(__file__).parents[1] / "peers" / _ENVIRONMENT / "emotions.mjs"
_TIMEOUT_S = 3600.0


class PeerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A network of others.

    Attributes:
        name: Short.
        what: Version, and what it is fed.
        weights_sha256: Of the file with its weights; empty where it did not run.
        fer2013_private: As in the report; None where it did not run.
        ferplus_private: As in the report; None where it did not run.
        published: What its makers say of its accuracy, not measured here.
        not_run: Why it did not run.
    """

    name: str
    what: str
    weights_sha256: str = ""
    fer2013_private: EmotionFigures | None = None
    ferplus_private: EmotionFigures | None = None
    published: str
    not_run: str = ""


@dataclass(frozen=True)
class _Peer:
    name: str
    what: str
    published: str
    read: Callable[[Pixels], tuple[Mapping[Convention, Numbers], str]]


def measure_peers(split: Split, truths: Mapping[Convention, Truth], say: Say) -> tuple[PeerFigures, ...]:
    """Read whole pictures with every peer's network; one that cannot run here is listed with the reason.

    Args:
        split: FER2013's PrivateTest.
        truths: By convention.
        say: Takes progress lines.
    """
    figures = []
    for peer in _peers():
        say(f"peer: {peer.name}")
        try:
            answers, sha256 = peer.read(split.pictures)
        except EdgeError as error:
            figures.append(PeerFigures(name=peer.name, what=peer.what, published=peer.published, not_run=str(error)))
            continue
        seen, labelled = (
            emotion_figures(truth, answers[truth.convention][truth.rows], output=peer.name, labels=truth.convention)
            for truth in (truths["seen"], truths["fer2013"])
        )
        measured = PeerFigures(name=peer.name, what=peer.what, published=peer.published, weights_sha256=sha256, fer2013_private=labelled, ferplus_private=seen)
        figures.append(measured)
    return tuple(figures)


def _peers() -> tuple[_Peer, ...]:
    fed = "whole picture, bilinear to {side} px, TensorFlow.js in Node (WebAssembly)"
    return (
        _Peer("fer", f"mini-Xception of fer 25.10.3, as package {PACKAGE} has it, whole picture, bilinear to 64 px", "none found", _read_fer),
        _Peer(
            "human",
            f"emotion network of @vladmandic/human 3.3.6 (oarriaga's), {fed.format(side=64)}",
            "66 % on FER2013 (README of its origin, oarriaga/face_classification)",
            partial(read_with_node, "human"),
        ),
        _Peer("face-api", f"expression network of @vladmandic/face-api 1.7.15, {fed.format(side=112)}", "none found", partial(read_with_node, "face-api")),
    )


def _read_fer(pictures: Pixels) -> tuple[Mapping[Convention, Numbers], str]:
    package = load_package(PACKAGE)
    with Networks(package, "fp32") as networks:
        stage, _ = networks.output("seen")
        return networks.whole(pictures), package.manifest.files[stage.model]


class _TfjsReport(msgspec.Struct, frozen=True):
    """What `emotions.mjs` says on its last line."""

    labels: tuple[str, ...]
    file: str


def read_with_node(network: str, pictures: Pixels) -> tuple[Mapping[Convention, Numbers], str]:
    """Read pictures with a network on npm, by its own preparation of a face.

    Args:
        network: `human` or `face-api`.
        pictures: uint8[N, S, S], gray.

    Returns:
        float64[N, 7] in the order of `edge.result.EMOTIONS`, the same for both conventions; and the SHA-256 of the weights.

    Raises:
        MissingDependency: There is no Node, or the packages cannot be fetched.
        RunFailed: The program failed, or gave something else.
    """
    folder = npm_environment(_ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="edge-peer-") as exchange:
        source, out = Path(exchange) / "pictures", Path(exchange) / "answers"
        source.write_bytes(np.ascontiguousarray(pictures).tobytes())
        command = ["node", str(_SCRIPT), network, str(source), str(pictures.shape[1]), str(out)]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise RunFailed(f"{network}: expected answers within {_TIMEOUT_S:.0f} s, it is still running") from error
        if done.returncode != 0 or not out.exists():
            said = " / ".join(done.stderr.strip().splitlines()[-3:])
            raise RunFailed(f"{network}: expected answers, it ended with exit code {done.returncode}: {said}")
        report = _report(network, done.stdout)
        answers = np.frombuffer(out.read_bytes(), "<f4").astype(np.float64).reshape(-1, len(report.labels))
        if len(answers) != len(pictures) or set(report.labels) != set(EMOTIONS):
            raise RunFailed(f"{network}: expected {len(pictures)} answers in {', '.join(EMOTIONS)}, got {len(answers)} in {', '.join(report.labels)}")
        ordered = answers[:, [report.labels.index(name) for name in EMOTIONS]]
        return {"seen": ordered, "fer2013": ordered}, file_sha256(Path(report.file))


def _report(network: str, stdout: str) -> _TfjsReport:
    lines = stdout.strip().splitlines()
    try:
        return msgspec.json.decode(lines[-1] if lines else "", type=_TfjsReport)
    except msgspec.MsgspecError as error:
        raise RunFailed(f"{network}: expected one JSON object on its last line, got {lines[-1][:120] if lines else 'nothing'!r}: {error}") from error
