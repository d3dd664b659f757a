"""The demo's page is one file that tells the story, and links the report of the scores."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from service.cli.stack.demo_report import Report


def written(root: Path) -> str:
    """The page of a demo with one picture, one fact, one link and one headline."""
    report = Report(root / "a demo", Console(file=io.StringIO()))
    picture = root / "made.png"
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(picture)
    report.title(1, "Generate <now>")
    report.picture("Samples & more", picture)
    report.title(2, "Score")
    report.fact("classifier score", "8.80 ± 0.13")
    report.link("its own report", report.folder / "state" / "jobs 1" / "report.html")
    report.headline("Same bits", "in both")
    return report.write(commands="./mint demo\n./mint up").read_text()


def test_the_page_holds_its_pictures_and_says_in_words_what_they_show(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert re.findall(r'src="([^"]{10})', text) == ["data:image"]
    assert text.count('alt="Samples &amp; more" title="made.png"') == text.count("<img") == 1
    assert not re.search(r"https?:|<script|<link", text)


def test_the_score_report_is_linked_where_it_lies(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert '<a href="state/jobs%201/report.html">report.html</a>' in text


def test_the_first_screen_tells_the_story_and_the_last_how_to_make_it_again(tmp_path: Path) -> None:
    text = written(tmp_path)
    places = [text.index(part) for part in ("<h1>", "Same bits", "<img", "<h2>1. ", "<h2>2. ", "./mint demo")]
    assert places == sorted(places)
    assert "Generate &lt;now&gt;" in text and '<html lang="en">' in text and "prefers-color-scheme: dark" in text
