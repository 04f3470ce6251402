"""Reads the values of dlib's binary serialisation one after the other; what does not fit is named with its place.

Source of the encodings: dlib, serialize.h, float_details.h, and serialize() of tensor.h (version 2), alias_tensor (version 1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError

Array = NDArray[np.float32]

# dlib writes a real as mantissa times two to the power of an exponent; from this exponent on it stands for infinity or no number.
_NO_NUMBER_FROM = 32000
_MAX_INTEGER_BYTES = 8
_MAX_TEXT_BYTES = 100


class DlibStream:
    """The bytes of a file and how far they have been read.

    Args:
        content: All of the file.
        where: Its name, for messages.

    Attributes:
        layer: What is being read, for messages.
    """

    def __init__(self, content: bytes, *, where: str) -> None:
        self._content, self._where = content, where
        self._at = 0
        self.layer = "header"

    def refuse(self, problem: str, *, at: int | None = None) -> ConversionError:
        """Return the error that names the problem, the layer and the place."""
        place = self._at if at is None else at
        return ConversionError(
            f"{self._where}: {problem}, at byte {place}, in {self.layer}",
            hint="expected dlib_face_recognition_resnet_model_v1.dat as dlib wrote it; other networks of dlib are not converted",
        )

    def integer(self) -> int:
        """Read a whole number.

        Raises:
            ConversionError: There is none here.
        """
        start = self._at
        control = self._take(1)[0]
        n_bytes = control & 0x7F
        if not 1 <= n_bytes <= _MAX_INTEGER_BYTES:
            raise self.refuse(f"expected a whole number of 1 to {_MAX_INTEGER_BYTES} bytes, got {n_bytes}", at=start)
        value = int.from_bytes(self._take(n_bytes), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        """Read a real number.

        Raises:
            ConversionError: There is none here.
        """
        start = self._at
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) >= _NO_NUMBER_FROM:
            raise self.refuse("expected a finite number", at=start)
        try:
            return math.ldexp(mantissa, exponent)
        except OverflowError as error:
            raise self.refuse(f"expected a finite number, got {mantissa} times 2 to the power of {exponent}", at=start) from error

    def text(self) -> str:
        """Read a short text.

        Raises:
            ConversionError: There is none here.
        """
        start = self._at
        n_bytes = self.integer()
        if not 0 <= n_bytes <= _MAX_TEXT_BYTES:
            raise self.refuse(f"expected a text of at most {_MAX_TEXT_BYTES} bytes, got one of {n_bytes}", at=start)
        return self._take(n_bytes).decode("ascii", errors="replace")

    def expect(self, what: str, *values: int | str) -> None:
        """Read whole numbers and texts that must be these.

        Raises:
            ConversionError: One of them is another.
        """
        for value in values:
            start = self._at
            found = self.text() if isinstance(value, str) else self.integer()
            if found != value:
                raise self.refuse(f"expected {what} {value!r}, got {found!r}", at=start)

    def expect_flags(self, count: int) -> None:
        """Read flags that say nothing of what a network computes.

        Raises:
            ConversionError: There are none here.
        """
        start = self._at
        if (found := self._take(count)).strip(b"01"):
            raise self.refuse(f"expected {count} flags, 0 or 1, got {found!r}", at=start)

    def tensor(self, *shape: int) -> Array:
        """Read a tensor of this shape (trailing ones are filled in).

        Raises:
            ConversionError: There is none here, it has another shape, or it holds values that are not finite.
        """
        self.expect("version of a tensor", 2)
        self.expect("size of a tensor", *_four(shape))
        start = self._at
        values = np.frombuffer(self._take(4 * math.prod(shape)), "<f4").astype(np.float32).reshape(shape)
        if not np.isfinite(values).all():
            raise self.refuse(f"expected finite weights, got {np.count_nonzero(~np.isfinite(values))} others", at=start)
        return values

    def empty_tensor(self) -> None:
        """Read a tensor that holds nothing.

        Raises:
            ConversionError: It holds something, or there is none here.
        """
        self.expect("version of a tensor", 2)
        self.expect("size of an empty tensor", 0, 0, 0, 0)

    def view(self, *shape: int) -> None:
        """Read how a part of a tensor is shaped: it must be this (trailing ones are filled in).

        Raises:
            ConversionError: It is shaped otherwise.
        """
        self.expect("version of a view", 1)
        self.expect("size of a view", *_four(shape))

    def end(self) -> None:
        """Make sure that everything has been read.

        Raises:
            ConversionError: Bytes are left over.
        """
        if self._at != len(self._content):
            raise self.refuse(f"expected the end of the file, got {len(self._content) - self._at} more bytes")

    def _take(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._content):
            raise self.refuse(f"expected {count} more bytes, got {len(self._content) - start}: the file ends here", at=start)
        return self._content[start : self._at]


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, *(1,) * (4 - len(shape)))
