"""Settings of a run: the same names in flags, TOML and the Python API. Unknown keys are errors; flags win over the file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge.engine import EngineName, PrecisionChoice
from edge.errors import ConfigError
from edge.output.output import CsvStyle
from edge.track import Primary

Smooth = Literal["none", "ema"]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """What to run and how. Every field is a flag of `edge-run` and a key of `--config`, with `-` for `_`.

    Attributes:
        source: A file, a picture, `rtsp://...`, `gst:PIPELINE`, `camera:N` or `sample`.
        camera_size: (width, height) in pixels asked of a camera.
        camera_fps: Rate asked of a camera.
        camera_format: Pixel format asked of a camera, such as `MJPG`.
        microphone: Where a camera's sound comes from: `default`, or another ALSA device such as `hw:1`.
        rotate: Degrees clockwise that bring the picture upright: 0, 90, 180 or 270.
        mirror: Flip left and right.
        realtime: Play a file at its own speed, newest frame wins.
        model: Name or folder of an affect package.
        allow_untrained: Run a package whose networks were never trained.
        engine: What runs the networks.
        precision: Of the networks.
        roi: Left, top, right, bottom in frame pixels: only what is inside is looked at.
        min_face: Smallest face, in pixels of its box's long side.
        max_faces: Most faces at a time.
        primary: Which face a single-person application looks at.
        smooth: Filter of the numbers.
        time_constant: Of the filter, in seconds of media time.
        raw: Keep the unsmoothed numbers in the records.
        frames: Stop after this many frames.
        duration: Stop after this many seconds of media time.
        output: Where records go, any number of: `-`, `*.jsonl`, `*.csv`.
        csv_style: Column names of CSV files.
        display: `none` or `window`.
        annotate: A video or picture with the results drawn in.
        summary: File for the summary of the run.
    """

    source: str = ""
    camera_size: tuple[int, int] | None = None
    camera_fps: float | None = None
    camera_format: str | None = None
    microphone: str | None = None
    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False
    realtime: bool = False
    model: str = "default"
    allow_untrained: bool = False
    engine: EngineName = "auto"
    precision: PrecisionChoice = "auto"
    roi: tuple[int, int, int, int] | None = None
    min_face: float = 0.0
    max_faces: int = 8
    primary: Primary = "largest"
    smooth: Smooth = "ema"
    time_constant: float = 0.25
    raw: bool = False
    frames: int | None = None
    duration: float | None = None
    output: tuple[str, ...] = ()
    csv_style: CsvStyle = "edge"
    display: Literal["none", "window"] = "none"
    annotate: str | None = None
    summary: str | None = None


# Reserved names of the contract: refused by name until they exist, never accepted and ignored.
NOT_YET = ("slo-ms",)
_NOT_YET_VALUES = {"smooth": ("one-euro", "hmm"), "display": ("web",)}


def load_config(path: Path | None, overrides: dict[str, Any]) -> Config:
    """Read a TOML file and put the flags over it.

    Args:
        path: The file, or None.
        overrides: Field name to value, from the flags that were given.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value is out of range.
    """
    settings: dict[str, Any] = {}
    where = "the command line"
    if path is not None:
        where = f"{path} and the command line"
        try:
            settings = msgspec.toml.decode(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", hint="--config takes a TOML file; --print-config prints one") from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"{path} is not TOML: {error}", hint="--print-config prints a file to start from") from error
    settings |= {name.replace("_", "-"): os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in overrides.items()}
    for name in NOT_YET:
        if name in settings:
            raise ConfigError(f"not yet: --{name}", hint="edge-run --help lists what there is")
    if isinstance(settings.get("source"), (list, tuple)):
        raise ConfigError("not yet: several sources in one run", hint="one run for each")
    for name, values in _NOT_YET_VALUES.items():
        value = settings.get(name)
        if isinstance(value, str) and value.split(":")[0] in values:
            raise ConfigError(f"not yet: --{name} {value}", hint=f"edge-run --help lists what --{name} takes")
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}", hint="edge-run --help lists the settings; --print-config prints them all") from error
    _check(config, where)
    return config


def toml_of(config: Config) -> str:
    """Return the settings as TOML that `--config` reads; None is left out, for TOML has no word for it."""
    lines = ["# edge-run --config FILE"]
    for name, value in msgspec.to_builtins(config).items():
        if value is not None:
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    return "\n".join(lines) + "\n"


def check_faces_wanted(config: Config, package: str) -> None:
    """Check that nothing is asked of the faces where a package looks at none.

    Args:
        config: The settings.
        package: Name of a package that looks at whole pictures only.

    Raises:
        ConfigError: A setting of faces has another value than its default.
    """
    given = [name for name in ("min_face", "max_faces", "primary") if getattr(config, name) != getattr(Config(), name)]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')} {getattr(config, name)}" for name in given)
        raise ConfigError(f"{flags}: the package '{package}' looks at whole pictures, and at no faces", hint="leave it out, or choose another --model")


def _check(config: Config, where: str) -> None:
    def refuse(name: str, expected: str, got: object) -> None:
        raise ConfigError(f"{where}: {name}: expected {expected}, got {got}", hint=f"edge-run --help explains --{name}")

    for name in ("time_constant", "min_face", "duration", "camera_fps"):
        value = getattr(config, name)
        if value is not None and not math.isfinite(value):
            refuse(name.replace("_", "-"), "a finite number", value)
    if config.time_constant <= 0:
        refuse("time-constant", "seconds > 0 (--smooth none turns smoothing off)", config.time_constant)
    if config.max_faces < 1:
        refuse("max-faces", "at least 1", config.max_faces)
    if config.min_face < 0:
        refuse("min-face", "pixels >= 0", config.min_face)
    if config.frames is not None and config.frames < 1:
        refuse("frames", "at least 1", config.frames)
    if config.duration is not None and config.duration <= 0:
        refuse("duration", "seconds > 0", config.duration)
    if config.camera_size is not None and min(config.camera_size) < 1:
        refuse("camera-size", "WxH in pixels", config.camera_size)
    if config.camera_fps is not None and config.camera_fps <= 0:
        refuse("camera-fps", "frames a second > 0", config.camera_fps)
    if config.roi is not None:
        left, top, right, bottom = config.roi
        if left < 0 or top < 0 or right <= left or bottom <= top:
            refuse("roi", "L,T,R,B in pixels with L < R and T < B", ",".join(map(str, config.roi)))
