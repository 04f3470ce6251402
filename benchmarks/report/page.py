"""A report as one HTML file: pictures inside it, no script, nothing fetched from anywhere, light or dark as the reader's system is."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from benchmarks.report.document import Block, Document, Picture, Table, Words

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1e21; --faint: #62676e; --line: #d8dce1; --stripe: #f4f6f8;
  --good: #0a7d3c; --bad: #b3261e; --doubt: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e4e7ea; --faint: #9aa2ab; --line: #343a41; --stripe: #1c2024;
  --good: #55c98a; --bad: #ff8a80; --doubt: #f0b64a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0.5rem 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid var(--line); }
p { margin: 0.6rem 0; max-width: 60rem; overflow-wrap: anywhere; }
nav { font-size: 0.9rem; } nav a { margin-right: 0.9rem; white-space: nowrap; display: inline-block; } a { color: inherit; }
.wide { overflow-x: auto; margin: 0.8rem 0; }
table { border-collapse: collapse; font-size: 0.82rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); min-width: 3.5rem; max-width: 24rem;
  overflow-wrap: break-word; }
th { white-space: normal; color: var(--faint); font-weight: 600; } tr:nth-child(even) td { background: var(--stripe); }
td.number { text-align: right; white-space: nowrap; }
td.word { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .doubt { color: var(--doubt); } .none { color: var(--faint); }
figure { margin: 1rem 0; } figcaption { font-size: 0.85rem; color: var(--faint); }
figure svg { display: block; width: 100%; min-width: 34rem; max-width: 58rem; }
@media print { :root { color-scheme: light; --paper: #ffffff; --ink: #000000; --faint: #444444; --line: #bbbbbb; --stripe: #ffffff;
  --good: #0a7d3c; --bad: #b3261e; --doubt: #8a5a00; } nav { display: none; } body { max-width: none; padding: 0; font-size: 10pt; }
  .wide { overflow: visible; } table { font-size: 7.5pt; } td.number { white-space: normal; } figure, tr { break-inside: avoid; } figure svg { min-width: 0; } }
"""
WORDS = {
    "pass": "good",
    "holds": "good",
    "fail": "bad",
    "does not hold": "doubt",  # what a document said of other machines
    "unclear": "doubt",
    "invalid": "doubt",
    "not run": "none",
}
_NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( %)?( \[.*\])?( \(.*\))?")


def as_html(document: Document, draw: Callable[[Picture], str]) -> str:
    """Return the document as a whole HTML page.

    Args:
        document: What to write; its texts may hold anything, and are escaped.
        draw: Returns a picture as an SVG element.
    """
    names = [f"section-{place}" for place, _ in enumerate(document.sections)]
    links = "".join(f'<a href="#{name}">{escape(section.title)}</a>' for name, section in zip(names, document.sections, strict=True))
    sections = [
        f'<section id="{name}"><h2>{escape(section.title)}</h2>\n' + "\n".join(_block(block, draw) for block in section.blocks) + "</section>"
        for name, section in zip(names, document.sections, strict=True)
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(document.title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(document.title)}</h1><p>{escape(document.subtitle)}</p><nav>{links}</nav>",
            *sections,
            "</body></html>\n",
        ]
    )


def _block(block: Block, draw: Callable[[Picture], str]) -> str:
    if isinstance(block, Words):
        kind = ' class="doubt"' if block.text.startswith("INVALID") else ""
        return f"<p{kind}>{escape(block.text)}</p>"
    if isinstance(block, Picture):
        picture = draw(block).replace("<svg", f'<svg role="img" aria-label="{escape(block.caption)}"', 1)
        return f'<figure><div class="wide">{picture}</div><figcaption>{escape(block.caption)}</figcaption></figure>'
    return _table(block)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'


def _cell(text: str) -> str:
    kind = f' class="word {WORDS[text]}"' if text in WORDS else ' class="number"' if _NUMBER.fullmatch(text) else ""
    return f"<td{kind}>{escape(text)}</td>"
