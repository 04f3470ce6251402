"""Local binary patterns: the worked example of document 002, and the ONNX operators against numpy, number for number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from converters.errors import ConversionError
from converters.from_sklearn.features import LbpHistograms, lbp_codes
from converters.original import Array
from tests.converters.gray_faces import gray_faces, stage


def network(features: LbpHistograms, shape: tuple[int, int, int]) -> onnx.ModelProto:
    nodes, constants = features.nodes("crop", shape, "rows")
    inputs = [helper.make_tensor_value_info("crop", TensorProto.FLOAT, ["N", *shape])]
    outputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", features.n_features(shape)])]
    model = helper.make_model(helper.make_graph(nodes, "lbp", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, crops: Array) -> Array:
    (rows,) = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"crop": crops})
    return np.asarray(rows)


def test_worked_example_of_the_document() -> None:
    gray = np.array([[[42, 199, 234], [177, 129, 199], [65, 177, 65]]])
    assert lbp_codes(gray).tolist() == [[[168]]]
    assert lbp_codes(np.full((1, 3, 3), 7)).tolist() == [[[0]]]  # an equal neighbour is not darker


@pytest.mark.parametrize(("neighbour", "bit"), [((0, 1), 0), ((0, 2), 1), ((1, 2), 2), ((2, 2), 3), ((2, 1), 4), ((2, 0), 5), ((1, 0), 6), ((0, 0), 7)])
def test_bits_are_numbered_clockwise_from_the_pixel_above(neighbour: tuple[int, int], bit: int) -> None:
    gray = np.full((1, 3, 3), 100)
    row, column = neighbour
    gray[0, row, column] = 99
    assert lbp_codes(gray).tolist() == [[[2**bit]]]


def test_uniform_patterns_have_bins_of_their_own_and_the_others_one() -> None:
    """Every pattern is drawn once as a 3x3 picture; the bins are counted against a definition written anew."""
    order = [(0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0)]
    pictures = np.full((256, 1, 3, 3), 100, np.float32)
    for pattern in range(256):
        for bit, (row, column) in enumerate(order):
            pictures[pattern, 0, row, column] = 99 if pattern >> bit & 1 else 100
    rows = LbpHistograms((1, 1)).rows(pictures)
    bits = [f"{pattern:08b}" for pattern in range(256)]
    uniform = [sum(a != b for a, b in zip(text, text[1:] + text[0], strict=True)) <= 2 for text in bits]
    assert sum(uniform) == 58
    assert rows[uniform].argmax(axis=1).tolist() == list(range(58))
    assert set(rows[~np.array(uniform)].argmax(axis=1).tolist()) == {58}
    assert rows.sum() == 256


@pytest.mark.parametrize(("side_px", "grid_wh"), [(26, (3, 3)), (26, (6, 2)), (50, (6, 6))])
def test_network_counts_what_numpy_counts_on_real_crops(side_px: int, grid_wh: tuple[int, int], clip: Callable[[str], Path], models: Path) -> None:
    crops = gray_faces(clip("WolfgangLanger_Pexels.mp4"), models, stage(side_px=side_px).input)
    features = LbpHistograms(grid_wh)
    rows = features.rows(crops)
    model = network(features, (1, side_px, side_px))
    assert np.array_equal(run(model, crops), rows)
    assert rows.sum(axis=1).tolist() == [(side_px - 2) ** 2] * len(crops)
    # Cells are row after row: the first one is the corner's, the second lies to its right.
    width, height = (side_px - 2) // grid_wh[0] + 2, (side_px - 2) // grid_wh[1] + 2
    corner = LbpHistograms((1, 1)).rows(np.ascontiguousarray(crops[:, :, :height, width - 2 : 2 * width - 2]))
    assert np.array_equal(corner, rows[:, 59:118])
    # A network with two neighbours changed over counts something else.
    slices = [node for node in model.graph.node if node.op_type == "Slice"]
    slices[1].input[1], slices[3].input[1] = slices[3].input[1], slices[1].input[1]
    slices[1].input[2], slices[3].input[2] = slices[3].input[2], slices[1].input[2]
    assert not np.array_equal(run(model, crops), rows)


@pytest.mark.parametrize(("shape", "grid_wh"), [((1, 26, 27), (3, 3)), ((1, 27, 26), (3, 3)), ((3, 26, 26), (3, 3)), ((26, 26), (3, 3))])
def test_crops_that_do_not_divide_into_cells_are_refused(shape: tuple[int, ...], grid_wh: tuple[int, int]) -> None:
    with pytest.raises(ConversionError, match=r"expected a gray crop whose height and width, less 2 pixels, divide into 3 x 3 cells; got"):
        LbpHistograms(grid_wh).n_features(shape)
