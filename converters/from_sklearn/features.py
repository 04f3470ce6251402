"""What stands between a crop and an estimator: the numbers of a crop in one row, in numpy and as ONNX nodes that compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from converters.errors import ConversionError
from converters.original import Array
from edge.stage import ClipInput, EmbeddingInput, PointsInput, StageInput

# Row and column of the eight neighbours, bit 0 first: from the one above, clockwise, as document 002 numbers them.
_NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))

Nodes = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


class Features(Protocol):
    """Turns inputs into rows."""

    def n_features(self, shape: Sequence[int]) -> int:
        """Return the length of a row for an input of this shape, without its batch.

        Raises:
            ConversionError: It does not take such inputs.
        """
        ...

    def rows(self, inputs: Array) -> Array:
        """Return float32[N, n_features] from float32[N, ...]."""
        ...

    def nodes(self, source: str, shape: Sequence[int], target: str) -> Nodes:
        """Return nodes and constants that compute the value `target`, as `rows` does, from the value `source`, float32[N, *shape]."""
        ...


@dataclass(frozen=True)
class Flattened:
    """The input itself, row after row of pixels."""

    def n_features(self, shape: Sequence[int]) -> int:
        """Return how many numbers there are."""
        return prod(shape)

    def rows(self, inputs: Array) -> Array:
        """Return float32[N, n_features] from float32[N, ...]."""
        return inputs.reshape(len(inputs), -1)

    def nodes(self, source: str, shape: Sequence[int], target: str) -> Nodes:
        """Return one Reshape."""
        sizes = numpy_helper.from_array(np.array([-1, prod(shape)], np.int64), "features/row")
        return [helper.make_node("Reshape", [source, sizes.name], [target], name="features/flat")], [sizes]


@dataclass(frozen=True)
class LbpHistograms:
    """Local binary patterns of a gray crop, counted in a grid of cells.

    A pattern has one bit for each of the eight neighbours, set where the neighbour is darker than the pixel. The 58 patterns with at most two changes of bit
    around the circle are counted each by itself, all the others together: 59 counts for each cell, cell after cell, row after row of cells. The outermost
    pixels have no pattern.

    Attributes:
        grid_wh: Cells across and down; they must divide the crop's size less two pixels.

    Source: Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623, for the uniform patterns; document 002 for the order and the sense of the bits.
    """

    grid_wh: tuple[int, int]

    def n_features(self, shape: Sequence[int]) -> int:
        """Return 59 for each cell.

        Raises:
            ConversionError: The input is no gray crop, or the cells do not divide it.
        """
        across, down = self.grid_wh
        if len(shape) != 3 or shape[0] != 1 or (shape[1] - 2) % down or (shape[2] - 2) % across:
            raise ConversionError(
                f"expected a gray crop whose height and width, less 2 pixels, divide into {down} x {across} cells; got {' x '.join(map(str, shape))}"
                " (channels x height x width)",
                hint="choose another size of the crop or another grid",
            )
        return 59 * across * down

    def rows(self, inputs: Array) -> Array:
        """Return float32[N, n_features], counts, from float32[N, 1, H, W]."""
        bins = _uniform_bins()[lbp_codes(inputs[:, 0])]
        across, down = self.grid_wh
        n, height, width = bins.shape
        cells = bins.reshape(n, down, height // down, across, width // across).transpose(0, 1, 3, 2, 4).reshape(n * down * across, -1)
        counts = np.zeros((len(cells), 59), np.float32)
        np.add.at(counts, (np.arange(len(cells))[:, np.newaxis], cells), 1)
        return counts.reshape(n, -1)

    def nodes(self, source: str, shape: Sequence[int], target: str) -> Nodes:
        """Return comparisons of shifted slices, a table of patterns and sums over cells: plain operators, exact in float32."""
        height, width = shape[1:]
        across, down = self.grid_wh
        graph = _Graph()
        center = graph.window(source, 1, 1, height, width)
        code = ""
        for bit, (dy, dx) in enumerate(_NEIGHBOURS):
            darker = graph.add("Less", graph.window(source, 1 + dy, 1 + dx, height, width), center)
            weighted = graph.add("Mul", graph.add("Cast", darker, to=onnx.TensorProto.FLOAT), graph.constant(np.float32(2**bit)))
            code = graph.add("Add", code, weighted) if code else weighted
        pattern = graph.add("Gather", graph.constant(_uniform_bins().astype(np.float32)), graph.add("Cast", code, to=onnx.TensorProto.INT64))
        same = graph.add("Equal", pattern, graph.constant(np.arange(59, dtype=np.float32).reshape(1, 59, 1, 1)))
        cells = [-1, 59, down, (height - 2) // down, across, (width - 2) // across]
        split = graph.add("Reshape", graph.add("Cast", same, to=onnx.TensorProto.FLOAT), graph.constant(np.array(cells, np.int64)))
        counts = graph.add("ReduceSum", split, graph.constant(np.array([3, 5], np.int64)), keepdims=0)
        by_cell = graph.add("Transpose", counts, perm=[0, 2, 3, 1])
        graph.add("Reshape", by_cell, graph.constant(np.array([-1, self.n_features(shape)], np.int64)), output=target)
        return graph.made, graph.constants


def input_shape(spec: StageInput, n_features: int) -> tuple[int, ...]:
    """Return the shape of one input of a stage, without its batch.

    Args:
        spec: The stage's input.
        n_features: Length of an embedding, which its stage does not say.
    """
    if isinstance(spec, EmbeddingInput):
        return (n_features,)
    if isinstance(spec, PointsInput):
        return (len(spec.indices), 2)
    width, height = spec.size_wh_px
    channels = 1 if spec.color == "gray" else 3
    if isinstance(spec, ClipInput):
        return (channels, spec.n_frames, height, width) if spec.frames_as == "depth" else (channels * spec.n_frames, height, width)
    return (channels, height, width)


def lbp_codes(gray: NDArray[Any]) -> NDArray[np.int64]:
    """Return the local binary pattern of every pixel that has eight neighbours.

    Args:
        gray: Any real dtype[N, H, W].

    Returns:
        int64[N, H - 2, W - 2] in [0, 255]; bit 0 is the neighbour above, the others follow clockwise; a bit is set where the neighbour is darker.
    """
    height, width = gray.shape[1:]
    center = gray[:, 1:-1, 1:-1]
    codes = np.zeros(center.shape, np.int64)
    for bit, (dy, dx) in enumerate(_NEIGHBOURS):
        codes += (gray[:, 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx] < center) * 2**bit
    return codes


def _uniform_bins() -> NDArray[np.int64]:
    """Pattern to its bin: uniform patterns in rising order, then one bin for the rest."""
    patterns = np.arange(256)
    changed = patterns ^ ((patterns >> 1) | ((patterns & 1) << 7))
    uniform = np.array([int(pattern).bit_count() <= 2 for pattern in changed])
    return np.where(uniform, np.cumsum(uniform) - 1, 58)


class _Graph:
    def __init__(self) -> None:
        self.made: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"features/{op_type.lower()}_{len(self.made)}"
        self.made.append(helper.make_node(op_type, list(inputs), [output], name=f"features/{op_type}_{len(self.made)}", **attributes))
        return output

    def constant(self, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), f"features/constant_{len(self.constants)}"))
        return self.constants[-1].name

    @cached_property
    def _rows_and_columns(self) -> str:
        return self.constant(np.array([2, 3], np.int64))

    def window(self, source: str, top: int, left: int, height: int, width: int) -> str:
        starts, ends = np.array([top, left], np.int64), np.array([top + height - 2, left + width - 2], np.int64)
        return self.add("Slice", source, self.constant(starts), self.constant(ends), self._rows_and_columns)
