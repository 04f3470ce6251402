"""JSON Lines: a header, then one record for each frame."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.output.header import Header
from edge.output.line_file import LineFile
from edge.result import FrameResult


class JsonLines:
    """`edge.header/1` on the first line, `edge.result/1` on every other.

    Args:
        dest: `-` for the standard output, else a path.
        header: Written at once.
        raw: Add each face's unsmoothed values.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The file cannot be made.
        OutputError: The header could not be written.
    """

    def __init__(self, dest: str, *, header: Header, raw: bool = False, input_path: Path | None = None) -> None:
        self._encoder = msgspec.json.Encoder()
        self._raw = raw
        self._lines = LineFile(dest, input_path=input_path)
        self._lines.write_first_line(self._encoder.encode(header.record()))

    def write(self, result: FrameResult) -> None:
        """Write one record.

        Raises:
            OutputError: It could not be written.
        """
        self._lines.write_line(self._encoder.encode(result.record(raw=self._raw)))

    def close(self) -> None:
        """Close the file. Closing twice is allowed.

        Raises:
            OutputError: The file system reports a late failure.
        """
        self._lines.close()
