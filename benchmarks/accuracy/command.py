"""`python -m benchmarks accuracy`: what is measured, in which order."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from benchmarks.accuracy.conditions import made_worse, natural_bins
from benchmarks.accuracy.emotions import EmotionFigures, emotion_figures
from benchmarks.accuracy.metrics import Labels, Numbers
from benchmarks.accuracy.model_card import require_card, write_card
from benchmarks.accuracy.peer_networks import measure_peers
from benchmarks.accuracy.readings import Convention, FaceReadings, Networks
from benchmarks.accuracy.report import AccuracyReport, verdicts_of
from benchmarks.accuracy.truth import Truth, clear_majorities, fer2013_truth
from benchmarks.accuracy.units_on_photographs import UnitsOnPhotographs, units_on_photographs
from benchmarks.accuracy.units_on_renders import units_on_renders
from benchmarks.accuracy.whole_pictures import Taught, joined, taught, with_faces
from benchmarks.budgets import Verdict, load_budgets
from benchmarks.environment import describe_machine
from benchmarks.timed_process import progress
from converters.training.affect import teacher
from converters.training.affect.rendered_faces import RenderedPeople, rendered_people
from converters.training.fer2013 import N_IN_TEST, PRIVATE_TEST, PUBLIC_TEST, Fer2013, Split, find_faces, majorities, read_fer2013
from edge.engine import PrecisionChoice
from edge.errors import ConfigError, require
from edge.package import Package, file_sha256, load_package

# Rendered people, and pictures of each.
_N_PEOPLE, _OF_EACH = 200, 8
_WHOSE = {"fer2013": "FER2013's own labels", "seen": "FER+, clear majorities (more than half of the votes for one of the seven)"}


@dataclass(frozen=True)
class Order:
    """What is to be measured.

    Attributes:
        model: Name or folder of a package.
        data: FER2013 with the votes of FER+.
        geometry: ICT-FaceKit's geometry, for rendered faces; None leaves them out.
        precision: As `edge-run --precision`.
        peers: Measure other networks too.
    """

    model: str
    data: Path
    geometry: Path | None
    precision: PrecisionChoice
    peers: bool


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add `accuracy` to the benchmarks' commands.

    Args:
        commands: What `add_subparsers` returned.
        shared: Flags of every command.
    """
    parser = commands.add_parser(
        "accuracy",
        parents=[shared],
        help="how right a package's emotions and action units are",
        description="On FER2013's PrivateTest with FER+'s votes, on what a teacher package says of the same faces, and on rendered faces (synthetic). "
        "The first run takes a quarter of an hour: what detector, teacher and renderer gave is then kept in the cache.",
    )
    parser.add_argument("--model", default="default", metavar="NAME|DIR", help="the package (default: default)")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="FER2013 with the votes of FER+: .npz, or .csv with fer2013new.csv beside it")
    parser.add_argument("--geometry", type=Path, metavar="FILE", help="ICT-FaceKit's geometry: action units and pose on rendered faces too")
    parser.add_argument("--precision", choices=get_args(PrecisionChoice), default="fp32", help="of the package's networks (default: fp32)")
    parser.add_argument("--peers", action="store_true", help="networks of others on the same pictures too; needs Node, npm and the network once")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw confusion matrices, reliability diagrams and action units into DIR")
    parser.add_argument("--card", type=Path, metavar="DIR", help="write the figures into the model card of the package's weights: converters/trained/default")


def command(arguments: argparse.Namespace) -> tuple[AccuracyReport, list[str], list[Verdict]]:
    """Measure a package; draw and write down what was asked for.

    Returns:
        The report, its lines for a person, and the verdicts.

    Raises:
        ConfigError: Arguments that cannot be used, or data that cannot be read.
        MissingDependency: Plots were asked for without matplotlib.
        PackageError: A package cannot be used.
        OutputError: The card or the plots cannot be written.
    """
    if arguments.plots is not None:
        # Asked for before the run, which takes minutes.
        require("matplotlib", install="pip install matplotlib   or: make frameworks", why="drawing the plots")
    if arguments.geometry is not None and not arguments.geometry.is_file():
        raise ConfigError(f"--geometry: no file at {arguments.geometry}", hint="ICT-FaceKit's geometry, see python -m calibration --help; leave it out")
    if arguments.card is not None:
        if arguments.geometry is None:
            raise ConfigError("--card: expected --geometry too, for the card tells of rendered faces", hint="--geometry ict_facekit.npz")
        require_card(load_package(arguments.model), arguments.card)
    order = Order(arguments.model, arguments.data, arguments.geometry, arguments.precision, peers=arguments.peers)
    report = measure_accuracy(order)
    if arguments.card is not None:
        write_card(report, arguments.card)
    if arguments.plots is not None:
        from benchmarks.accuracy.plots import draw_all

        draw_all(report, arguments.plots)
    return report, report.lines(), report.verdicts


def measure_accuracy(order: Order) -> AccuracyReport:
    """Measure a package.

    Raises:
        ConfigError: The package reads no emotions, or the data cannot be read.
        PackageError: A package cannot be used.
        EngineError: A network cannot be loaded or run.
    """
    package, data = load_package(order.model), read_fer2013(order.data)
    detector, split = load_package(package.detector_path()), data.splits[PRIVATE_TEST]
    truths: dict[Convention, Truth] = {"fer2013": fer2013_truth(split), "seen": clear_majorities(split)}
    with Networks(package, order.precision) as networks:
        # First, for a geometry that cannot be read shall not end a run of minutes.
        people = _people(order.geometry) if order.geometry is not None and networks.units else None
        progress("accuracy: emotions, own pixels")
        own = networks.whole(split.pictures)
        faces = find_faces(split.pictures, detector, say=progress)
        progress("accuracy: through detection and crop")
        seen = networks.faces(with_faces(split.pictures, faces, progress), len(faces), "seen")
        one_for_both = networks.output("seen") == networks.output("fer2013")
        labelled = seen if one_for_both else networks.faces(with_faces(split.pictures, faces, progress), len(faces), "fer2013")
        detected: dict[Convention, FaceReadings] = {"seen": seen, "fer2013": labelled}
        lessons = taught(split, progress)
        conditions = natural_bins(split.pictures, lessons, truths, own) | made_worse(networks, split.pictures, lessons, truths, progress)
        found: dict[Convention, tuple[EmotionFigures, EmotionFigures]] = {
            convention: (_figures(networks, truth, own[convention]), _figures(networks, truth, detected[convention].emotions))
            for convention, truth in truths.items()
        }
        report = AccuracyReport(
            schema="edge.benchmark.accuracy/1",
            package=_package(package, detector, networks),
            data=_data(data, order.geometry),
            machine=describe_machine(),
            fer2013_private=found["fer2013"][0],
            ferplus_private=found["seen"][0],
            fer2013_private_detected=found["fer2013"][1],
            ferplus_private_detected=found["seen"][1],
            conditions=conditions,
            action_units_real=_units(networks, data, detector, seen, lessons) if networks.units else None,
            action_units_synthetic=None if people is None else units_on_renders(networks, detector, people, progress),
            peers=measure_peers(split, truths, progress) if order.peers else None,
        )
    report.verdicts.extend(verdicts_of(report, load_budgets()))
    return report


def _figures(networks: Networks, truth: Truth, answers: Numbers) -> EmotionFigures:
    stage, output = networks.output(truth.convention)
    return emotion_figures(truth, answers[truth.rows], output=f"{stage.name}/{output.tensor}", labels=_WHOSE[truth.convention])


def _units(networks: Networks, data: Fer2013, detector: Package, private: FaceReadings, lessons: Taught) -> UnitsOnPhotographs:
    """PublicTest too: pictures of some emotions are few."""
    public = data.splits[PUBLIC_TEST]
    faces = find_faces(public.pictures, detector, say=progress)
    progress("accuracy: action units on PublicTest")
    more = networks.faces(with_faces(public.pictures, faces, progress), len(faces), "seen")
    more_lessons = taught(public, progress)
    progress("accuracy: the teacher on mirrored pictures")
    mirrored = [taught(replace(split, pictures=np.ascontiguousarray(split.pictures[:, :, ::-1])), progress) for split in (public, data.splits[PRIVATE_TEST])]
    teacher_package = load_package(teacher.PACKAGE)
    return units_on_photographs(
        FaceReadings(*(np.concatenate([getattr(each, name) for each in (more, private)]) for name in ("found", "emotions", "units", "pose_deg"))),
        joined((more_lessons, lessons)),
        joined(mirrored),
        np.concatenate([_majorities(split) for split in (public, data.splits[PRIVATE_TEST])]),
        teacher=f"{teacher.PACKAGE} {teacher_package.sha256}",
        is_teacher=networks.package.sha256 == teacher_package.sha256,
    )


def _majorities(split: Split) -> Labels:
    assert split.votes is not None  # `clear_majorities` has made sure, and a file has votes for all splits or for none
    return majorities(split.votes)


def _people(geometry: Path) -> RenderedPeople:
    progress("accuracy: rendering people that nothing was trained on")
    processes = len(os.sched_getaffinity(0))
    return rendered_people(geometry, split="test", n_people=_N_PEOPLE, per_person=_OF_EACH, say=progress, processes=processes)


def _package(package: Package, detector: Package, networks: Networks) -> dict[str, object]:
    manifest = package.manifest
    return {
        "name": package.name,
        "sha256": package.sha256,
        "precision": networks.precision,
        "networks": {stage.name: str(package.model_path(stage, networks.precision).name) for stage in manifest.stages},
        "files": manifest.files,
        "origins": msgspec.to_builtins(manifest.origins),
        "action_units": networks.units,
        "low_confidence": manifest.low_confidence,
        "not_offered": manifest.not_offered,
        "detector": {"name": detector.name, "sha256": detector.sha256, "precision": "fp32", "files": detector.manifest.files},
    }


def _data(data: Fer2013, geometry: Path | None) -> dict[str, object]:
    return {
        "file": data.file,
        "sha256": data.sha256,
        "splits": {
            name: {"sha256": split.sha256, "n": len(split.pictures), "n_in_the_competition": N_IN_TEST}
            for name, split in data.splits.items()
            if name in (PUBLIC_TEST, PRIVATE_TEST)
        },
        "geometry": None if geometry is None else {"file": geometry.name, "sha256": file_sha256(geometry), "people": _N_PEOPLE, "faces_of_each": _OF_EACH},
    }
