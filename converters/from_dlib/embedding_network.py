"""dlib's face embedding network as its weights file holds it: 29 convolutions in residual blocks, 150x150 RGB in, 128 numbers out.

A file begins with the versions of all layers, the last layer first; then come the layers themselves, the first one first. dlib's `affine_` is a batch
normalisation that has become a factor and a summand for each channel.

Source of the architecture: dlib, dnn_face_recognition_ex.cpp (`anet_type`); of the order of the bytes: dlib, dnn/core.h, dnn/layers.h and dnn/loss.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converters.from_dlib.byte_stream import Array, DlibStream

SIDE_PX = 150
N_CHANNELS_OUT = 128
# Red, green and blue: subtracted from a pixel, which is then divided by 256. Source: dlib, dnn/input.h, input_rgb_image_sized.
MEANS = (122.782, 117.001, 104.298)
DIVISOR = 256.0

_N_STEM, _STEM_SIZE, _STEM_STRIDE = 32, 7, 2
# Channels of each residual block in turn, and whether it halves its picture.
_BLOCKS = (*((32, False),) * 3, (64, True), *((64, False),) * 3, (128, True), *((128, False),) * 2, (256, True), *((256, False),) * 2, (256, True))


@dataclass(frozen=True)
class Convolution:
    """A convolution and the affine layer after it.

    Attributes:
        weights: float32[out, in, size, size].
        biases: float32[out].
        gains: float32[out], factors of the affine layer.
        shifts: float32[out], its summands.
        stride: Pixels from one output to the next.
        pad: Zeros on every side of the input.
    """

    weights: Array
    biases: Array
    gains: Array
    shifts: Array
    stride: int
    pad: int


@dataclass(frozen=True)
class Block:
    """Two convolutions, the first one with a ReLU, whose sum with the block's input goes through a ReLU.

    Attributes:
        first: Where `halves`, it has a stride of 2 and no padding.
        second: Keeps the size.
        halves: The input is averaged over 2x2 pixels before the sum. Whatever of the two then has fewer channels, rows or columns is continued with zeros.
    """

    first: Convolution
    second: Convolution
    halves: bool


@dataclass(frozen=True)
class EmbeddingNetwork:
    """The whole network.

    Attributes:
        stem: Before the blocks; a ReLU and a maximum over 3x3 pixels, two apart, follow.
        blocks: Residual blocks; the mean of each channel follows.
        projection: float32[channels, 128].
    """

    stem: Convolution
    blocks: tuple[Block, ...]
    projection: Array


def read_network(content: bytes, *, where: str) -> EmbeddingNetwork:
    """Read the network from the bytes of its weights file. Every byte is accounted for.

    Args:
        content: `dlib_face_recognition_resnet_model_v1.dat`.
        where: The file's name, for messages.

    Raises:
        ConversionError: Something is not as it must be; the message names the first such thing, its byte and its layer.
    """
    stream = DlibStream(content, where=where)
    stream.expect("version of the loss layer", 1)
    stream.expect("loss", "loss_metric_2")
    stream.real()  # margin and threshold of the loss: for training
    stream.real()
    stream.expect("version of a layer", *_versions())
    _read_input(stream)
    layers = _Layers(stream)
    stem = layers.convolution(3, _N_STEM, size=_STEM_SIZE, stride=_STEM_STRIDE, pad=0)
    layers.plain("relu_")
    layers.plain("max_pool_2", 3, 3, 2, 2, 0, 0)
    blocks = []
    n_channels = _N_STEM
    for n_out, halves in _BLOCKS:
        blocks.append(_read_block(layers, n_channels, n_out, halves=halves))
        n_channels = n_out
    layers.plain("avg_pool_2", 0, 0, 1, 1, 0, 0)  # 0: the whole picture
    projection = layers.projection(n_channels)
    stream.end()
    return EmbeddingNetwork(stem, tuple(blocks), projection)


def _versions() -> Iterator[int]:
    """Yield the versions of all layers, the last one first: 2 for one that computes, 1 for a mark or a jump to it, 3 for the very first."""
    plain, mark = 2, 1
    yield from (plain, plain)  # projection, mean
    for _, halves in reversed(_BLOCKS):
        yield from (plain, plain)  # ReLU, sum
        if halves:
            yield from (plain, mark, mark)  # average of what the jump leads to, jump, mark
        yield from (plain,) * 5  # affine, convolution, ReLU, affine, convolution
        yield mark
    yield from (plain, plain, plain, 3)  # maximum, ReLU, affine, convolution


def _read_input(stream: DlibStream) -> None:
    stream.layer = "the input layer"
    stream.expect("input", "input_rgb_image_sized")
    for color, mean in zip(("red", "green", "blue"), MEANS, strict=True):
        if abs((found := stream.real()) - mean) > 1e-4:
            raise stream.refuse(f"expected a mean of {mean} for {color}, got {found:g}")
    stream.expect("size of the input", SIDE_PX, SIDE_PX)


def _read_block(layers: _Layers, n_in: int, n_out: int, *, halves: bool) -> Block:
    first = layers.convolution(n_in, n_out, size=3, stride=2 if halves else 1, pad=0 if halves else 1)
    layers.plain("relu_")
    second = layers.convolution(n_out, n_out, size=3, stride=1, pad=1)
    if halves:
        layers.plain("avg_pool_2", 2, 2, 2, 2, 0, 0)
    layers.plain("add_prev_")
    layers.plain("relu_")
    return Block(first, second, halves)


class _Layers:
    """Reads one layer after the other and counts them for messages."""

    def __init__(self, stream: DlibStream) -> None:
        self._stream, self._count = stream, 0

    def convolution(self, n_in: int, n_out: int, *, size: int, stride: int, pad: int) -> Convolution:
        stream = self._stream
        self._begin("con_4")
        shape = (n_out, n_in, size, size)
        n_weights = n_out * n_in * size * size
        parameters = stream.tensor(n_weights + n_out)
        stream.expect("setting of a convolution", n_out, size, size, stride, stride, pad, pad)
        stream.view(*shape)
        stream.view(1, n_out)
        self._end(n_multipliers=4)
        self._begin("affine_")
        affine = stream.tensor(2 * n_out)
        stream.view(1, n_out)
        stream.view(1, n_out)
        stream.expect("mode of an affine layer", 0)  # one pair for each channel
        self._end()
        weights, biases = parameters[:n_weights].reshape(shape), parameters[n_weights:]
        return Convolution(weights, biases, gains=affine[:n_out], shifts=affine[n_out:], stride=stride, pad=pad)

    def plain(self, name: str, *settings: int) -> None:
        self._begin(name)
        self._stream.expect(f"setting of {name}", *settings)
        self._end()

    def projection(self, n_in: int) -> Array:
        stream = self._stream
        self._begin("fc_2")
        stream.expect("size of a fully connected layer", N_CHANNELS_OUT, n_in)
        weights = stream.tensor(n_in, N_CHANNELS_OUT)
        stream.view(n_in, N_CHANNELS_OUT)
        stream.expect("version of a view", 1)
        stream.expect("size of a view of no biases", 0, 0, 0, 0)
        stream.expect("mode of a fully connected layer", 1)  # without biases
        self._end(n_multipliers=4)
        return weights

    def _begin(self, name: str) -> None:
        self._count += 1
        self._stream.layer = f"layer {self._count} ({name})"
        self._stream.expect("layer", name)

    def _end(self, *, n_multipliers: int = 0) -> None:
        """Read what follows every layer: state of the training, which a finished network holds none of."""
        for _ in range(n_multipliers):
            self._stream.real()
        self._stream.expect_flags(3)
        for _ in range(3):
            self._stream.empty_tensor()
        if self._count == 1:
            self._stream.expect("samples made of each sample", 1)
