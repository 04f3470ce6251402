"""Opens files of PyTorch without running anything that is in them, and refuses the rest with what to do.

What a file is follows from its content, not from its name. Weights alone (`torch.save` of a state_dict, safetensors) are read by loaders that build nothing but
tensors. `torch.export` programs and TorchScript are programs, and their loaders run what they find (the first unpickles without limits and evaluates
expressions): they need the user's word that the file is trusted. Pickled objects are refused even then.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from converters.errors import ConversionError
from converters.from_torch.exported_program import Program
from converters.from_torch.script_program import ScriptProgram
from converters.from_torch.state_dict import SAVE_WEIGHTS, StateDict, weights_in

TorchFile = StateDict | Program | ScriptProgram

_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF\r\n"
_PICKLE = b"\x80"
# How files of PyTorch before 1.6 begin: a pickled number of its own.
_BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_AGAIN = "copy or download it again, and compare its SHA-256 with the source's"
_TRUST = "if you trust whoever made it: --trusted"
_KERAS = "this looks like a file of Keras: see `python -m converters export --help` for those"


def open_torch_file(path: Path, *, trusted: bool) -> TorchFile:
    """Open a checkpoint or a program.

    Args:
        path: `.pt`, `.pth`, `.bin`, `.safetensors` or `.pt2`, as `torch.save`, safetensors, `torch.jit.save` or `torch.export.save` write them.
        trusted: Load programs too: TorchScript and `torch.export`, whose loading may run code that is in the file.

    Returns:
        Weights by name, or a program; `kind` says which, and `original` makes a network of it.

    Raises:
        ConversionError: There is no such file; it is empty, damaged, or of another kind; it holds objects and not weights alone; it is a program and not
            trusted.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConversionError(f"cannot read the checkpoint {path} ({error.strerror})") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if not content:
        raise ConversionError(f"{path} is empty", hint=_AGAIN)
    if content.startswith(_ZIP):
        return _open_archive(content, path, sha256, trusted=trusted)
    if content.startswith(_BEFORE_1_6):
        return _open_weights(content, path, sha256)
    if content.startswith(_PICKLE):
        raise _pickled(path, _first_object(content))
    if content.startswith(_HDF5):
        raise ConversionError(f"{path}: expected a file of PyTorch, got HDF5", hint=_KERAS)
    if path.suffix == ".safetensors" or content[8:9] == b"{":
        return _open_safetensors(content, path, sha256)
    raise ConversionError(f"{path}: expected a file of PyTorch, got something else (it begins with {content[:8].hex(' ')})", hint=SAVE_WEIGHTS)


def _open_archive(content: bytes, path: Path, sha256: str, *, trusted: bool) -> TorchFile:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ConversionError(f"{path} is damaged or was cut off: {error}", hint=_AGAIN) from error
    names = {entry.filename.partition("/")[2] or entry.filename for entry in entries}
    if {"config.json", "model.weights.h5"} & names or any(name.endswith("saved_model.pb") for name in names):
        raise ConversionError(f"{path}: expected a file of PyTorch, got a zip archive with {sorted(names)[0]}", hint=_KERAS)
    if {"archive_format", "models/model.json", "serialized_exported_program.json"} & names:
        return _open_program(content, path, sha256, trusted=trusted)
    if "constants.pkl" in names:
        return _open_script(content, path, sha256, trusted=trusted)
    if "data.pkl" in names:
        # Weights are stored without compression; what claims to be larger than the file could fill the memory.
        if (claimed := sum(entry.file_size for entry in entries)) > len(content):
            raise ConversionError(f"{path} claims to hold {claimed} bytes, but has {len(content)}: torch.save does not write such files", hint=_AGAIN)
        return _open_weights(content, path, sha256)
    held = ", ".join(sorted(names)[:3]) or "nothing"
    raise ConversionError(f"{path}: expected a file of PyTorch, got a zip archive that holds {held}", hint=SAVE_WEIGHTS)


def _open_weights(content: bytes, path: Path, sha256: str) -> StateDict:
    try:
        with _silence():
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        if forbidden := re.search(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", str(error)):
            raise _pickled(path, forbidden.group(1)) from error
        raise ConversionError(f"{path} is damaged, was cut off, or holds more than weights: {_reason(error)}", hint=_AGAIN) from error
    return weights_in(found, path, sha256)


def _open_safetensors(content: bytes, path: Path, sha256: str) -> StateDict:
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # its own error, KeyError for number formats that torch lacks, ValueError
        raise ConversionError(f"{path} is no sound safetensors file: {_reason(error)}", hint=_AGAIN) from error
    return weights_in(tensors, path, sha256)


def _open_program(content: bytes, path: Path, sha256: str, *, trusted: bool) -> Program:
    if not trusted:
        raise ConversionError(f"{path} is a program of torch.export: loading it can run code that is in it", hint=f"{_TRUST}; or {SAVE_WEIGHTS}")
    try:
        with _silence():
            exported = torch.export.load(io.BytesIO(content))
    except Exception as error:  # a damaged program can fail in any way
        raise ConversionError(f"{path}: PyTorch {torch.__version__} cannot load this program: {_reason(error)}", hint=_SAME_VERSION) from error
    return Program(path=path, sha256=sha256, exported=exported)


def _open_script(content: bytes, path: Path, sha256: str, *, trusted: bool) -> ScriptProgram:
    if not trusted:
        raise ConversionError(f"{path} is a TorchScript program, not weights: running it runs code that is in it", hint=f"{_TRUST}; or {SAVE_WEIGHTS}")
    try:
        with _silence():
            module = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # a damaged program can fail in any way
        raise ConversionError(f"{path}: PyTorch {torch.__version__} cannot load this program: {_reason(error)}", hint=_SAME_VERSION) from error
    return ScriptProgram(path=path, sha256=sha256, module=module)


_SAME_VERSION = "if the file is whole, save the program again with this version of PyTorch, or convert it from its state_dict"


def _pickled(path: Path, what: str) -> ConversionError:
    if what.startswith("sklearn."):
        hint = "save it with skops where it was trained: skops.io.dump(model, 'model.skops')"
    else:
        hint = f"{SAVE_WEIGHTS}; where the file has them beside other things: torch.save(checkpoint['state_dict'], path)"
    return ConversionError(f"{path}: expected a state_dict, weights alone; got a pickled program object {what}, and loading such objects runs code", hint=hint)


def _first_object(content: bytes) -> str:
    """The first class or function that a pickle names, found without loading it."""
    words: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if opcode.name == "STACK_GLOBAL":
                return ".".join(words[-2:])
            if isinstance(argument, str):
                words.append(argument)
    except ValueError:
        return "(the pickle is damaged)"
    return "(of plain values)"


def _reason(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if text and "weights_only" not in text else f"{type(error).__name__} while reading"


@contextmanager
def _silence() -> Iterator[Any]:
    # What the loaders warn of and log, with traceback, is either in the error raised here or no concern of who has the file.
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
