"""How many views of a picture the face detector has: between two looks at the same one, every view has its turn."""

from __future__ import annotations

from collections.abc import Mapping

from edge.clock import StageTimes
from edge.detect import FaceDetector
from edge.engine.engine import Array
from edge.engine.ort import OrtEngine
from edge.frame import Pixels
from edge.package import Package


def count_views(detector: Package, picture: Pixels) -> list[int]:
    """Let the detector search the whole picture once, and count what its networks are fed.

    Args:
        detector: The package.
        picture: uint8[H, W, 3].

    Returns:
        Views of each of its networks.

    Raises:
        PackageError: The package detects no faces.
        EngineError: A network cannot be loaded.
    """
    engines = [_Counting(OrtEngine(detector.model_path(stage), cuda=False, threads=1)) for stage in detector.manifest.stages]
    try:
        FaceDetector(detector, engines).detect(picture, StageTimes(), all_views=True)
    finally:
        for engine in engines:
            engine.close()
    return [engine.n for engine in engines]


class _Counting:
    """An engine that counts its inputs."""

    def __init__(self, engine: OrtEngine) -> None:
        self._engine, self.n = engine, 0
        self.description, self.notes = engine.description, engine.notes
        self.input_shapes, self.output_shapes = engine.input_shapes, engine.output_shapes

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.n += len(next(iter(feeds.values())))
        return self._engine.run(feeds)

    def close(self) -> None:
        self._engine.close()
