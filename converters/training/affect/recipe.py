"""Trains the network of the package `default`: what it learns from, for how long, how its probabilities are set right, and the files that it becomes."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import cv2
import msgspec
import numpy as np
import torch

from calibration.default_sources import RENDERS
from calibration.rendering.sheets import read_renders
from converters.registry import Say
from converters.stored_network import CARD, store_network
from converters.training.affect.calibrate import apply_temperature, cross_entropy, temperature
from converters.training.affect.export import answers_of, to_onnx
from converters.training.affect.fer2013_faces import Fer2013Faces, read_fer2013_faces
from converters.training.affect.labelled_faces import LabelledFaces, Numbers
from converters.training.affect.learning import Schedule, Source, answers, seconds_learned, train
from converters.training.affect.network import SIDE_PX, FaceNetwork, n_parameters
from converters.training.affect.rendered_faces import rendered_faces
from converters.training.fer2013 import LABELS, PUBLIC_TEST, TRAINING, Labels
from edge.frame import Pixels
from edge.package import file_sha256

Profile = Literal["cpu", "long", "gpu"]
PROFILES: tuple[Profile, ...] = ("cpu", "long", "gpu")

FILE = "face.onnx"
# What a later start goes on with.
_FIRST, _SECOND = "checkpoint", "checkpoint-finish"
_SEED = 1
_PER_PERSON = 8
# Half of the renders in an epoch: emotions, which only photographs teach, are what takes long to learn.
_RENDERS_SEEN = 0.5
# The second part: all renders, pictures that are spoiled half as often, and smaller steps.
_FINISH_SPOILED, _FINISH_PEAK = 0.5, 1e-3
# Crops whose answers in PyTorch are kept beside the weights.
_N_RECORDED = 16


@dataclass(frozen=True)
class Plan:
    """How long a profile learns.

    Attributes:
        people: That are rendered for it.
        epochs: Passes over the faces.
        finish: Further passes, over what cameras spoiled less; 0 for none.
    """

    people: int
    epochs: int
    finish: int


# `cpu`: under two hours on two cores. `long`: five. That of a GPU was not run yet.
_PLANS: Mapping[Profile, Plan] = {"cpu": Plan(3000, 45, 0), "long": Plan(3000, 45, 45), "gpu": Plan(6000, 150, 50)}


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """`card.json`: how the weights were made. What they are worth is measured by `python -m benchmarks accuracy`.

    Attributes:
        name: Of the package.
        profile: `cpu`, `long` or `gpu`.
        schedule: See `converters.training.affect.learning.Schedule`.
        finish: Of the second part; None where there was none.
        n_parameters: Numbers that were learned.
        sources: Faces that were learned from, by their source.
        data: Name and SHA-256 of what was read.
        left_out: Pictures of Training that show a photograph of a test, and of PublicTest one of PrivateTest.
        temperatures: By which the logits of an output were divided; found on PublicTest.
        cross_entropy: On PublicTest, by output, before and after that, in nats.
        minutes: Of learning, on this machine; without the preparation of the faces, which is kept for the next time.
        machine: Processor or GPU.
        versions: Of Python and the libraries.
        files: SHA-256 of each file beside the card.
    """

    name: str
    profile: Profile
    schedule: dict[str, float]
    finish: dict[str, float] | None
    n_parameters: int
    sources: dict[str, int]
    data: dict[str, str]
    left_out: dict[str, int]
    temperatures: dict[str, float]
    cross_entropy: dict[str, tuple[float, float]]
    minutes: float
    machine: str
    versions: dict[str, str]
    files: dict[str, str]


def train_default(data: Path, geometry: Path, out: Path, *, profile: Profile | None = None, own: Sequence[Path] = (), say: Say) -> Trained:
    """Train the network and write it with its card.

    An interrupted training goes on where it was when it is started again with the same arguments.

    Args:
        data: FER2013 with FER+'s votes, see `read_fer2013_faces`.
        geometry: ICT-FaceKit's face model, see `calibration.rendering.geometry`.
        out: Folder that gets `face.onnx.xz`, `answers.npz` and `card.json`, and in two folders what a later start goes on with.
        profile: How long; None for `gpu` or `cpu`, by what there is. `long` goes on where `cpu` ended.
        own: Further faces to learn from: files that `LabelledFaces.save` wrote.
        say: Takes progress lines.

    Raises:
        ConfigError: A file cannot be read, or the checkpoint is of another schedule.
        PackageNotFound: The teacher or the face detector is not installed.
        EngineError: One of their networks cannot be loaded.
    """
    profile = profile or ("gpu" if torch.cuda.is_available() else "cpu")
    photographs = read_fer2013_faces(data, say=say)
    plan = _PLANS[profile]
    renders = rendered_faces(geometry, split="train", n_people=plan.people, per_person=_PER_PERSON, say=say, processes=len(os.sched_getaffinity(0)))
    sources = [Source(photographs.splits[TRAINING], are_crops=True), Source(with_points(renders), are_crops=False, share=_RENDERS_SEEN)]
    sources += [Source(with_points(LabelledFaces.load(path)), are_crops=False) for path in own]
    learned = learn(sources, plan, out, say=say)
    network = learned.network
    temperatures, losses = _set_right(network, photographs.splits[PUBLIC_TEST])
    crops = _recorded_crops()
    files = store_network(to_onnx(network), crops, answers_of(network, crops[:, np.newaxis].astype(np.float32) / 127.5 - 1), out / FILE)
    card = Trained(
        name="default",
        profile=profile,
        schedule=asdict(learned.schedule),
        finish=asdict(learned.finish) if learned.finish else None,
        n_parameters=n_parameters(network),
        sources={source.faces.source: len(source.faces) for source in sources},
        data=_data(photographs, geometry, own),
        left_out=dict(photographs.n_left_out),
        temperatures=temperatures,
        cross_entropy=losses,
        minutes=round(learned.seconds / 60, 1),
        machine=torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        versions={"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy", "onnx", "opencv-python-headless")}},
        files=files,
    )
    (out / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    return card


@dataclass(frozen=True)
class Learned:
    """A network that has learned what a plan says, and how long that took on this machine, over all starts."""

    network: FaceNetwork
    schedule: Schedule
    finish: Schedule | None
    seconds: float


def learn(sources: Sequence[Source], plan: Plan, out: Path, *, say: Say) -> Learned:
    """Train the network in one part or in two, or go on where that was stopped.

    Args:
        sources: What to learn from.
        plan: How long. The second part sees all of each source, spoiled half as often.
        out: Gets a folder of checkpoints for each part.
        say: Takes progress lines.

    Raises:
        ConfigError: A checkpoint is of another schedule.
    """
    schedule = Schedule(epochs=plan.epochs, seed=_SEED)
    first = train(FaceNetwork, sources, schedule, out / _FIRST, say=say)
    seconds = seconds_learned(out / _FIRST)
    if not plan.finish:
        return Learned(first, schedule, None, seconds)
    say("the second part")
    finish = Schedule(epochs=plan.finish, peak=_FINISH_PEAK, seed=_SEED + 1)
    clearer = [replace(source, share=1.0, spoiled=_FINISH_SPOILED) for source in sources]
    network = train(lambda: first, clearer, finish, out / _SECOND, say=say)
    return Learned(network, schedule, finish, seconds + seconds_learned(out / _SECOND))


def with_points(faces: LabelledFaces) -> LabelledFaces:
    """Return the faces whose points are known: a crop cannot be placed on the others."""
    return faces.chosen(np.asarray(np.isfinite(faces.points).all(axis=(1, 2))))


def _set_right(network: FaceNetwork, held_out: LabelledFaces) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Find and apply the temperatures of both emotion outputs."""
    _, said = answers(network, Source(held_out, are_crops=True), np.arange(len(held_out)))
    temperatures, losses = {}, {}
    for name, truth in (("seen", held_out.seen), ("fer2013", _one_hot(held_out.labels))):
        known = np.isfinite(truth).all(axis=1)
        logits = said[name][known]
        found = temperature(logits, truth[known])
        temperatures[name] = round(found, 4)
        losses[name] = (round(cross_entropy(logits, truth[known]), 4), round(cross_entropy(logits / found, truth[known]), 4))
    apply_temperature(network, seen=temperatures["seen"], fer2013=temperatures["fer2013"])
    return temperatures, losses


def _one_hot(labels: Labels) -> Numbers:
    rows = np.eye(len(LABELS), dtype=np.float32)[np.maximum(labels, 0)]
    return np.where((labels >= 0)[:, np.newaxis], rows, np.float32(np.nan))


def _recorded_crops() -> Pixels:
    """Gray crops of committed renders: uint8[N, 64, 64]."""
    faces = [face.rgb for face in read_renders(RENDERS)]
    chosen = faces[:: max(1, len(faces) // _N_RECORDED)][:_N_RECORDED]
    return np.stack([cv2.cvtColor(cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for rgb in chosen])


def _data(photographs: Fer2013Faces, geometry: Path, own: Sequence[Path]) -> dict[str, str]:
    return {photographs.file: photographs.sha256, **{path.name: file_sha256(path) for path in (geometry, *own)}}
