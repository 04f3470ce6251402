"""What a report is made of, whatever it is written as: sections of words, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Words:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of plain text, each as long as the head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.head)]
        if wrong:
            raise ValueError(f"expected rows of {len(self.head)} cells, got {wrong[0]}")


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        label: For the legend.
        x: Where they stand.
        y: Their values.
        ends: Lower and upper end of each value's interval; None where there is none.
        joined: Draw a line through them, and not marks alone.
        point_names: What to write beside each point; none where there is nothing to tell apart.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    ends: Sequence[tuple[float, float]] | None = None
    joined: bool = True
    point_names: Sequence[str] = ()


@dataclass(frozen=True)
class Curves:
    """Values over something.

    Attributes:
        series: At least one.
        x_label: With its unit.
        y_label: With its unit.
        levels: Horizontal lines with their names.
        x_log: Logarithmic axis.
        y_log: Logarithmic axis.
        x_names: What stands under the x axis, by its place; empty: the numbers.
    """

    series: Sequence[Series]
    x_label: str
    y_label: str
    levels: Mapping[str, float] = field(default_factory=dict)
    x_log: bool = False
    y_log: bool = False
    x_names: Mapping[float, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its value with its interval, and the group that gives its colour."""

    label: str
    value: float
    ends: tuple[float, float] | None = None
    group: str = ""


@dataclass(frozen=True)
class Bars:
    """Values side by side, with vertical lines for what they are held against."""

    bars: Sequence[Bar]
    x_label: str
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stacks:
    """Bars made of parts: each bar's name, and its parts by name."""

    stacks: Mapping[str, Mapping[str, float]]
    x_label: str


@dataclass(frozen=True)
class Histograms:
    """How often which value came: every sample, on a logarithmic axis, with three percentiles. Samples by name, all positive."""

    samples: Mapping[str, Sequence[float]]
    x_label: str


Drawing = Curves | Bars | Stacks | Histograms


@dataclass(frozen=True)
class Picture:
    """A drawing.

    Attributes:
        name: Of its file, without an ending; another one for each picture of a document.
        caption: What it shows, for those too who cannot see it.
        drawing: What is drawn.
    """

    name: str
    caption: str
    drawing: Drawing


Block = Words | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of the document under a title."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A title, what stands under it, and sections."""

    title: str
    subtitle: str
    sections: Sequence[Section]

    def pictures(self) -> list[Picture]:
        """Return every picture, in order.

        Raises:
            ValueError: Two have the same name: one file would overwrite the other.
        """
        pictures = [block for section in self.sections for block in section.blocks if isinstance(block, Picture)]
        names = [picture.name for picture in pictures]
        if len(set(names)) < len(names):
            raise ValueError(f"expected another name for each picture, got {sorted(name for name in set(names) if names.count(name) > 1)} twice")
        return pictures
