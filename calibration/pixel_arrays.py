"""Pictures in NumPy files: which array of a file, and which rows of it, are meant."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import ConfigError, SourceNotFound
from edge.frame import Pixels

_TEXT = re.compile(r"(?P<path>.+\.npz):(?P<key>[^:=]+)(?::(?P<column>[^:=]+)=(?P<values>-?\d+(?:,-?\d+)*))?", re.IGNORECASE)
_HINT = (
    "FILE.npy, FILE.npz:KEY, or FILE.npz:KEY:COLUMN=0,1 for the rows in which another of its arrays has these values; uint8[N,H,W], [N,H,W,1] or RGB [N,H,W,3]"
)


@dataclass(frozen=True)
class PixelArray:
    """Pictures of one file.

    Attributes:
        name: File, key and rows, without the folder.
        pixels: uint8[N, H, W] or uint8[N, H, W, 3], RGB.
        rows: int64[M], the rows that are meant, ascending.
    """

    name: str
    pixels: Pixels
    rows: NDArray[np.int64]

    def picture(self, row: int) -> Pixels:
        """Return one of them, uint8[H, W, 3], RGB."""
        pixels = self.pixels[row]
        return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, np.newaxis], 3, axis=2))


def names_an_array(source: str) -> bool:
    """Tell whether a source is a NumPy file, with or without key and rows."""
    return _TEXT.fullmatch(source) is not None or Path(source).suffix.lower() in (".npy", ".npz")


def path_of(source: str) -> Path:
    """Return the file that such a source names."""
    parts = _TEXT.fullmatch(source)
    return Path(parts["path"] if parts else source)


def read_pixel_array(source: str) -> PixelArray:
    """Read what a source names: `faces.npy`, `fer.npz:images`, `fer.npz:images:usage=0,1`.

    Raises:
        SourceNotFound: There is no such file.
        ConfigError: It cannot be read, has no such array, or its array holds no pictures.
    """
    parts = _TEXT.fullmatch(source)
    path = path_of(source)
    if not path.is_file():
        raise SourceNotFound(f"no such file: {path}", hint=_HINT)
    try:
        if path.suffix.lower() == ".npy":
            arrays = {"": np.load(path, mmap_mode="r", allow_pickle=False)}
            key, rows = "", None
        else:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                key = parts["key"] if parts else _only_pictures(stored, path)
                wanted = [key, *([parts["column"]] if parts and parts["column"] else [])]
                if missing := [name for name in wanted if name not in stored.files]:
                    raise ConfigError(f"no array '{missing[0]}' in {path}: it has {', '.join(stored.files) or 'none'}", hint=_HINT)
                arrays = {name: stored[name] for name in wanted}
            rows = arrays[parts["column"]] if parts and parts["column"] else None
    except (OSError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} cannot be read as arrays: {error}", hint=_HINT) from error
    pixels = _pictures(arrays[key], f"{path}:{key}" if key else str(path))
    if rows is None:
        return PixelArray(Path(source).name, pixels, np.arange(len(pixels)))
    assert parts is not None
    if rows.shape != (len(pixels),):
        raise ConfigError(f"{path}: expected one value of '{parts['column']}' for each of {len(pixels)} pictures, got {list(rows.shape)}", hint=_HINT)
    chosen = np.flatnonzero(np.isin(rows, [int(value) for value in parts["values"].split(",")]))
    if not len(chosen):
        raise ConfigError(f"{path}: no row has {parts['column']}={parts['values']}", hint=_HINT)
    return PixelArray(Path(source).name, pixels, chosen)


def _only_pictures(stored: Any, path: Path) -> str:
    keys = [name for name in stored.files if stored[name].dtype == np.uint8 and stored[name].ndim >= 3]
    if len(keys) != 1:
        raise ConfigError(f"{path} holds {len(keys)} arrays that could be pictures, of {', '.join(stored.files) or 'none'}: name one", hint=_HINT)
    return str(keys[0])


def _pictures(array: NDArray[Any], where: str) -> Pixels:
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3) or not array.size:
        raise ConfigError(f"{where}: expected pictures uint8[N,H,W], [N,H,W,1] or [N,H,W,3], got {array.dtype}{list(array.shape)}", hint=_HINT)
    return array
