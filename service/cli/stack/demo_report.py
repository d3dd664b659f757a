"""What the demo found: printed as it goes, and written as one page that holds its pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from rich.console import Console

from service.cli import interrupts
from service.pages import page, table, tiles

STEPS = 7


@dataclass(slots=True)
class _Step:
    """One step: its title, its facts, its pictures as HTML, and the files that it links."""

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    links: list[tuple[str, Path]] = field(default_factory=list)


class Report:
    """Facts and pictures of one demo.

    Args:
        folder: where the demo writes; made if missing.
        output: where lines are printed.
    """

    def __init__(self, folder: Path, output: Console) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.output = output
        self._steps: list[_Step] = []
        self._tiles: list[tuple[str, str]] = []

    def title(self, number: int, text: str) -> None:
        """Print the heading of a step."""
        self.output.print(f"\n[bold cyan]{number}/{STEPS}[/bold cyan] [bold]{text}[/bold]", soft_wrap=True)
        self._steps.append(_Step(text))

    def say(self, text: str) -> None:
        """Print a line of a step; a Ctrl-C that was held back since the last line takes effect here."""
        interrupts.check()
        self.output.print(f"    {text}", soft_wrap=True)

    def fact(self, name: str, value: str) -> None:
        """Print a fact and keep it for the page."""
        self.say(f"{name:<18} {value}")
        self._steps[-1].facts.append((name, value))

    def link(self, name: str, path: Path) -> None:
        """Print where a file is, and keep a link for the page; it works as long as the demo's folder stays whole."""
        self.say(f"{name:<18} {path}")
        self._steps[-1].links.append((name, path))

    @property
    def facts(self) -> dict[str, dict[str, str]]:
        """The facts of each step and where its files are, by its title."""
        return {step.title: dict(step.facts) | {name: str(path) for name, path in step.links} for step in self._steps}

    def headline(self, value: str, text: str) -> None:
        """Keep what the first screen of the page tells: a short value, and what it is."""
        self._tiles.append((value, text))

    def picture(self, caption: str, path: Path) -> None:
        """Print where a picture is, and keep it for the page."""
        self.say(f"{'picture':<18} {path}")
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        self._steps[-1].figures.append(
            f'<figure class=wide><img src="data:image/png;base64,{base64.b64encode(data).decode()}" width="{width}" '
            f'height="{height}" style="height:auto" alt="{escape(caption)}" title="{escape(path.name)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def write(self, *, commands: str) -> Path:
        """Write `report.html`, whole or not at all; returns its path.

        Args:
            commands: those that make all of it again, a line each.
        """
        first = [figure for step in self._steps if step.title.startswith("Generate") for figure in step.figures]
        body = [
            f"<p>Trained, served, interrupted and checked on {datetime.now().astimezone():%d %B %Y, %H:%M %Z}. "
            "Everything below was measured by this run.</p>",
            tiles(self._tiles),
            *first,
        ]
        for number, step in enumerate(self._steps, start=1):
            rows = [(escape(name), escape(value)) for name, value in step.facts]
            rows += [(escape(name), self._anchor(path)) for name, path in step.links]
            body += [f"<h2>{number}. {escape(step.title)}</h2>", table(rows) if rows else ""]
            body += [figure for figure in step.figures if figure not in first]
        body += ["<h2>Make it again</h2>", f"<pre>{escape(commands)}</pre>"]
        path = self.folder / "report.html"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(page("Mintage demo", body), encoding="utf-8")
        temporary.replace(path)
        return path

    def _anchor(self, path: Path) -> str:
        """Return a link to a file, relative where it lies in the demo's folder."""
        inside = path.is_relative_to(self.folder)
        target = path.relative_to(self.folder).as_posix() if inside else path.as_uri()
        return f'<a href="{escape(quote(target, safe="/:"))}">{escape(path.name)}</a>'
