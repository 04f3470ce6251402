"""What is published of peers that do not run here, read from `peers/published.toml`: shown apart, never set against our own figures."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.errors import ConfigError

PUBLISHED_FILE = Path(__file__).parent / "peers" / "published.toml"


class PublishedFigure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One published figure.

    Attributes:
        name: The peer.
        what: What was timed, and by whom where not by its makers.
        value: In `unit`; None where no figure was found.
        unit: Of `value`, or of what was looked for.
        on: Their machine.
        source: Address of the page that says so.
        why_not_run: What it would take to run it here.
    """

    name: str
    what: str
    value: float | None = None
    unit: str
    on: str
    source: str
    why_not_run: str

    def line(self) -> str:
        """Return one line for a person, without the details."""
        value = "no figure found" if self.value is None else f"{self.value:g} {self.unit}"
        return f"published, not run here: {self.name}: {value} on {self.on} ({self.source})"


class _Published(msgspec.Struct, forbid_unknown_fields=True):
    figure: list[PublishedFigure]


def load_published(path: Path = PUBLISHED_FILE) -> list[PublishedFigure]:
    """Return every published figure, in the order of the file.

    Raises:
        ConfigError: The file cannot be read, or has a key or a value that means nothing.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Published).figure
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"expected published figures with name, what, value, unit, on, source and why_not_run in {path}: {error}") from error
