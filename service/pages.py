"""The look of every page that Mintage writes: whole in one file, in light and dark, on wide and narrow screens."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
:root { color-scheme: light dark; --line: #8884; --paper: #fff; --ink: #1b1f24; --dim: #5a6472; --accent: #0a6c5c; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e3e6ea; --dim: #99a3b0; --accent: #5fd0b8; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p { margin: .4rem 0; }
p, .note { color: var(--dim); }
a { color: var(--accent); }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
td:nth-child(2) { font-variant-numeric: tabular-nums; }
pre { margin: .4rem 0; padding: .8rem 1rem; overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; color: var(--dim); }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; color: var(--accent); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.plots svg { width: 100%; height: auto; color: var(--ink); }
.gallery { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; text-align: center; font-size: .8rem; color: var(--dim); }
.wide { text-align: left; margin: 1rem 0; }
img { image-rendering: pixelated; border: 1px solid var(--line); display: block; max-width: 100%; }
"""


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
