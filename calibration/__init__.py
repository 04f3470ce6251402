"""Calibration sets: pictures that ranges of reduced precisions are taken from, and others that they are judged by."""

from __future__ import annotations

from calibration.set_file import CalibrationSet, load_set

__all__ = ["CalibrationSet", "load_set"]
