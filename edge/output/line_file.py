"""A file, or the standard output, that takes whole lines."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from edge.errors import ConfigError, OutputError
from edge.output.destination import check_destination


class LineFile:
    """Lines out, each in one write to the operating system: `tail -f` sees them at once, and a crash of ours loses none that was written.

    An unbuffered descriptor also means that nothing is left to be flushed when the reader of a pipe has gone, so that the interpreter has no complaint at its
    end.

    Args:
        dest: `-` for the standard output, else a path; an existing file is overwritten.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The file cannot be made.
    """

    def __init__(self, dest: str, *, input_path: Path | None = None) -> None:
        self._name = "the standard output" if dest == "-" else dest
        self._n_lines = 0
        self._size_bytes = 0
        if dest != "-":
            check_destination(Path(dest), option="--output", input_path=input_path)
        try:
            self._file = io.FileIO(1, "w", closefd=False) if dest == "-" else io.FileIO(dest, "w")
            # A standard output that a shell appends to a file (`>> all.jsonl`) does not begin at 0.
            self._starts_at = self._file.seek(0, io.SEEK_END) if self._file.seekable() else 0
        except OSError as error:
            raise ConfigError(f"--output: {dest} cannot be written ({error.strerror})", hint="choose another place") from error

    def write_first_line(self, line: bytes) -> None:
        """Write one line, and close the file where that fails: its owner is still being made, and nobody else could.

        Args:
            line: Without its newline.

        Raises:
            OutputError: The disk is full, or the reader has gone.
        """
        try:
            self.write_line(line)
        except OutputError:
            self.close()
            raise

    def write_line(self, line: bytes) -> None:
        """Write one line.

        Args:
            line: Without its newline.

        Raises:
            OutputError: The disk is full, the reader has gone, or the file was closed.
        """
        if self._file.closed:
            raise OutputError(f"{self._name} is closed; {self._n_lines} lines had been written")
        rest = memoryview(line + b"\n")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._drop_partial_line()
            raise OutputError(
                f"writing to {self._name} failed after {self._n_lines} lines: {error.strerror}",
                hint="its reader has gone" if isinstance(error, BrokenPipeError) else "what was written before is whole; make room, or choose another place",
            ) from error
        self._n_lines += 1
        self._size_bytes += len(line) + 1

    def close(self) -> None:
        """Close the file; the standard output stays open. Closing twice is allowed.

        Raises:
            OutputError: The file system reports a late failure.
        """
        try:
            self._file.close()
        except OSError as error:
            raise OutputError(f"closing {self._name} failed after {self._n_lines} lines: {error.strerror}") from error

    def _drop_partial_line(self) -> None:
        # Half a record would be the last line of an otherwise sound file. Pipes and devices cannot be shortened.
        with contextlib.suppress(OSError):
            whole = self._starts_at + self._size_bytes
            os.ftruncate(self._file.fileno(), whole)
            self._file.seek(whole)
