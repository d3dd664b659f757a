"""Every page that Mintage writes: whole in one file, in light and dark, on wide and narrow screens."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from html import escape

from service.look import (
    ACCENT,
    DARK_ACCENT,
    DARK_FAINT,
    DARK_INK,
    DARK_LINE,
    DARK_PAPER,
    FAINT,
    INK,
    LINE,
    PAPER,
)

STYLE = (
    f"""
:root {{ color-scheme: light dark;
  --line: {LINE}; --paper: {PAPER}; --ink: {INK}; --dim: {FAINT}; --accent: {ACCENT}; }}
@media (prefers-color-scheme: dark) {{ :root {{
  --line: {DARK_LINE}; --paper: {DARK_PAPER}; --ink: {DARK_INK}; --dim: {DARK_FAINT}; --accent: {DARK_ACCENT}; }} }}
"""
    """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
p, .note { color: var(--dim); }
a { color: var(--accent); }
code { font-size: .9em; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; }
td:first-child, td.number { white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; }
pre { margin: .4rem 0; padding: .8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
  border: 1px solid var(--line); border-radius: .4rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(12rem, 100%), 1fr)); gap: .8rem;
  margin: 1.2rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; color: var(--dim); }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; color: var(--accent); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
.plots svg { width: 100%; height: auto; color: var(--ink); }
.gallery { display: grid; grid-template-columns: repeat(6, 1fr); gap: 1rem .8rem; }
.gallery img { width: 100%; height: auto; }
figure { margin: 0; font-size: .8rem; line-height: 1.35; color: var(--dim); overflow-wrap: anywhere; }
figcaption { margin-top: .3rem; }
.wide { margin: 1rem 0; }
img { image-rendering: pixelated; border: 1px solid var(--line); display: block; max-width: 100%; }
@media (max-width: 44rem) {
  .gallery { grid-template-columns: repeat(3, 1fr); }
  th { display: none; }
  tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  td { display: block; padding: 0; border: 0; }
  td:first-child { color: var(--dim); white-space: normal; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--dim); }
  td:empty { display: none; }
}
"""
)


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: text, shown by the browser and as the page's heading.
        body: what follows the heading, as HTML.
    """
    name = escape(title)
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{name}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head><body><main>",
            f"<h1>{name}</h1>",
            *body,
            "</main></body></html>\n",
        ]
    )


def table(rows: Iterable[Sequence[str]], *, head: Sequence[str] = (), numbers: Container[int] = ()) -> str:
    """Return a table; on a narrow screen each row becomes a block, so that no number is broken.

    Args:
        rows: cells as HTML, the first of each being its name.
        head: names of the columns as text; none for a table of names and values.
        numbers: columns whose cells are never broken into lines.
    """
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(_cell(at, cell, head, numbers) for at, cell in enumerate(row))}</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Return what the first screen of a page tells: short values, and what each is, as text."""
    shown = (f"<div class=tile><b>{escape(value)}</b>{escape(text)}</div>" for value, text in facts)
    return f"<div class=tiles>{''.join(shown)}</div>"


def _cell(at: int, cell: str, head: Sequence[str], numbers: Container[int]) -> str:
    label = f' data-label="{escape(head[at])}"' if head and at in numbers else ""
    return f"<td{' class=number' if at in numbers else ''}{label}>{cell}</td>"
