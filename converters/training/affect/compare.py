"""Trains architectures side by side, on the same faces with the same schedule, and measures each the same way.

PublicTest and rendered people of the validation split decide: this is a choice, and the test stays unseen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from converters.errors import ConversionError
from converters.mac_count import count_macs
from converters.quantization.int8 import quantize_int8
from converters.quantization.latency import BATCHES, in_turns, processor
from converters.quantization.trial import answers
from converters.registry import Say
from converters.training.affect.augment import Views, plain_views
from converters.training.affect.candidates import CANDIDATES, Candidate
from converters.training.affect.comparison_report import Comparison, Figures, Result, Row, Share, write_report
from converters.training.affect.export import INPUT, to_onnx
from converters.training.affect.fer2013_faces import read_fer2013_faces
from converters.training.affect.labelled_faces import UNITS, LabelledFaces, Numbers
from converters.training.affect.learning import Schedule, Source, train
from converters.training.affect.network import n_parameters
from converters.training.affect.recipe import with_points
from converters.training.affect.rendered_faces import rendered_faces
from converters.training.affect.teacher import SOUND_UNITS
from converters.training.fer2013 import PUBLIC_TEST, TRAINING
from converters.training.measure import wilson_interval
from edge.errors import ConfigError

EPOCHS = 6
RESULT, CHECKPOINTS = "result.json", "checkpoint"
_FP32, _INT8 = "fp32.onnx", "int8.onnx"
# People that are rendered: a part of those that the package's network learns from, and of the validation split.
_PEOPLE, _VALIDATION_PEOPLE, _PER_PERSON = 1000, 100, 8
# Crops on which INT8's grids are measured, from the faces that are learned from.
_N_FOR_GRIDS = 256


@dataclass(frozen=True)
class Material:
    """What every candidate learns from and is judged on.

    Attributes:
        sources: To learn from.
        photographs: PublicTest, read whole.
        renders: Of people never learned from; all have points.
    """

    sources: Sequence[Source]
    photographs: LabelledFaces
    renders: LabelledFaces

    @property
    def sizes(self) -> dict[str, int]:
        """Faces by their source."""
        return {faces.source: len(faces) for faces in (*(source.faces for source in self.sources), self.photographs, self.renders)}


def compare_candidates(data: Path, geometry: Path, out: Path, *, epochs: int = EPOCHS, only: Sequence[str] = (), say: Say) -> Comparison:
    """Train and measure candidates, and write `candidates.json`, `.md` and `.png`.

    A comparison that was stopped goes on where it was when it is started again with the same arguments.

    Args:
        data: FER2013 with FER+'s votes, see `read_fer2013_faces`.
        geometry: ICT-FaceKit's face model, see `calibration.rendering.geometry`.
        out: Gets the report, and a folder for each candidate: checkpoint, networks, `result.json`.
        epochs: Passes over the faces.
        only: Keys of `CANDIDATES`; empty for all.
        say: Takes progress lines.

    Raises:
        ConfigError: Another name, a file that cannot be read, a checkpoint or result of other settings, or a candidate that does not learn.
        ConversionError: A candidate cannot be exported.
        PackageNotFound: The teacher or the face detector is not installed.
        EngineError: A network cannot be loaded.
    """
    if unknown := [name for name in only if name not in CANDIDATES]:
        raise ConfigError(f"expected candidates from {', '.join(CANDIDATES)}, got {', '.join(unknown)}")
    if epochs < 1:
        raise ConfigError(f"expected at least one epoch, got {epochs}")
    splits = read_fer2013_faces(data, say=say).splits
    processes = len(os.sched_getaffinity(0))
    renders = rendered_faces(geometry, split="train", n_people=_PEOPLE, per_person=_PER_PERSON, say=say, processes=processes)
    unseen = rendered_faces(geometry, split="validation", n_people=_VALIDATION_PEOPLE, per_person=_PER_PERSON, say=say, processes=processes)
    sources = [Source(splits[TRAINING], are_crops=True), Source(with_points(renders), are_crops=False)]
    chosen = {name: candidate for name, candidate in CANDIDATES.items() if not only or name in only}
    return compare(chosen, Material(sources, splits[PUBLIC_TEST], with_points(unseen)), Schedule(epochs=epochs), out, say=say)


def compare(candidates: Mapping[str, Candidate], material: Material, schedule: Schedule, out: Path, *, say: Say) -> Comparison:
    """Train and measure candidates on faces that are at hand; see `compare_candidates`.

    Args:
        candidates: By name.
        material: The faces.
        schedule: For all of them; a candidate may have a `peak` of its own.
        out: As of `compare_candidates`.
        say: Takes progress lines.

    Raises:
        ConfigError: A checkpoint or result of other settings, or a candidate that does not learn.
        ConversionError: A candidate cannot be exported.
        EngineError: A network cannot be loaded.
        InferenceFailed: A network cannot be run.
    """
    views = _views(Source(material.photographs, are_crops=True)), _views(Source(material.renders, are_crops=False))
    results = {name: _result(name, candidate, material, views, schedule, out / name, say) for name, candidate in candidates.items()}
    forms = [(name, file) for name, result in results.items() for file in (_FP32, _INT8) if file == _FP32 or result.int8 is not None]
    say(f"timing {len(forms)} networks in turns")
    timings = dict(zip(forms, in_turns([out / name / file for name, file in forms], {INPUT: views[0].crops[: max(BATCHES)]}), strict=True))
    comparison = Comparison(
        rows=tuple(Row(result=result, fp32=timings[name, _FP32], int8=timings.get((name, _INT8), ())) for name, result in results.items()),
        processor=processor(),
        versions={name: version(name) for name in ("torch", "onnxruntime", "onnx", "numpy")},
    )
    write_report(comparison, out)
    return comparison


def _result(name: str, candidate: Candidate, material: Material, views: tuple[Views, Views], schedule: Schedule, folder: Path, say: Say) -> Result:
    if candidate.peak is not None:
        schedule = replace(schedule, peak=candidate.peak)
    if (folder / RESULT).exists():
        result = _read(folder / RESULT)
        if (result.schedule, result.faces) != (asdict(schedule), material.sizes):
            raise ConfigError(
                f"{folder / RESULT} was made with {result.schedule} on {result.faces}, asked for is {asdict(schedule)} on {material.sizes}",
                hint="choose another folder, or remove it",
            )
        say(f"{name}: measured already")
        return result
    say(f"{name}: {candidate.words}")
    network = train(candidate.build, material.sources, schedule, folder / CHECKPOINTS, say=say)
    model = to_onnx(network)
    onnx.save(model, folder / _FP32)
    refused = _make_int8(model, material, folder / _INT8)
    say(f"{name}: measuring")
    result = Result(
        name=name,
        words=candidate.words,
        schedule=asdict(schedule),
        faces=material.sizes,
        n_parameters=n_parameters(network),
        n_macs=count_macs(model, batch=1),
        fp32=_figures(name, folder / _FP32, *views),
        int8=None if refused else _figures(f"{name} in INT8", folder / _INT8, *views),
        int8_refused=refused,
    )
    (folder / RESULT).write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return result


def _read(path: Path) -> Result:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="remove it: the checkpoint beside it is measured again") from error


def _views(source: Source) -> Views:
    return plain_views(source.faces, np.arange(len(source.faces)), are_crops=source.are_crops)


def _make_int8(model: onnx.ModelProto, material: Material, path: Path) -> str:
    """Write the network in INT8, or return why there is none."""
    rng, parts = np.random.default_rng(0), []
    for source in material.sources:
        rows = rng.permutation(len(source.faces))[: _N_FOR_GRIDS // len(material.sources)]
        parts.append(plain_views(source.faces, rows, are_crops=source.are_crops).crops)
    try:
        onnx.save(quantize_int8(model, {INPUT: np.concatenate(parts)}, calibrator="max"), path)
    except ConversionError as error:
        return str(error)
    return ""


def _figures(name: str, path: Path, photographs: Views, renders: Views) -> Figures:
    said, of_renders = (answers(path, {INPUT: views.crops}) for views in (photographs, renders))
    _require_learned(name, [said["seen"], said["fer2013"], said["units"], of_renders["units"]])
    labelled = photographs.labels >= 0
    # NaN, where nobody is known to have voted, is never more than half.
    clear = photographs.seen.max(axis=1) > 0.5
    taught = np.isfinite(photographs.units[:, [UNITS.index(unit) for unit in SOUND_UNITS]]).all(axis=1)
    probability = 1 / (1 + np.exp(-said["units"][taught].astype(np.float64)))
    correlation = {
        unit: float(np.corrcoef(probability[:, UNITS.index(unit)], photographs.units[taught, UNITS.index(unit)].astype(np.float64))[0, 1])
        for unit in SOUND_UNITS
    }
    area = {unit: float(roc_auc_score(renders.units[:, column] > 0, of_renders["units"][:, column])) for column, unit in enumerate(UNITS)}
    return Figures(
        fer2013=_share(photographs.labels[labelled], said["fer2013"][labelled]),
        ferplus=_share(photographs.seen[clear].argmax(axis=1), said["seen"][clear]),
        n_renders=len(renders.crops),
        unit_auc=area,
        mean_unit_auc=float(np.mean(list(area.values()))),
        n_taught=int(taught.sum()),
        teacher_correlation=correlation,
        mean_teacher_correlation=float(np.mean(list(correlation.values()))),
    )


def _share(truth: NDArray[np.int64], logits: Numbers) -> Share:
    n, n_right = len(truth), int((logits.argmax(axis=1) == truth).sum())
    return Share(n=n, value=n_right / n, interval=wilson_interval(n_right, n))


def _require_learned(name: str, outputs: Sequence[Numbers]) -> None:
    for values in outputs:
        if not np.isfinite(values).all() or (np.ptp(values, axis=0) == 0).any():
            raise ConfigError(
                f"{name} did not learn: it gives the same for every face, or no finite numbers",
                hint="give it a lower peak in converters/training/affect/candidates.py, and remove its folder",
            )
