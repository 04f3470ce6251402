"""What a manifest says of one network: what it is fed, and how its answers are read.

`pixels * scale + offset` is the only normalisation; an activation is applied only where it is named. Nothing is guessed from names or shapes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge.result import EMOTIONS

Activation = Literal["none", "sigmoid", "softmax"]
Color = Literal["rgb", "bgr", "gray"]
# One number for all channels, or one for each in the order in which the network takes them.
PerChannel = float | tuple[float, ...]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Unknown keys are errors: a misspelt key must not silently mean its default."""


class BoxRegion(Strict, frozen=True, tag_field="from", tag="box"):
    """The face's box.

    Attributes:
        expand: The crop's short side over the long side of the box; the longer side of the crop reaches further.
        level_eyes: Turn the crop so that the eyes are level.
        stretch: Instead of reaching further, the square of that side is resized to the crop, each of its sides in a scale of its own.
    """

    expand: float = 1.0
    level_eyes: bool = True
    stretch: bool = False


class EyesRegion(Strict, frozen=True, tag_field="from", tag="eyes"):
    """A rectangle placed by the two eye centres.

    Attributes:
        eye_distance: Distance of the eyes over the crop's width.
        eye_line: Height of the eyes over the crop's height, from the top.
        level_eyes: Turn the crop so that the eyes are level.
    """

    eye_distance: float
    eye_line: float
    level_eyes: bool = True


class CropInput(Strict, frozen=True, tag_field="kind", tag="crop"):
    """One crop of each face: float32[N, 1 or 3, H, W]."""

    tensor: str
    color: Color
    size_wh_px: tuple[int, int]
    region: BoxRegion | EyesRegion
    scale: PerChannel
    offset: PerChannel = 0.0
    equalize: bool = False


class FrameInput(Strict, frozen=True, tag_field="kind", tag="frame"):
    """The whole picture, or the part of it inside `--roi`: float32[N, C, H, W], N = 1 in an affect package.

    Attributes:
        resize: `letterbox` keeps the aspect ratio and pads with black, centred; `stretch` does not keep it; `tiles` (detection only) covers the picture
            with overlapping squares, a batch of them.
    """

    tensor: str
    color: Color
    size_wh_px: tuple[int, int]
    resize: Literal["letterbox", "stretch", "tiles"]
    scale: PerChannel
    offset: PerChannel = 0.0
    equalize: bool = False


class ClipInput(Strict, frozen=True, tag_field="kind", tag="clip"):
    """The last crops of each face, equally spaced in media time, oldest first.

    Where two frames lie further apart than two spaces, and a millisecond more for times that are rounded, the clip starts anew. Where that happens twice
    before there is a clip, frames come too slowly: where there is none, the reason is `fps<N`, with N = 1 / two spaces, until all came in time for twice
    `duration_s`. A face that is missed for no longer than two spaces keeps its clip.

    Attributes:
        n_frames: How many crops, at least 2.
        duration_s: Media time from the first to the last of them. A face is `warming_up` until it has been followed for that long, or for half a frame period
            less: its first crop is then as near to the beginning of the clip as any would be.
        frames_as: `depth` gives float32[N, C, n_frames, H, W], for 3-D convolutions; `channels` gives float32[N, n_frames * C, H, W].
    """

    tensor: str
    color: Color
    size_wh_px: tuple[int, int]
    region: BoxRegion | EyesRegion
    scale: PerChannel
    n_frames: int
    duration_s: float
    frames_as: Literal["depth", "channels"]
    offset: PerChannel = 0.0
    equalize: bool = False

    @property
    def step_s(self) -> float:
        """Media time between neighbouring crops."""
        return self.duration_s / (self.n_frames - 1)


class Spectrogram(Strict, frozen=True):
    """The sound of the last moments as a picture: float32[N, 1, H, W], the same for every face; frequency grows upwards, time to the right.

    Power is divided by its maximum: values lie in [0, 1] but for what a bicubic resize overshoots. See `edge.spectrogram`.

    Attributes:
        tensor: The network's input.
        rate_hz: The sound is brought to one channel at this rate.
        duration_s: How much of it, up to the frame's media time.
        segment: Samples of one Fourier transform.
        overlap: Samples that neighbouring segments share.
        taper: Part of a segment that the window tapers (Tukey), in [0, 1].
        noise: Deviation of the white noise that is added to the 16-bit samples, > 0, so that silence is not divided by nothing.
        size_wh_px: The picture is brought to this size (bicubic).
    """

    tensor: str
    rate_hz: int
    duration_s: float
    segment: int
    overlap: int
    taper: float
    noise: float
    size_wh_px: tuple[int, int]


class ClipAudioInput(ClipInput, frozen=True, kw_only=True, tag_field="kind", tag="clip+audio"):
    """A clip and the sound that goes with it: two tensors.

    A face is `warming_up` until there is enough of both. The reason is `no sound` where no sound has come to within a tenth of a second of the frame, and
    `sound late` where it comes, but later than that after its frames, as it may from live sources.
    """

    audio: Spectrogram


class PointsInput(Strict, frozen=True, tag_field="kind", tag="points"):
    """Landmarks of an earlier stage: float32[N, len(indices), 2], x and y in frame pixels."""

    tensor: str
    stage: str
    indices: tuple[int, ...]


class EmbeddingInput(Strict, frozen=True, tag_field="kind", tag="embedding"):
    """What an earlier stage says of each face, or of the picture, as its network gave it: float32[N, K]. It never leaves the networks.

    Attributes:
        stage: The earlier stage.
        source: Its output tensor.
    """

    tensor: str
    stage: str
    source: str


StageInput = CropInput | FrameInput | ClipInput | ClipAudioInput | PointsInput | EmbeddingInput
# The inputs that are made of pixels.
PictureInput = CropInput | FrameInput | ClipInput | ClipAudioInput


class Boxes(Strict, frozen=True, tag_field="role", tag="boxes"):
    """Detections against fixed anchors, in the manner of SSD and BlazeFace.

    Attributes:
        tensor: float32[1, A, 4 + 2 K]: centre x, centre y, width, height and K points, in input pixels relative to the anchor's centre.
        score_tensor: float32[1, A, 1], logits.
        anchors: Pairs (stride in pixels, anchors in each cell), in the order of the network's rows.
        eyes: Which two of the K points are the eyes: the one on the left of an upright picture first.
        min_score: A detection counts from this probability on.
        max_overlap: Detections that overlap more (intersection over union) are one face.
    """

    tensor: str
    score_tensor: str
    anchors: tuple[tuple[int, int], ...]
    eyes: tuple[int, int]
    min_score: float
    max_overlap: float


class Landmarks(Strict, frozen=True, tag_field="role", tag="landmarks"):
    """Points of the face: float32[N, 3 P], x, y, z in crop pixels. The next frame's region follows from them.

    Attributes:
        left_eye: Indices of the corners of the eye that is on the left of an upright picture.
        right_eye: The other eye's.
        axes: Indices of four points that span the head: left side, right side, forehead, chin (sides as in the picture).
        admit_presence: A newcomer is let in when two readings in a row have at least this presence,
        admit_eye_shift: and put its eyes in the same place, but for this part of their distance; see `edge.affect.confirms`.

    Source of the defaults: measured with MediaPipe's networks on three clips and two photographs, detected on whole frames. 112 faces: presence 0.985 and
    more, the eyes move by at most 0.02 of their distance. 104 false detections: none passes. 70 small, blurred or doubly found faces: 84 % pass, as many as
    pass the presence limits alone.
    """

    tensor: str
    left_eye: tuple[int, int]
    right_eye: tuple[int, int]
    axes: tuple[int, int, int, int]
    admit_presence: float = 0.9
    admit_eye_shift: float = 0.07

    def admits(self, presence: float, eye_shift: float) -> bool:
        """Whether a reading is sure of its face, and puts the eyes where the one before it did.

        Args:
            presence: Of the later reading.
            eye_shift: How far the eyes moved from one to the other, in their distances.
        """
        return presence >= self.admit_presence and eye_shift <= self.admit_eye_shift


class Presence(Strict, frozen=True, tag_field="role", tag="presence"):
    """Whether there is a face in the crop: float32[N] or float32[N, 1]; below `min_score` the track has lost its face."""

    tensor: str
    activation: Activation
    min_score: float


class Emotions(Strict, frozen=True, tag_field="role", tag="emotions"):
    """float32[N, len(labels)], labels among the contract's seven names, in the network's order.

    Attributes:
        columns: First and one past the last column, where the tensor holds more than these labels; `activation` sees these columns alone.
        neutral_below: For networks without a `neutral` output: neutral is the top emotion where no other one is above this score (rule E2), see
            `edge.estimate`.
        convention: Whose labels it was taught: `seen` is what people see in a picture (the votes of FER+), `fer2013` are FER2013's own; empty where the
            package does not say. The two agree on two pictures of three: no single output serves both.
        shown: Otherwise it is compared, judged and measured as any other, and never read at run time: it stands in no record.
    """

    tensor: str
    activation: Activation
    labels: tuple[str, ...]
    columns: tuple[int, int] | None = None
    neutral_below: float | None = None
    convention: Literal["", "seen", "fer2013"] = ""
    shown: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """What stands in a record, in the contract's order: the labels, and `neutral` where a rule gives it."""
        return tuple(name for name in EMOTIONS if name in self.labels or (name == "neutral" and self.neutral_below is not None))


class Scores(Strict, frozen=True, tag_field="role", tag="scores"):
    """float32[N, len(labels)] with labels of the package's own; `columns` as in `Emotions`."""

    tensor: str
    activation: Activation
    labels: tuple[str, ...]
    columns: tuple[int, int] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What stands in a record."""
        return self.labels


class ActionUnit(Strict, frozen=True):
    """One action unit, read from named activations.

    Attributes:
        label: `AU1` and so on.
        shapes: The activations whose mean it is.
        rest: The mean that counts as 0.
        full: The mean that counts as 1; values between are interpolated, values outside are cut off.
        log_odds: Interpolate in log-odds instead, for activations whose whole range lies near 0.
        origin: Where `rest` and `full` come from.
    """

    label: str
    shapes: tuple[str, ...]
    rest: float
    full: float
    log_odds: bool = False
    origin: str = ""


class ActionUnits(Strict, frozen=True, tag_field="role", tag="action_units"):
    """float32[N, len(labels)] of named activations after `activation`, and how the action units are read from them.

    Attributes:
        quantity: `presence` is a probability, `intensity` goes from 0 (none) to 1 (maximum).
        learned_from: What the network learned them from.
        units: Empty where the labels are action units themselves, in [0, 1]; what lies outside is cut off.
        columns: As in `Emotions`.
    """

    tensor: str
    activation: Activation
    labels: tuple[str, ...]
    quantity: Literal["presence", "intensity"]
    learned_from: str
    units: tuple[ActionUnit, ...] = ()
    columns: tuple[int, int] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What stands in a record."""
        return tuple(unit.label for unit in self.units) or self.labels


# The outputs that are numbers of a result: smoothed and published.
Named = Emotions | Scores | ActionUnits
Output = Boxes | Landmarks | Presence | Emotions | Scores | ActionUnits
Role = Literal["emotions", "action_units", "scores"]


def role_of(output: Named) -> Role:
    """Return the name under which an output's numbers stand in an `Estimate` and in a record."""
    return "emotions" if isinstance(output, Emotions) else "action_units" if isinstance(output, ActionUnits) else "scores"


class Stage(Strict, frozen=True):
    """One network. It may have no outputs where a later stage takes what it gives."""

    name: str
    model: str
    input: StageInput
    outputs: tuple[Output, ...] = ()

    @property
    def shown(self) -> tuple[Output, ...]:
        """The outputs that are read at run time: all but emotions that are not shown."""
        return tuple(output for output in self.outputs if not isinstance(output, Emotions) or output.shown)


Shape = tuple[int | None, ...]


def input_shapes(spec: StageInput) -> dict[str, Shape]:
    """Return what a stage feeds its network: shape by tensor name. None stands for the batch, and for what the manifest does not say."""
    if isinstance(spec, PointsInput):
        return {spec.tensor: (None, len(spec.indices), 2)}
    if isinstance(spec, EmbeddingInput):
        return {spec.tensor: (None, None)}
    n_channels, (width, height) = n_channels_of(spec.color), spec.size_wh_px
    if not isinstance(spec, ClipInput):
        return {spec.tensor: (None, n_channels, height, width)}
    frames = (n_channels, spec.n_frames) if spec.frames_as == "depth" else (spec.n_frames * n_channels,)
    shapes: dict[str, Shape] = {spec.tensor: (None, *frames, height, width)}
    if isinstance(spec, ClipAudioInput):
        shapes[spec.audio.tensor] = (None, 1, *reversed(spec.audio.size_wh_px))
    return shapes


def n_channels_of(color: Color) -> int:
    """Return how many channels a picture of this colour has."""
    return 1 if color == "gray" else 3


def frame_labels(stages: tuple[Stage, ...]) -> dict[Role, tuple[str, ...]]:
    """Return what stages say of the whole picture, by role, as it stands in a record."""
    whole = of_frame(stages)
    return {role_of(output): output.names for stage in stages if stage.name in whole for output in stage.shown if isinstance(output, Named)}


def of_frame(stages: tuple[Stage, ...]) -> frozenset[str]:
    """Return the names of the stages that speak of the whole picture: they take it, or what such a stage says."""
    names: set[str] = set()
    for stage in stages:
        if isinstance(stage.input, FrameInput) or (isinstance(stage.input, EmbeddingInput) and stage.input.stage in names):
            names.add(stage.name)
    return frozenset(names)
