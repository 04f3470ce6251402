"""The faces of FER2013 as dlib's network embeds them, by the runtime's own crops and engine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from converters import known_files
from converters.from_dlib.embedding_network import N_CHANNELS_OUT
from converters.from_dlib.onnx_from_dlib import OUTPUT, onnx_from_dlib
from converters.original import Array
from converters.registry import Say, fetch
from converters.systems.embedding_systems import EMBEDDING
from converters.training.fer2013 import Labels, Split, cut_faces, find_faces
from converters.training.kept_arrays import kept, networks_sha256
from edge import crop
from edge.engine.ort import OrtEngine, default_threads
from edge.face import Face
from edge.frame import Pixels
from edge.package import Package
from edge.stage import CropInput

# A crop takes 0.3 MB as a network's input.
_BATCH = 16


@dataclass(frozen=True)
class EmbeddedFaces:
    """One split.

    Attributes:
        embeddings: float32[M, 128], of the pictures with a face.
        truth: int64[M], indices into `converters.training.fer2013.LABELS`.
        n_pictures: All pictures of the split.
    """

    embeddings: Array
    truth: Labels
    n_pictures: int


def embed_faces(split: Split, detector: Package, *, say: Say) -> EmbeddedFaces:
    """Find, cut and embed the faces of a split; what was computed once is kept in the user's cache folder.

    Args:
        split: Its pictures and labels.
        detector: A package of task `face-detection`.
        say: Takes progress lines.

    Raises:
        DownloadError: dlib's network cannot be had.
        EngineError: A network cannot be loaded.
    """
    faces = find_faces(split.pictures, detector, say=say)
    (weights,) = fetch([known_files.DLIB_EMBEDDING], say=say)
    model = onnx_from_dlib(weights.read_bytes(), where=weights.name)
    depends_on = ("embeddings", model.SerializeToString(), repr(EMBEDDING.input), networks_sha256(detector), np.ascontiguousarray(split.pictures).tobytes())
    embeddings: NDArray[np.float32] = kept(depends_on, lambda: _embed(split.pictures, faces, model, say))
    found = np.array([face is not None for face in faces])
    return EmbeddedFaces(embeddings, split.labels[found], len(split.labels))


def _embed(pictures: Pixels, faces: list[Face | None], model: onnx.ModelProto, say: Say) -> Array:
    spec = EMBEDDING.input
    assert isinstance(spec, CropInput)
    batches = []
    with tempfile.TemporaryDirectory(prefix="edge-training-") as folder:
        path = Path(folder) / EMBEDDING.model
        onnx.save(model, path)
        engine = OrtEngine(path, cuda=False, threads=default_threads())
    try:
        for start in range(0, len(pictures), _BATCH):
            crops, _ = cut_faces(pictures[start : start + _BATCH], faces[start : start + _BATCH], spec)
            if len(crops):
                batches.append(engine.run({spec.tensor: crop.batch(list(crops), spec)})[OUTPUT])
            if start % (_BATCH * 125) == 0:
                say(f"embedded the faces of {start} of {len(pictures)} pictures")
    finally:
        engine.close()
    return np.concatenate([np.empty((0, N_CHANNELS_OUT), np.float32), *batches])
