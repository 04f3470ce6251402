"""A program that `torch.export` saved (.pt2): its graph and its weights."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.jit._trace import is_tracing

from converters.errors import ConversionError
from converters.from_torch.torch_original import TorchOriginal

_aten = torch.ops.aten
_DYNAMIC = 'export it with a free batch: torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("N")},))'
# Operators that take sizes, in the form that a trace can follow when a size is the batch.
_WITH_SIZES: dict[object, Callable[..., Any]] = {
    _aten.view.default: torch.Tensor.view,
    _aten.reshape.default: torch.Tensor.reshape,
    _aten.expand.default: torch.Tensor.expand,
    _aten.repeat.default: torch.Tensor.repeat,
    _aten.zeros.default: torch.zeros,
    _aten.ones.default: torch.ones,
    _aten.full.default: torch.full,
    _aten.new_zeros.default: torch.Tensor.new_zeros,
    _aten.new_ones.default: torch.Tensor.new_ones,
    _aten.new_full.default: torch.Tensor.new_full,
}
_READS_VALUES = (_aten.item.default, _aten._local_scalar_dense.default, _aten.nonzero.default)

# Checks of sizes; there is nothing to compute.
_PASSED_OVER = ("aten._assert", "aten.sym_constrain")


@dataclass(frozen=True)
class Program:
    """A `torch.export` program.

    Attributes:
        path: Its file.
        sha256: Hash of the file.
        exported: The program.
    """

    path: Path
    sha256: str
    exported: torch.export.ExportedProgram
    kind: Literal["program"] = "program"

    def original(self, *, inputs: Sequence[str], outputs: Sequence[str], name: str) -> TorchOriginal:
        """Make it ready to run and to convert; the arguments are those of `TorchOriginal`, the sizes are the program's own.

        Raises:
            ConversionError: Its inputs are not as many, not float32, or their batch is fixed; it decides by the values of tensors.
        """
        shapes = self._input_shapes()
        if len(shapes) != len(inputs):
            raise ConversionError(f"{self.path}: expected {len(inputs)} inputs ({', '.join(inputs)}), the program takes {len(shapes)}: {', '.join(shapes)}")
        for node in self.exported.graph.nodes:
            self._check(node)
        # Not zeros: what is measured on an example shows nothing if all of it is the same.
        random = np.random.default_rng(0)
        example = {key: random.standard_normal((2, *shape)).astype(np.float32) for key, shape in zip(inputs, shapes.values(), strict=True)}
        return TorchOriginal(_Traceable(self.exported), inputs=inputs, outputs=outputs, example=example, name=name, sha256=self.sha256)

    def _check(self, node: torch.fx.Node) -> None:
        if node.target in _READS_VALUES or isinstance(node.target, torch._ops.HigherOrderOperator):
            raise ConversionError(
                f"{self.path}: the program decides by the values of a tensor ({node.target}{_layer(node)}), which one traced run cannot follow",
                hint="write it with tensor operations (torch.where, torch.clamp, a mask), or leave it out of the network",
            )
        if _takes_size(node) and node.target not in _WITH_SIZES:
            raise ConversionError(
                f"{self.path}: operator '{node.target}'{_layer(node)} takes the size of the batch, which the conversion of programs cannot keep free",
                hint="write it without the size of the batch, or convert the network from its state_dict",
            )

    def _input_shapes(self) -> dict[str, list[int]]:
        """Sizes after the batch, by the program's own names of its inputs."""
        values = {node.name: node.meta.get("val") for node in self.exported.graph.nodes if node.op == "placeholder"}
        shapes: dict[str, list[int]] = {}
        for name in self.exported.graph_signature.user_inputs:
            value = values.get(str(name))
            if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.ndim < 1:
                raise ConversionError(f"{self.path}: expected float32[N, ...] as input '{name}', the program takes {value!r}")
            if isinstance(value.shape[0], int):
                raise ConversionError(f"{self.path}: input '{name}' is {list(value.shape)}: the program is bound to a batch of {value.shape[0]}", hint=_DYNAMIC)
            if not all(isinstance(size, int) for size in value.shape[1:]):
                raise ConversionError(f"{self.path}: input '{name}' is {list(value.shape)}: only the first dimension may be free", hint=_DYNAMIC)
            shapes[str(name)] = [int(size) for size in value.shape[1:]]
        return shapes


class _Traceable(torch.nn.Module):
    """The program, in a form in which a trace keeps the batch free; outside a trace it runs as it is."""

    def __init__(self, exported: torch.export.ExportedProgram) -> None:
        super().__init__()
        self.program = exported.module(check_guards=False)

    def train(self, mode: bool = True) -> _Traceable:  # noqa: ARG002 - nn.Module's signature
        # An exported program has no modes, and raises when it is given one.
        return self

    def forward(self, *tensors: torch.Tensor) -> Any:
        if is_tracing():  # type: ignore[no-untyped-call]
            return _KeepsSizes(self.program).run(*tensors)
        return self.program(*tensors)


class _KeepsSizes(torch.fx.Interpreter):
    """Runs the graph so that the batch stays a value of the trace: where the program reads it as an integer, the trace would take it for a constant."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is _aten.sym_size.int:
            return operator.getitem(args[0].shape, args[1])
        if str(target).startswith(_PASSED_OVER):
            return None
        if target in _WITH_SIZES:
            return _WITH_SIZES[target](*args, **kwargs)
        return super().call_function(target, args, kwargs)


def _takes_size(node: torch.fx.Node) -> bool:
    """Whether a number that follows from the batch goes into a place for numbers; in a place for tensors a trace keeps it."""
    if not isinstance(node.target, torch._ops.OpOverload) or str(node.target).startswith(_PASSED_OVER):
        return False
    arguments = node.target._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, node.args, strict=False)} | node.kwargs
    numbers = [given.get(argument.name) for argument in arguments if "Tensor" not in str(argument.type)]
    return any(
        isinstance(one, torch.fx.Node) and isinstance(one.meta.get("val"), torch.SymInt)
        for value in numbers
        for one in (value if isinstance(value, list | tuple) else [value])
    )


def _layer(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next((path for path, _ in reversed(stack.values())), "")
    return f" in layer '{path}'" if path else ""
