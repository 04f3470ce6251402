"""What the package `default` says of itself: the network that we trained, whose weights and card lie in `converters/trained/default`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from converters.stored_network import stored_sha256
from converters.stored_precisions import FOLDER as PRECISIONS
from converters.systems.system import TRAINED
from converters.training.fer2013 import LABELS
from edge.package import Manifest, Origin, Quality
from edge.result import ACTION_UNITS, EMOTIONS
from edge.stage import ActionUnits, BoxRegion, CropInput, Emotions, Landmarks, Presence, Stage

FOLDER = TRAINED / "default"

FACE = Stage(
    name="face",
    model="face.onnx",
    # FER2013's framing: see `converters.training.affect`.
    input=CropInput(tensor="crop", color="gray", size_wh_px=(64, 64), region=BoxRegion(expand=1.1), scale=1 / 127.5, offset=-1.0),
    outputs=(
        # The order of `converters.training.affect.labelled_faces.POINTS`.
        Landmarks(tensor="points", left_eye=(0, 1), right_eye=(2, 3), axes=(4, 5, 6, 7)),
        Presence(tensor="presence", activation="sigmoid", min_score=0.5),
        Emotions(tensor="seen", activation="softmax", labels=EMOTIONS, convention="seen"),
        Emotions(tensor="fer2013", activation="softmax", labels=LABELS, convention="fer2013", shown=False),
        ActionUnits(
            tensor="units",
            activation="sigmoid",
            labels=ACTION_UNITS,
            quantity="intensity",
            learned_from="no FACS codes: shape weights of rendered faces, and on real ones MediaPipe's blendshapes where they are sound",
        ),
    ),
)


@dataclass(frozen=True)
class StoredRecipe:
    """A package whose network is stored in the repository.

    Attributes:
        manifest: Everything but the hashes of the files.
        folder: Where the network lies, with its card and the answers that were recorded; see `converters.stored_precisions` for those in FP16 and INT8.
        max_relative_error: Limit of the parity run, as a fraction of each output's own deviation over the inputs: weights that are rounded to FP16 leave
            some thousandths.
    """

    manifest: Manifest
    folder: Path
    max_relative_error: float = 0.02

    @property
    def has_precisions(self) -> bool:
        """Whether FP16 or INT8 networks are stored too."""
        return (self.folder / PRECISIONS).exists()


def default_recipe(folder: Path = FOLDER) -> StoredRecipe:
    """Return how the package is made.

    Args:
        folder: See `StoredRecipe`.

    Raises:
        ConversionError: The card cannot be read, or does not name the network.
    """
    origin = Origin(
        file=FACE.model,
        package="trained by this project",
        sha256=stored_sha256(folder, FACE),
        framework="PyTorch",
        licence="Apache-2.0",
        url="converters/trained/default/card.json",
    )
    manifest = Manifest(
        schema="edge.package/1",
        name="default",
        task="face-affect",
        description="15 action units, 7 emotions, 17 points and head pose from one gray crop of 64x64 pixels",
        trained=True,
        licence=origin.licence,
        stages=(FACE,),
        files={},
        origins=(origin,),
        detector="blazeface",
        quality=Quality(max_yaw_deg=35, max_pitch_deg=30, min_eye_distance_px=12, min_sharpness=0.07),
        # For AU9, 15, 17 and 23 no real faces with sound labels were at hand; AU7 is hardly told from half-shut eyes on renders.
        low_confidence=("AU7", "AU9", "AU15", "AU17", "AU23"),
    )
    return StoredRecipe(manifest, folder)
