"""The report shows what was found, reaches for nothing outside itself, and never stands in a job's way."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.jobs.dispatch.finalize import finalize
from service.jobs.manifest import Ending
from service.jobs.plan import Plan
from service.jobs.scoring.report import plots
from service.jobs.scoring.report.summary import SHOWN, Extremes
from service.jobs.storage.local_store import LocalStore
from tests.support.scored import CONCEPTS, against, finished, made_source, plan_of, rows_of, write_shards
from tests.support.shards import pictures

ONE, TWO = "01k0000000000001", "01k0000000000002"


def reported(root: Path, plan: Plan, seed: int = 2) -> tuple[Ending, str]:
    """Finish a job whose shards are there, and return its report."""
    write_shards(root, plan, rows_of(plan, seed), range(plan.shards))
    ending = finalize(LocalStore(root), plan, cancelled=False, errors={}, inputs=root / "inputs")
    path = root / plan.prefix / "report.html"
    return ending, path.read_text() if path.exists() else ""


class Checked(HTMLParser):
    """A page whose tags are closed in order, and what it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.names: list[tuple[str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names += [(name, value or "") for name, value in attrs]
        self.tags.add(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def numbers_under(text: str, title: str) -> list[int]:
    """The numbers of the images in the gallery of this title."""
    gallery = text.split(f"<h2>{title}</h2>")[1].split("<h2>", maxsplit=1)[0]
    return [int(number) for number in re.findall(r"<figcaption>(\d+)", gallery)]


def test_a_report_shows_scores_plots_and_the_images_at_both_ends(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    reference = plan_of(source, ONE)
    plan = plan_of(source, TWO, **against(reference, finished(tmp_path, reference, seed=1)))
    ending, text = reported(tmp_path, plan)
    assert ending.result is not None
    rows = rows_of(plan, 2)
    order = np.argsort(rows["generated"], kind="stable")
    assert numbers_under(text, "Most surely real") == order[:SHOWN].tolist()
    assert numbers_under(text, "Most surely generated") == order[::-1][:SHOWN].tolist()
    for shown in (f"{ending.result['mean']:.4f}", f"{ending.result['comparison']['frechet_distance']:.4f}"):
        assert shown in text
    for digest in (plan.model_digest, plan.digest, source[1], ending.root_digest):
        assert digest in text
    assert text.count("<svg") == 3 and "neither FID nor KID" in text and "prefers-color-scheme: dark" in text


def test_the_pictures_are_those_of_the_source(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    _, text = reported(tmp_path, plan_of(source, TWO))
    shown = re.findall(r'src="data:image/png;base64,([^"]+)".*?<figcaption>(\d+)<br>', text)
    assert len(shown) == 2 * SHOWN
    for data, index in shown:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert (pixels == pictures(range(int(index), int(index) + 1), source[0])[0, :, :, 0]).all()


def test_a_page_names_nothing_outside_itself_and_is_well_formed(tmp_path: Path) -> None:
    _, text = reported(tmp_path, plan_of(made_source(tmp_path), TWO))
    found = Checked(text).names
    named = [value for name, value in found if name in ("src", "href", "xlink:href", "action", "srcset")]
    assert named and all(value.startswith(("#", "data:image/png;base64,")) for value in named)
    without_pictures = re.sub(r"base64,[^\"]+", "", text)
    assert not re.search(r"https?:|//|<script|<link|@import|url\((?!#)|\son\w+=", without_pictures, re.IGNORECASE)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"onload="x', "$\\frac{1}$", "&amp;", "猫"])
def test_names_are_escaped_everywhere(tmp_path: Path, name: str) -> None:
    plan = plan_of(made_source(tmp_path), TWO, classes=(name, "odd"))
    ending, text = reported(tmp_path, dataclasses.replace(plan, model="judge"))
    assert ending.state == "SUCCEEDED" and text
    page = Checked(text)
    assert "script" not in page.tags and not [key for key, _ in page.names if key.startswith("on")]
    assert html.escape(name, quote=False) in text


def test_the_same_scores_give_the_same_report(tmp_path: Path) -> None:
    texts = [reported(tmp_path / name, plan_of(made_source(tmp_path / name), TWO))[1] for name in ("one", "two")]
    assert texts[0] == texts[1]


def test_concepts_are_shown_with_their_thresholds_and_ends(tmp_path: Path) -> None:
    plan = plan_of(made_source(tmp_path), TWO, classes=(), concepts=CONCEPTS)
    _, text = reported(tmp_path, plan)
    dog = rows_of(plan, 2)["activations"][:, 1]
    assert numbers_under(text, "Most dog") == np.argsort(dog, kind="stable")[:SHOWN].tolist()  # its sign is -1
    assert numbers_under(text, "Least dog") == np.argsort(-dog, kind="stable")[:SHOWN].tolist()
    assert text.count("threshold") == 2 and text.count("<svg") == 2


def test_a_source_that_is_gone_leaves_a_report_without_pictures(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    plan = plan_of(source, TWO)
    write_shards(tmp_path, plan, rows_of(plan, 2), range(plan.shards))
    LocalStore(tmp_path).output(source[0].prefix).remove_folder()
    ending = finalize(LocalStore(tmp_path), plan, cancelled=False, errors={}, inputs=tmp_path)
    text = (tmp_path / plan.prefix / "report.html").read_text()
    assert ending.state == "SUCCEEDED" and "their source is gone" in text and "<svg" in text


def test_a_report_that_cannot_be_made_does_not_fail_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(plots, "shares", broken)
    ending, text = reported(tmp_path, plan_of(made_source(tmp_path), TWO))
    assert (ending.state, text) == ("SUCCEEDED", "")
    assert not (tmp_path / f"jobs/{TWO}/.tmp").exists()


def test_the_ends_do_not_depend_on_how_the_images_come() -> None:
    values = np.random.default_rng(3).integers(0, 20, 200).astype(np.float32)
    indices = np.arange(200)
    whole, pieces = Extremes(), Extremes()
    whole.add(values, indices)
    for start in range(0, 200, 7):
        pieces.add(values[start : start + 7], indices[start : start + 7])
    assert whole == pieces
    assert whole.low == sorted(zip(values.tolist(), indices.tolist(), strict=True))[:SHOWN]
