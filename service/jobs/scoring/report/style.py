"""The style of a report: in light and dark mode, on wide and narrow screens."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --line: #8884; --paper: #fff; --ink: #1b1f24; --dim: #5a6472; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e3e6ea; --dim: #99a3b0; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p { margin: .4rem 0; }
p, .note { color: var(--dim); }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; }
td:nth-child(2) { font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
.plots svg { width: 100%; height: auto; color: var(--ink); }
.gallery { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; text-align: center; font-size: .8rem; color: var(--dim); }
img { image-rendering: pixelated; border: 1px solid var(--line); display: block; }
"""
