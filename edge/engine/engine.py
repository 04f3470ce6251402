"""What runs a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import SpecMismatch

Array = NDArray[np.float32]


class Engine(Protocol):
    """One network, loaded and ready. Engines speak numpy; a batch may have any N from 1 on."""

    @property
    def description(self) -> str:
        """What runs where, such as `onnxruntime 1.23.2 CPU, 1 thread`."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a user must hear of it; may grow."""
        ...

    @property
    def input_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by input name; None stands for a free dimension."""
        ...

    @property
    def output_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape by output name; None stands for a dimension that depends on the input."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network.

        Args:
            feeds: float32 arrays by input name; not modified.

        Returns:
            Arrays by output name, owned by the caller.

        Raises:
            SpecMismatch: A name, shape or dtype is not the network's.
            InferenceFailed: The backend failed, or the engine was closed.
        """
        ...

    def close(self) -> None:
        """Free the network. Closing twice is allowed."""
        ...


def check_feeds(feeds: Mapping[str, Array], shapes: Mapping[str, tuple[int | None, ...]], *, where: str) -> None:
    """Check names, dtypes and shapes before a backend sees them: its own message would name none of ours.

    Raises:
        SpecMismatch: What was expected and what came.
    """
    if feeds.keys() != shapes.keys():
        raise SpecMismatch(f"{where}: expected inputs {sorted(shapes)}, got {sorted(feeds)}")
    for name, array in feeds.items():
        shape = shapes[name]
        fits = len(shape) == array.ndim and all(want is None or want == got for want, got in zip(shape, array.shape, strict=True))
        if array.dtype != np.float32 or not fits:
            wanted = ", ".join("N" if size is None else str(size) for size in shape)
            raise SpecMismatch(f"{where}: expected float32[{wanted}] for '{name}', got {array.dtype}{list(array.shape)}")
