"""What the machine can do at most, measured: bytes moved and numbers multiplied a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.budgets import Budget
from benchmarks.estimates import SEED
from benchmarks.limits.turns import in_turns
from benchmarks.scaling.finding import Copied, Kind, Multiplied, Ran

# From what the nearest cache holds to what no usual one does.
COPY_BYTES = (1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 28)
_LEAST_MOVED = 1 << 22  # a sample copies at least so much: a call takes a fraction of a microsecond
# Of the matrices: which size goes fastest depends on the caches, and small networks were seen to do more a second than the largest of these.
SIDES = (128, 256, 512, 1024)
_KINDS: tuple[Kind, ...] = ("float32", "int8")


def measure_peaks(rounds: int, threads: int, budgets: Mapping[str, Budget]) -> tuple[list[Copied], list[Multiplied], Ran]:
    """Copy memory of several sizes on one thread and multiply matrices of several sizes in the library that runs the networks, in turns.

    Of the products of each kind the size that went fastest is returned: the floor is what the machine can do at best.

    Args:
        rounds: Samples of each.
        threads: Of a product: as many as a network gets.
        budgets: Of which those of `validity` are used.
    """
    calls: dict[str, Callable[[], object]] = {f"copy {n_bytes}": _copy(n_bytes) for n_bytes in COPY_BYTES}
    calls |= {f"{kind} {side}": _product(kind, side, threads) for kind in _KINDS for side in SIDES}
    turns = in_turns(calls, rounds, "cpu", budgets)
    copies = []
    for n_bytes in COPY_BYTES:
        rates = [2 * n_bytes * _times(n_bytes) / ms / 1e6 for ms in turns.samples_ms[f"copy {n_bytes}"]]
        copies.append(Copied(n_bytes, max(rates), rates))
    products = [fastest_product(kind, threads, {side: turns.samples_ms[f"{kind} {side}"] for side in SIDES}) for kind in _KINDS]
    return copies, products, Ran(f"onnxruntime {onnxruntime.__version__} CPU, {threads} thread{'s' * (threads > 1)}", None, turns.machine, turns.invalid)


def fastest_product(kind: Kind, threads: int, samples_ms: Mapping[int, Sequence[float]]) -> Multiplied:
    """Return the product of the size at which most was multiplied a second.

    Args:
        kind: Of its factors.
        threads: Of each product.
        samples_ms: By the side of the matrices.
    """
    rates = {side: [side**3 / ms / 1e6 for ms in samples] for side, samples in samples_ms.items()}
    side = max(rates, key=lambda each: max(rates[each]))
    return Multiplied(kind, side, threads, max(rates[side]), rates[side])


def _times(n_bytes: int) -> int:
    return max(1, _LEAST_MOVED // n_bytes)


def _copy(n_bytes: int) -> Callable[[], None]:
    source, target = np.ones(n_bytes, np.uint8), np.zeros(n_bytes, np.uint8)

    def copy() -> None:
        for _ in range(_times(n_bytes)):
            np.copyto(target, source)

    return copy


def _product(kind: Kind, side: int, threads: int) -> Callable[[], object]:
    """A session that multiplies what it is fed by a constant matrix, as a network does with its weights."""
    rng = np.random.default_rng(SEED)
    shape = (side, side)
    if kind == "float32":
        fed, weights, operator = rng.random(shape, np.float32), rng.random(shape, np.float32), "MatMul"
        element, result = TensorProto.FLOAT, TensorProto.FLOAT
    else:
        # Unsigned by signed: what the runtime's INT8 networks compute on x86-64.
        fed, weights = rng.integers(0, 256, shape, np.uint8), rng.integers(-127, 128, shape, np.int8)
        operator, element, result = "MatMulInteger", TensorProto.UINT8, TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, ["fed", "weights"], ["product"])],
        "product",
        [helper.make_tensor_value_info("fed", element, shape)],
        [helper.make_tensor_value_info("product", result, shape)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # As edge/engine/ort.py: on processors without VNNI the slower kernels that are right.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, ["product"], {"fed": fed})
