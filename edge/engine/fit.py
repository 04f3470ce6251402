"""Whether a network is the one that its package describes: asked once, before the first frame."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edge.engine.engine import Engine
from edge.errors import PackageError
from edge.stage import Boxes, EmbeddingInput, Landmarks, Named, PointsInput, Presence, Shape, Stage, input_shapes


def check_fit(stage: Stage, engine: Engine, earlier: Mapping[str, tuple[Stage, Engine]], *, where: str) -> None:
    """Compare what the manifest says of a stage with its network.

    Args:
        stage: The stage.
        engine: Its network, loaded.
        earlier: The stages before it with their networks, by name.
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
        if not isinstance(output, Boxes):
            _check_row(output, given[output.tensor], where)
    if isinstance(stage.input, EmbeddingInput):
        _check_embedding(stage.input, taken[stage.input.tensor], earlier[stage.input.stage][1].output_shapes, where)
    if isinstance(stage.input, PointsInput):
        _check_points(stage.input, *earlier[stage.input.stage], where=where)


def _check_row(output: Landmarks | Presence | Named, given: Shape, where: str) -> None:
    """Each input must get a row of its own, of a length that is known before anything runs: what is cut out of longer ones would bear wrong labels."""
    n = _row_length(given)
    if n is None:
        _refuse(where, f"a row of known length for each input in '{output.tensor}'", f"the network gives {_text(given)}")
    elif isinstance(output, Landmarks):
        last = max(*output.left_eye, *output.right_eye, *output.axes)
        if n % 3 or 3 * last >= n:
            _refuse(where, f"x, y, z of at least {last + 1} points in '{output.tensor}'", f"the network gives {n} numbers")
    elif isinstance(output, Presence):
        if n != 1:
            _refuse(where, f"one number in '{output.tensor}'", f"the network gives {n}")
    elif output.columns is None and n != len(output.labels):
        _refuse(where, f"{len(output.labels)} numbers in '{output.tensor}', one for each label", f"the network gives {n}")
    elif output.columns is not None and n < output.columns[1]:
        _refuse(where, f"at least {output.columns[1]} columns in '{output.tensor}'", f"the network gives {n}")


def _check_embedding(spec: EmbeddingInput, taken: Shape, given: Mapping[str, Shape], where: str) -> None:
    if spec.source not in given:
        _refuse(where, f"an output '{spec.source}' of stage '{spec.stage}'", f"its network gives {sorted(given)}")
    n = _row_length(given[spec.source])
    if n is None or taken[1] not in (None, n):
        gives = f"the network of stage '{spec.stage}' gives {_text(given[spec.source])}"
        _refuse(where, f"a row for each input in '{spec.source}', of the length of {_text(taken)}", gives)


def _check_points(spec: PointsInput, source: Stage, engine: Engine, *, where: str) -> None:
    (tensor,) = {output.tensor for output in source.outputs if isinstance(output, Landmarks)}
    n = _row_length(engine.output_shapes[tensor])
    if n is not None and 3 * max(spec.indices) >= n:
        _refuse(where, f"landmark {max(spec.indices)} of stage '{source.name}'", f"its network gives {n // 3}, counted from 0")


def _fits(wanted: Shape, taken: Shape) -> bool:
    """Any batch, and every size that the manifest knows, unless the network takes any."""
    return len(wanted) == len(taken) and taken[0] is None and all(want is None or take in (None, want) for want, take in zip(wanted, taken, strict=True))


def _row_length(shape: Shape) -> int | None:
    """How many numbers each input gets; None where that, or the batch, is not as it must be: open sizes behind the first, or a first that is not open."""
    sizes = [size for size in shape[1:] if size is not None]
    return math.prod(sizes) if shape and shape[0] is None and len(sizes) == len(shape) - 1 else None


def _text(shape: Shape) -> str:
    return f"float32[{', '.join(str(size) if size is not None else 'any' if place else 'N' for place, size in enumerate(shape))}]"


def _refuse(where: str, expected: str, got: str) -> None:
    raise PackageError(f"{where}: the manifest expects {expected}, {got}", hint="correct the manifest, or make the package again")
