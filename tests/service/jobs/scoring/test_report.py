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
from service.jobs.scoring.report import digits, plots
from service.jobs.scoring.report.summary import SHOWN, Extremes
from service.jobs.storage.local_store import LocalStore
from service.pages import STYLE
from tests.support.plans import sample_plan, sampling
from tests.support.scored import CONCEPTS, against, finished, made_source, plan_of, rows_of, write_shards
from tests.support.shards import make_shards, pictures

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
    return [int(number) for number in re.findall(r"<figcaption>#(\d+)", gallery)]


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
    score, deviation = ending.result["mean"], ending.result["standard_deviation"]
    assert digits.with_deviation(score, deviation) in text
    compared = ending.result["comparison"]
    noise = compared["reference_against_itself"]["frechet_distance"]
    assert f">{digits.rounded(compared['frechet_distance'], noise)}</td>" in text
    for digest in (plan.model_digest, plan.digest, source[1], ending.root_digest):
        assert digest in text
    assert text.count("<svg") == 3 and "neither FID nor KID" in text and "prefers-color-scheme: dark" in text


def test_the_pictures_are_those_of_the_source(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    _, text = reported(tmp_path, plan_of(source, TWO))
    shown = re.findall(r'src="data:image/png;base64,([^"]+)".*?<figcaption>#(\d+),', text)
    assert len(shown) == 2 * SHOWN
    for data, index in shown:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert (pixels == pictures(range(int(index), int(index) + 1), source[0])[0, :, :, 0]).all()


def test_a_page_names_only_files_of_its_job_and_is_well_formed(tmp_path: Path) -> None:
    _, text = reported(tmp_path, plan_of(made_source(tmp_path), TWO))
    found = Checked(text).names
    named = [value for name, value in found if name in ("src", "href", "xlink:href", "action", "srcset")]
    files = [value for value in named if not value.startswith(("#", "data:image/png;base64,"))]
    assert files == ["score.json", "images.parquet", "plan.json", "manifest.json", "SHA256SUMS"]
    assert all((tmp_path / f"jobs/{TWO}" / file).is_file() for file in files)
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


def with_reference(root: Path) -> tuple[Ending, str, Plan]:
    """A report of a job with a reference."""
    source = made_source(root)
    reference = plan_of(source, ONE)
    plan = plan_of(source, TWO, **against(reference, finished(root, reference, seed=1)))
    return *reported(root, plan), plan


def test_beside_each_distance_stands_that_of_real_images_against_real_ones(tmp_path: Path) -> None:
    ending, text, _ = with_reference(tmp_path)
    assert ending.result is not None
    itself = ending.result["comparison"]["reference_against_itself"]
    cells = dict(
        re.findall(r'<td>([A-Z][^<]*)</td><td[^>]*>[^<]*</td><td[^>]*data-label="Reference itself">([^<]+)', text)
    )
    assert cells["Frechet distance"] == digits.rounded(itself["frechet_distance"], itself["frechet_distance"], 2)
    assert cells["Coverage"] == digits.share(itself["coverage"], 20)
    assert {"Classifier score", "Mean p(generated)", "Kernel distance", "Precision", "Recall", "Density"} < set(cells)
    assert "20 and 20 images" in text and "real against real" in text


def test_the_distribution_of_the_reference_stands_behind_ours(tmp_path: Path) -> None:
    ending, text, _ = with_reference(tmp_path)
    assert text.count("the reference</text>") == 3
    _, alone = reported(tmp_path / "alone", plan_of(made_source(tmp_path / "alone"), TWO))
    assert "the reference</text>" not in alone
    assert ending.result is not None
    assert sum(ending.result["distributions"]["generated"]["counts"]) == 40


def test_a_reference_that_says_nothing_any_more_leaves_a_report_without_it(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    reference = plan_of(source, ONE)
    plan = plan_of(source, TWO, **against(reference, finished(tmp_path, reference, seed=1)))
    (tmp_path / reference.prefix / "score.json").write_text("{")
    ending, text = reported(tmp_path, plan)
    assert ending.state == "SUCCEEDED" and text.count("<svg") == 3 and "the reference</text>" not in text


def test_one_bar_that_hides_the_rest_makes_the_axis_logarithmic() -> None:
    even, steep = (
        plots.Spread([5, 6, 7, 8], [0, 0.25, 0.5, 0.75, 1]),
        plots.Spread([1, 2, 1, 900], [0, 0.25, 0.5, 0.75, 1]),
    )
    assert "logarithmic" not in plots.shares("p", even)
    drawn = plots.shares("p", steep)
    assert "logarithmic" in drawn and "mathdefault" not in drawn
    assert "logarithmic" in plots.shares("p", even, steep)


def test_every_picture_and_plot_says_in_words_what_it_shows(tmp_path: Path) -> None:
    _, text, _ = with_reference(tmp_path)
    alts = re.findall(r'<img [^>]*alt="([^"]+)" title="([^"]+)"', text)
    assert len(alts) == text.count("<img") == 2 * SHOWN and len(set(alts)) > SHOWN
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert len(labels) == text.count("<svg") and all("of 40 images" in label for label in labels)
    assert '<html lang="en">' in text and 'name="viewport"' in text and "<title>Scores of jobs/" in text


def test_captions_say_which_image_how_it_was_drawn_and_what_the_classifier_says(tmp_path: Path) -> None:
    made = sample_plan(
        count=40, shard_size=7, sampling=dataclasses.replace(sampling(seed=2016), classes=("even", "odd"))
    )
    make_shards(tmp_path, made, range(made.shards))
    LocalStore(tmp_path).output(made.prefix).put("plan.json", made.to_json())
    source = made, finalize(LocalStore(tmp_path), made, cancelled=False, errors={}).root_digest
    plan = plan_of(source, TWO)
    _, text = reported(tmp_path, plan)
    rows = rows_of(plan, 2)
    for index in numbers_under(text, "Most surely generated"):
        drawn = ("even", "odd")[index % 2]
        best = ("even", "odd")[int(rows["probabilities"][index].argmax())]
        seen = "" if best == drawn else f"seen as {best}, {rows['probabilities'][index].max():.2f}, "
        caption = f"#{index}, drawn as {drawn}, {seen}p(generated) {rows['generated'][index]:.2f}"
        assert f'alt="{caption}"' in text and f"<figcaption>{caption}</figcaption>" in text
    assert "made by models/digits, seed 2016, from sample 0 on" in text


def test_galleries_are_whole_rows_at_every_width_and_no_number_of_a_table_is_broken() -> None:
    columns = [int(number) for number in re.findall(r"\.gallery \{[^}]*repeat\((\d+), 1fr\)", STYLE)]
    assert len(columns) == 2  # wide and narrow
    assert all(SHOWN % number == 0 for number in columns)
    assert "td.number { white-space: nowrap; }" in STYLE


def test_the_command_that_makes_it_again_is_told(tmp_path: Path) -> None:
    _, text, plan = with_reference(tmp_path)
    assert plan.scoring is not None
    command = f"mintage jobs score digits {plan.scoring.source_job} --reference {ONE} --splits 2"
    assert f"<pre>{command}</pre>" in text


def test_concepts_are_shown_with_their_thresholds_and_ends(tmp_path: Path) -> None:
    plan = plan_of(made_source(tmp_path), TWO, classes=(), concepts=CONCEPTS)
    _, text = reported(tmp_path, plan)
    dog = rows_of(plan, 2)["activations"][:, 1]
    assert numbers_under(text, "Most dog") == np.argsort(dog, kind="stable")[:SHOWN].tolist()  # its sign is -1
    assert numbers_under(text, "Least dog") == np.argsort(-dog, kind="stable")[:SHOWN].tolist()
    assert text.count(">threshold<") == 2 and text.count("<svg") == 2


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
