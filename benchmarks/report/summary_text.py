"""A report as Markdown: the same sections, words and tables, with its pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.report.document import Block, Document, Picture, Table, Words

# What Markdown, or the HTML in it, would take for a sign of its own.
_SIGNS = re.compile(r"([\\`*<>|&]|(?<!\w)_|_(?!\w)|(?<=\])\()")


def as_markdown(document: Document) -> str:
    """Return the document as Markdown; a picture is `NAME.png` beside it."""
    sections = "\n".join(f"## {_text(section.title)}\n\n{blocks_as_markdown(section.blocks)}" for section in document.sections)
    return f"# {_text(document.title)}\n\n{_text(document.subtitle)}\n\n{sections}"


def blocks_as_markdown(blocks: Sequence[Block]) -> str:
    """Return blocks as Markdown, each with an empty line after it."""
    return "".join(f"{_block(block)}\n\n" for block in blocks)


def _block(block: Block) -> str:
    if isinstance(block, Words):
        return _text(block.text)
    if isinstance(block, Picture):
        return f"![{_text(block.caption)}]({block.name}.png)"
    return _table(block)


def _table(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head)]
    rows = [f"| {' | '.join(line)} |" for line in ([*map(_text, lines[0])], lines[1])]
    return "\n".join([*rows, *(f"| {' | '.join(map(_text, row))} |" for row in table.rows)])


def _text(text: str) -> str:
    return _SIGNS.sub(r"\\\1", " ".join(text.split()))
