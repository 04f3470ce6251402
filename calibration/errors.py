"""What can go wrong with a calibration set; all of them end with exit code 4, like any artefact that cannot be used."""

from __future__ import annotations

from edge.errors import EdgeError


class CalibrationError(EdgeError):
    """A calibration set that cannot be made, or cannot be used."""

    exit_code = 4


class SetNotFound(CalibrationError, FileNotFoundError):
    """No calibration set at that path."""


class SetCorrupt(CalibrationError):
    """A file of a set is missing, is not the one that its manifest names, or the manifest contradicts itself."""


class TooFewFaces(CalibrationError):
    """The sources hold too few faces that can be used."""


class NotDisjoint(CalibrationError):
    """A set shares pictures with data that it must not know."""
