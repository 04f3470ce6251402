"""A network in PyTorch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
import torch

from converters.errors import ConversionError, ParityFailure
from converters.from_torch.onnx_from_torch import onnx_from_torch
from converters.original import Array

_BATCH = 16


class TorchOriginal:
    """A module with its weights.

    Args:
        module: Takes one tensor for each input, in this order, and returns a tensor, or a tuple or list of as many tensors as there are outputs. It is put
            into evaluation mode.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        example: float32[2, ...] by input name: the sizes that the network is made for; the first one, the batch, stays free.
        name: Name of the network, in messages and in the ONNX graph.
        sha256: Hash of the file that it was loaded from; None: the hash of its weights' names, shapes and bytes.

    Raises:
        ConversionError: `example` does not fit the names, or is not float32 with a batch of 2; a weight is a floating number of another size than float32.
    """

    def __init__(
        self, module: torch.nn.Module, *, inputs: Sequence[str], outputs: Sequence[str], example: Mapping[str, Array], name: str, sha256: str | None = None
    ) -> None:
        if set(example) != set(inputs):
            raise ConversionError(f"network '{name}': expected examples of the inputs {sorted(inputs)}, got {sorted(example)}")
        for key, array in example.items():
            if array.dtype != np.float32 or array.ndim < 1 or len(array) != 2:
                raise ConversionError(f"network '{name}': expected float32[2, ...] as the example of '{key}', got {array.dtype}{list(array.shape)}")
        for key, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise ConversionError(f"network '{name}': expected float32 weights, '{key}' is {_dtype(tensor)}", hint="call .float() on the module first")
        self._module, self._name = module.eval(), name
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._example = {key: np.array(example[key]) for key in inputs}
        self._sha256 = sha256 if sha256 is not None else weights_sha256(module)

    @property
    def framework(self) -> str:
        """What runs it, with version."""
        return f"PyTorch {torch.__version__.partition('+')[0]}"

    @property
    def sha256(self) -> str:
        """Hash of the file that it was loaded from, or of its weights."""
        return self._sha256

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run it, 16 inputs at a time, on one thread; `inputs` are not modified.

        Args:
            inputs: float32[N, ...] by input name.

        Returns:
            float32[N, ...] by output name.

        Raises:
            ParityFailure: The names are not the network's.
            ConversionError: It fails on inputs of these sizes; its outputs are not float32[N, ...], or not as many as named.
        """
        if set(inputs) != set(self._inputs):
            raise ParityFailure(f"network '{self._name}': expected the inputs {sorted(self._inputs)}, got {sorted(inputs)}")
        count = len(next(iter(inputs.values())))
        rows: dict[str, list[Array]] = {name: [] for name in self._outputs}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for start in range(0, count, _BATCH):
                tensors = [torch.tensor(inputs[name][start : start + _BATCH]) for name in self._inputs]
                for name, tensor in zip(self._outputs, self._call(tensors), strict=True):
                    rows[name].append(tensor.numpy())
        finally:
            torch.set_num_threads(threads)
        return {name: np.concatenate(arrays) for name, arrays in rows.items()}

    def to_onnx(self) -> onnx.ModelProto:
        """Convert it; see `onnx_from_torch`."""
        return onnx_from_torch(self._module, example=self._example, answers=self.run(self._example), name=self._name)

    def _call(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        try:
            with torch.no_grad(), _where(self._module) as layer:
                result = self._module(*tensors)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            sizes = ", ".join(f"'{name}' {list(tensor.shape)}" for name, tensor in zip(self._inputs, tensors, strict=True))
            raise ConversionError(
                f"network '{self._name}' fails in {layer()} on {sizes}: {str(error).splitlines()[0]}",
                hint="give it inputs of the size and the colour that it was trained on",
            ) from error
        results = [result] if isinstance(result, torch.Tensor) else list(result) if isinstance(result, tuple | list) else []
        if len(results) != len(self._outputs) or not all(isinstance(one, torch.Tensor) for one in results):
            gives = type(result).__name__ if not results else ", ".join(type(one).__name__ for one in results)
            raise ConversionError(
                f"network '{self._name}': expected {len(self._outputs)} output tensors ({', '.join(self._outputs)}), it gives {gives}",
                hint="name every output (`tensor`), in the order in which forward() returns them: a tensor, or a tuple of tensors",
            )
        for name, one in zip(self._outputs, results, strict=True):
            if one.dtype != torch.float32 or one.ndim < 1 or len(one) != len(tensors[0]):
                raise ConversionError(
                    f"network '{self._name}': expected output '{name}' as float32[{len(tensors[0])}, ...], it is {_dtype(one)}{list(one.shape)}",
                    hint="return scores of each input, not choices, and nothing that mixes the batch",
                )
        return results


@contextmanager
def _where(module: torch.nn.Module) -> Iterator[Callable[[], str]]:
    """Follow which layer runs, to be able to name the one that failed."""
    entered: list[str] = []
    hooks = [
        hook
        for path, layer in module.named_modules()
        if path and not isinstance(layer, torch.jit.ScriptModule)
        for hook in (
            layer.register_forward_pre_hook(lambda *_, path=path: entered.append(path)),
            layer.register_forward_hook(lambda *_: entered.pop() and None),
        )
    ]
    try:
        yield lambda: f"layer '{entered[-1]}'" if entered else "its forward()"
    finally:
        for hook in hooks:
            hook.remove()


def weights_sha256(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers: their names, dtypes, shapes and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
