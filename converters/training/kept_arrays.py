"""Arrays that take minutes to compute, kept in the user's cache folder under a hash of everything that they depend on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.package import Package
from edge.stage import Output


def networks_sha256(package: Package, *kinds: type[Output]) -> str:
    """Return the hash of all that decides what a package says: its stages and their networks in FP32.

    Not that of its manifest: another word in the description, or in the parity report, would cost an hour of reading. Defaults are left out of it, so that
    settings that nobody uses cost nothing either.

    Args:
        package: The package.
        kinds: Only the stages with such outputs; none for all.
    """
    stages = [stage for stage in package.manifest.stages if not kinds or any(isinstance(output, kinds) for output in stage.outputs)]
    return hashlib.sha256(b"".join(msgspec.json.encode((package.manifest.files[stage.model], stage)) for stage in stages)).hexdigest()


def kept(depends_on: tuple[str | bytes, ...], compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return an array from the cache, or compute and keep it.

    Args:
        depends_on: All that decides about its values: hashes, settings.
        compute: Makes it.

    Returns:
        What `compute` returned, now or earlier; the folder is `$XDG_CACHE_HOME/edge/training`, else `~/.cache/edge/training`.
    """
    digest = hashlib.sha256()
    for part in depends_on:
        digest.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge" / "training" / f"{digest.hexdigest()}.npy"
    if path.exists():
        stored: NDArray[Any] = np.load(path, allow_pickle=False)
        return stored
    array = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    np.save(temporary, array)
    temporary.replace(path)
    return array
