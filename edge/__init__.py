"""Action units and emotions from a camera or a clip, on NVIDIA embedded and desktop GPUs and on any CPU.

with edge.Pipeline(source="clip.mp4") as pipeline:
    for result in pipeline:
        print(result.faces)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.config import Config
    from edge.errors import EdgeError
    from edge.pipeline import Pipeline
    from edge.result import FaceResult, FrameResult

__all__ = ["Config", "EdgeError", "FaceResult", "FrameResult", "Pipeline"]

_HOMES = {"Config": "edge.config", "EdgeError": "edge.errors", "FaceResult": "edge.result", "FrameResult": "edge.result", "Pipeline": "edge.pipeline"}


def __getattr__(name: str) -> Any:
    # PEP 562: `import edge` must work, and be quick, where OpenCV and GStreamer are absent.
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
