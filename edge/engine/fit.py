"""Whether a network is the one that its package describes: asked once, before the first frame."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edge.engine.engine import Engine
from edge.errors import PackageError
from edge.stage import Boxes, EmbeddingInput, Named, Shape, Stage, input_shapes


def check_fit(stage: Stage, engine: Engine, earlier: Mapping[str, Engine], *, where: str) -> None:
    """Compare what the manifest says of a stage with its network.

    Args:
        stage: The stage.
        engine: Its network, loaded.
        earlier: The networks of the stages before it, by their names.
        where: The package, for the message.

    Raises:
        PackageError: The network takes or gives something else.
    """
    where = f"{where}: stage '{stage.name}' ({stage.model})"
    wanted, taken = input_shapes(stage.input), engine.input_shapes
    if wanted.keys() != taken.keys():
        _refuse(where, f"inputs {sorted(wanted)}", f"the network takes {sorted(taken)}")
    for name, shape in wanted.items():
        if not _fits(shape, taken[name]):
            _refuse(where, f"{_text(shape)} for '{name}'", f"the network takes {_text(taken[name])}")
    given = engine.output_shapes
    for output in stage.outputs:
        tensors = (output.tensor, output.score_tensor) if isinstance(output, Boxes) else (output.tensor,)
        for tensor in tensors:
            if tensor not in given:
                _refuse(where, f"an output '{tensor}'", f"the network gives {sorted(given)}")
        if isinstance(output, Named) and (n := _row_length(given[output.tensor])) is not None:
            if output.columns is None and n != len(output.labels):
                _refuse(where, f"{len(output.labels)} numbers in '{output.tensor}', one for each label", f"the network gives {n}")
            if output.columns is not None and n < output.columns[1]:
                _refuse(where, f"at least {output.columns[1]} columns in '{output.tensor}'", f"the network gives {n}")
    if isinstance(stage.input, EmbeddingInput):
        _check_embedding(stage.input, taken[stage.input.tensor], earlier[stage.input.stage].output_shapes, where)


def _check_embedding(spec: EmbeddingInput, taken: Shape, given: Mapping[str, Shape], where: str) -> None:
    if spec.source not in given:
        _refuse(where, f"an output '{spec.source}' of stage '{spec.stage}'", f"its network gives {sorted(given)}")
    n = _row_length(given[spec.source])
    if n is not None and taken[1] not in (None, n):
        _refuse(where, f"{taken[1]} numbers in '{spec.source}' of stage '{spec.stage}'", f"its network gives {n}")


def _fits(wanted: Shape, taken: Shape) -> bool:
    """Any batch, and every size that the manifest knows, unless the network takes any."""
    return len(wanted) == len(taken) and taken[0] is None and all(want is None or take in (None, want) for want, take in zip(wanted, taken, strict=True))


def _row_length(shape: Shape) -> int | None:
    sizes = [size for size in shape[1:] if size is not None]
    return math.prod(sizes) if len(sizes) == len(shape) - 1 else None


def _text(shape: Shape) -> str:
    return f"float32[{', '.join('N' if size is None else str(size) for size in shape)}]"


def _refuse(where: str, expected: str, got: str) -> None:
    raise PackageError(f"{where}: the manifest expects {expected}, got a network that differs: {got}", hint="correct the manifest, or make the package again")
