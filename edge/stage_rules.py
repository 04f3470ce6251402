"""What types alone cannot say of a package's stages: names that must exist, labels that must be known, sizes and ranges that make sense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from edge.result import ACTION_UNITS, EMOTIONS
from edge.stage import (
    ActionUnits,
    Boxes,
    BoxRegion,
    ClipAudioInput,
    ClipInput,
    CropInput,
    EmbeddingInput,
    Emotions,
    EyesRegion,
    FrameInput,
    Landmarks,
    Named,
    Output,
    PictureInput,
    PointsInput,
    Presence,
    Spectrogram,
    Stage,
    n_channels_of,
    of_frame,
    role_of,
)

# A face that is to be followed for longer than this before the first number would be a mistake of units.
_MAX_S = 60.0


def stage_problems(stages: tuple[Stage, ...], *, detects: bool, detector: str) -> Iterator[str]:
    """Find contradictions.

    Args:
        stages: Of a manifest.
        detects: The package finds faces; otherwise it reads affect.
        detector: The package that finds faces for this one.

    Yields:
        Each contradiction, in words that name stage and value.
    """
    if not stages:
        yield "no stages"
    earlier: dict[str, Stage] = {}
    whole = of_frame(stages)
    for stage in stages:
        if stage.name in earlier:
            yield f"two stages are called '{stage.name}'"
        yield from _input_problems(stage, earlier)
        for output in stage.outputs:
            yield from _output_problems(output, stage.name)
            if isinstance(output, Landmarks) and not isinstance(stage.input, CropInput):
                yield f"stage '{stage.name}' has landmarks, which are read in crops of a face alone"
            if stage.name in whole and not detects and not isinstance(output, Named | Boxes):
                yield f"stage '{stage.name}' takes the whole picture, which has no {output.__struct_config__.tag}"
        earlier[stage.name] = stage
    for stage in stages:
        if any(isinstance(output, Boxes) for output in stage.outputs) != detects:
            task, has = ("face-detection", "without") if detects else ("face-affect", "with")
            yield f"task '{task}' {has} an output of role 'boxes' in stage '{stage.name}'"
    if not detects:
        yield from _affect_problems(stages, whole, detector)


def _affect_problems(stages: tuple[Stage, ...], whole: frozenset[str], detector: str) -> Iterator[str]:
    if not detector and len(whole) < len(stages):
        yield "stages take crops of faces, but no detector is named"
    if detector and len(whole) == len(stages):
        yield f"detector '{detector}' is named, but no stage takes faces"
    read = {_earlier_stage(stage) for stage in stages}
    for stage in stages:
        if not stage.outputs and stage.name not in read:
            yield f"stage '{stage.name}' has no outputs, and no later stage reads it"
        if isinstance(stage.input, FrameInput) and stage.input.resize == "tiles":
            yield f"stage '{stage.name}' takes tiles, which are for detection alone"
    for subject, inside in (("picture", True), ("face", False)):
        those = [stage for stage in stages if (stage.name in whole) == inside]
        roles = [role_of(output) for stage in those for output in stage.shown if isinstance(output, Named)]
        yield from (f"two outputs say the {subject}'s {role}" for role in sorted(set(roles)) if roles.count(role) > 1)
        yield from _convention_problems([output for stage in those for output in stage.outputs if isinstance(output, Emotions)], subject)
    if len({output.quantity for stage in stages for output in stage.outputs if isinstance(output, ActionUnits)}) > 1:
        yield "action units are presences in one output and intensities in another"
    if len(rates := {stage.input.audio.rate_hz for stage in stages if isinstance(stage.input, ClipAudioInput)}) > 1:
        yield f"stages take sound at different rates: {', '.join(f'{rate} Hz' for rate in sorted(rates))}"


def _convention_problems(outputs: Sequence[Emotions], subject: str) -> Iterator[str]:
    """What is not shown is there for labels of another convention than the shown one's, and each convention has one output."""
    if outputs and not any(output.shown for output in outputs):
        yield f"none of the outputs that say the {subject}'s emotions is shown"
    conventions = [output.convention for output in outputs]
    for output in outputs:
        if not output.shown and (not output.convention or conventions.count(output.convention) > 1):
            yield f"emotions of '{output.tensor}' are not shown: expected a convention that no other output has, got '{output.convention}'"


def _earlier_stage(stage: Stage) -> str | None:
    return stage.input.stage if isinstance(stage.input, EmbeddingInput | PointsInput) else None


def _input_problems(stage: Stage, earlier: Mapping[str, Stage]) -> Iterator[str]:
    spec = stage.input
    if isinstance(spec, PointsInput):
        source = earlier.get(spec.stage)
        if source is None or not any(isinstance(output, Landmarks) for output in source.outputs):
            yield f"stage '{stage.name}' takes landmarks of '{spec.stage}', which is no earlier stage with landmarks"
        if not spec.indices or min(spec.indices) < 0:
            yield f"stage '{stage.name}' takes landmarks by their indices, from 0; got {list(spec.indices)}"
    elif isinstance(spec, EmbeddingInput):
        if spec.stage not in earlier:
            yield f"stage '{stage.name}' takes '{spec.source}' of '{spec.stage}', which is no earlier stage"
    else:
        yield from _picture_problems(stage.name, spec)


def _picture_problems(name: str, spec: PictureInput) -> Iterator[str]:
    if min(spec.size_wh_px) < 1:
        yield f"stage '{name}' has an input of {spec.size_wh_px} pixels"
    n_channels = n_channels_of(spec.color)
    for what, value in (("scale", spec.scale), ("offset", spec.offset)):
        values = value if isinstance(value, tuple) else (value,) * n_channels
        if len(values) != n_channels:
            yield f"stage '{name}': {what} has {len(values)} numbers for {n_channels} channels of {spec.color}"
        if not all(math.isfinite(each) for each in values) or (what == "scale" and not all(values)):
            yield f"stage '{name}': {what} must be finite{' and not 0' if what == 'scale' else ''}; got {value}"
    if not isinstance(spec, FrameInput):
        yield from (f"stage '{name}': {problem}" for problem in _region_problems(spec.region))
    if isinstance(spec, ClipInput):
        if spec.n_frames < 2:
            yield f"stage '{name}': a clip has at least 2 frames; got n_frames {spec.n_frames}"
        if not 0 < spec.duration_s <= _MAX_S:
            yield f"stage '{name}': a clip lasts longer than 0 s and no longer than {_MAX_S:g}; got duration_s {spec.duration_s}"
    if isinstance(spec, ClipAudioInput):
        yield from (f"stage '{name}': {problem}" for problem in _sound_problems(spec.audio, picture=spec.tensor))


def _region_problems(region: BoxRegion | EyesRegion) -> Iterator[str]:
    if isinstance(region, BoxRegion):
        if not 0 < region.expand < math.inf:
            yield f"expand is over 0; got {region.expand:g}"
    elif not 0 < region.eye_distance < math.inf or not math.isfinite(region.eye_line):
        yield f"eye_distance is over 0 and eye_line finite; got {region.eye_distance:g} and {region.eye_line:g}"


def _sound_problems(spec: Spectrogram, *, picture: str) -> Iterator[str]:
    if spec.tensor == picture:
        yield f"clip and sound go to the same tensor '{picture}'"
    if spec.rate_hz < 1 or not 0 < spec.duration_s <= _MAX_S:
        yield f"sound needs a rate_hz over 0 and a duration_s over 0, up to {_MAX_S:g}; got {spec.rate_hz} Hz, {spec.duration_s} s"
    if spec.segment < 2 or not 0 <= spec.overlap < spec.segment:
        yield f"a segment has at least 2 samples and overlap is less than a segment; got segment {spec.segment}, overlap {spec.overlap}"
    elif spec.duration_s * spec.rate_hz < spec.segment:
        yield f"{spec.duration_s} s of sound at {spec.rate_hz} Hz are less than one segment of {spec.segment} samples"
    if not 0 <= spec.taper <= 1:
        yield f"taper is a part of a segment, from 0 to 1; got {spec.taper}"
    if not 0 < spec.noise < math.inf:
        yield f"noise is over 0, or silence would be divided by nothing; got {spec.noise}"
    if min(spec.size_wh_px) < 1:
        yield f"a spectrogram of {spec.size_wh_px} pixels"


def _output_problems(output: Output, stage: str) -> Iterator[str]:
    if isinstance(output, Presence | Boxes) and not 0 < output.min_score < 1:
        yield f"stage '{stage}': min_score lies between 0 and 1; got {output.min_score}"
    if isinstance(output, Boxes) and not 0 < output.max_overlap < 1:
        yield f"stage '{stage}': max_overlap lies between 0 and 1; got {output.max_overlap}"
    if isinstance(output, Landmarks) and min(*output.left_eye, *output.right_eye, *output.axes) < 0:
        yield f"stage '{stage}': landmarks have indices from 0; got {output.left_eye}, {output.right_eye}, {output.axes}"
    if isinstance(output, Landmarks) and not (0 < output.admit_presence < 1 and 0 < output.admit_eye_shift < math.inf):
        yield f"stage '{stage}': admit_presence lies between 0 and 1, admit_eye_shift over 0; got {output.admit_presence} and {output.admit_eye_shift}"
    if not isinstance(output, Named):
        return
    role, labels = role_of(output), output.labels
    if not labels or len(set(labels)) < len(labels):
        yield f"stage '{stage}': {role} must have labels, each once; got {', '.join(labels) or 'none'}"
    if output.columns is not None:
        first, end = output.columns
        if first < 0 or end - first != len(labels):
            yield f"stage '{stage}': {role} has {len(labels)} labels for columns {first} to {end}"
    if isinstance(output, Emotions):
        yield from _emotion_problems(output, stage)
    if isinstance(output, ActionUnits):
        yield from _unit_problems(output, stage)


def _emotion_problems(output: Emotions, stage: str) -> Iterator[str]:
    if not set(output.labels) <= set(EMOTIONS):
        yield f"stage '{stage}': emotions must be some of {', '.join(EMOTIONS)}; got {', '.join(output.labels)}"
    if output.neutral_below is not None:
        if not 0 < output.neutral_below < 1:
            yield f"stage '{stage}': neutral_below lies between 0 and 1; got {output.neutral_below}"
        if output.activation == "softmax":
            yield f"stage '{stage}': neutral_below is for scores that are low where nothing is seen; those of a softmax add up to 1"
        if "neutral" in output.labels:
            yield f"stage '{stage}': neutral_below is for networks without a neutral output, and 'neutral' is among the labels"


def _unit_problems(output: ActionUnits, stage: str) -> Iterator[str]:
    names = [unit.label for unit in output.units] or list(output.labels)
    for name in names:
        if name not in ACTION_UNITS:
            yield f"stage '{stage}': '{name}' is not one of {', '.join(ACTION_UNITS)}"
    if len(set(names)) < len(names):
        yield f"stage '{stage}': each action unit once; got {', '.join(names)}"
    for unit in output.units:
        if unknown := set(unit.shapes) - set(output.labels):
            yield f"stage '{stage}': {unit.label} is read from {sorted(unknown)}, which the network does not give"
        if not unit.shapes or not unit.rest < unit.full:
            yield f"stage '{stage}': {unit.label} needs at least one activation and rest < full; got rest {unit.rest}, full {unit.full}"
