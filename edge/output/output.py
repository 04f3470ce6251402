"""What takes results, and how a destination is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from edge.errors import ConfigError
from edge.output.header import Header
from edge.result import FrameResult

CsvStyle = Literal["edge", "openface", "pyfeat"]


class Output(Protocol):
    """A destination of results. Closing twice is allowed; writing after closing raises `OutputError`."""

    def write(self, result: FrameResult) -> None:
        """Write one frame.

        Raises:
            OutputError: It could not be written.
        """
        ...

    def close(self) -> None:
        """Finish the destination.

        Raises:
            OutputError: Its end could not be written.
        """
        ...


def open_output(dest: str, *, header: Header, csv_style: CsvStyle = "edge", raw: bool = False, input_path: Path | None = None) -> Output:
    """Open a destination; an existing file is overwritten.

    Args:
        dest: `-` (JSON Lines on the standard output), `*.jsonl` or `*.csv`.
        header: What the records were made with.
        csv_style: Column names of a CSV file.
        raw: Write unsmoothed values beside the smoothed ones.
        input_path: The file that is being read, which must not be overwritten.

    Raises:
        ConfigError: The destination is not known, cannot be made, or cannot hold what is asked.
        OutputError: The first line could not be written.
    """
    from edge.output.csv_table import CsvTable
    from edge.output.jsonl import JsonLines

    if dest.startswith("mqtt://"):
        raise ConfigError(f"--output {dest}: MQTT is not yet available", hint="--output - writes JSON Lines, which any MQTT client can take from a pipe")
    if dest == "-" or dest.endswith(".jsonl"):
        return JsonLines(dest, header=header, raw=raw, input_path=input_path)
    if dest.endswith(".csv"):
        return CsvTable(dest, header=header, style=csv_style, raw=raw, input_path=input_path)
    raise ConfigError(f"--output expects -, a name ending in .jsonl or one ending in .csv; got '{dest}'", hint="--output out.jsonl")
