"""`report.html`: one self-contained file, written once a score job has been added up.

Nothing depends on it: if it cannot be made, the log says why and the job ends all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import structlog

from service.jobs.manifest import MANIFEST_FILE
from service.jobs.plan import PLAN_FILE, Plan, ScoredConcept
from service.jobs.scoring.report import plots
from service.jobs.scoring.report.origin import Origin, origin_of
from service.jobs.scoring.report.pictures import Picture, pictures
from service.jobs.scoring.report.summary import Summary
from service.jobs.scoring.report.tables import facts, score_rows, scores
from service.jobs.sources.listing import file_name
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store
from service.pages import page, tiles

REPORT_FILE = "report.html"
SCORE_FILE = "score.json"
TILES = 4  # scores that the first screen tells; the table has all
FILES = (SCORE_FILE, "images.parquet", PLAN_FILE, MANIFEST_FILE, "SHA256SUMS")  # beside the report

log = structlog.get_logger(__name__)


def write_report(
    store: Store, inputs: Path, plan: Plan, *, result: dict[str, Any], summary: Summary, root: str
) -> None:
    """Write the report, replacing an earlier one. Raises nothing.

    Args:
        store: where jobs write.
        inputs: the folder below which folders may be scored.
        plan: the job's plan.
        result: what `score.json` holds.
        summary: extremes and histograms of the images.
        root: the job's root digest.
    """
    try:
        origin = origin_of(store, plan)
        shown = _pictures(store, inputs, plan, _galleries(summary, plan, origin))
        reference = _reference(store, plan)
        text = _page(plan, result, summary, reference=reference, origin=origin, shown=shown, root=root)
        output = store.output(plan.prefix, existing=True)
        with output.temporary(REPORT_FILE) as temporary:
            temporary.file.write(text.encode("utf-8", "backslashreplace"))
            output.replace(temporary, REPORT_FILE)
    except Exception:
        log.exception("a report cannot be made", job=plan.job)


def _pictures(store: Store, inputs: Path, plan: Plan, galleries: Iterable[_Gallery]) -> dict[int, Picture]:
    """Return the images to show; none if the source is gone."""
    wanted = {index for gallery in galleries for _, index in gallery.ends}
    try:
        return pictures(store, inputs, plan, wanted)
    except (OutputError, OSError) as error:
        log.warning("a report has no pictures", job=plan.job, error=str(error))
        return {}


def _reference(store: Store, plan: Plan) -> dict[str, Any] | None:
    """Return what the job over the reference found; None without a reference, or if it is gone."""
    assert plan.scoring is not None  # noqa: S101 - only score jobs have reports
    if not plan.scoring.reference_job:
        return None
    try:
        found: dict[str, Any] = json.loads(store.output(plan.scoring.reference_prefix).read(SCORE_FILE) or b"null")
    except (OutputError, OSError, ValueError) as error:
        log.warning("a report has no distributions of its reference", job=plan.job, error=str(error))
        return None
    return found


@dataclass(frozen=True, slots=True)
class _Gallery:
    """Images at one end: the title, (value, index) of each, and what is told of an image."""

    title: str
    ends: list[tuple[float, int]]
    told: Callable[[float, int], list[str]]


def _galleries(summary: Summary, plan: Plan, origin: Origin) -> Iterator[_Gallery]:
    """Yield the images at both ends of everything that was asked."""
    assert plan.scoring is not None  # noqa: S101 - only score jobs have reports
    classes = plan.scoring.classes

    def judged(_: float, index: int) -> list[str]:
        seen, drawn = summary.seen[index], origin.drawn_as(index)
        words = [f"drawn as {drawn}"] if drawn else []
        if seen.generated is None or classes[seen.label] != drawn:
            words.append(f"seen as {classes[seen.label]}, {seen.probability:.2f}")
        return words if seen.generated is None else [*words, f"p(generated) {seen.generated:.2f}"]

    if summary.generated is not None:
        yield _Gallery("Most surely generated", summary.generated.ends.high, judged)
        yield _Gallery("Most surely real", summary.generated.ends.low, judged)
    elif summary.confidence is not None:
        yield _Gallery("Classified most surely", summary.confidence.ends.high, judged)
        yield _Gallery("Classified least surely", summary.confidence.ends.low, judged)
    for concept, ends in zip(plan.scoring.concepts, summary.concepts, strict=True):

        def measured(value: float, index: int, concept: ScoredConcept = concept) -> list[str]:
            drawn = origin.drawn_as(index)
            words = [f"drawn as {drawn}"] if drawn else []
            return [*words, f"{concept.name} {concept.sign * value:.4g}"]

        yield _Gallery(f"Most {concept.name}", ends.high, measured)
        yield _Gallery(f"Least {concept.name}", ends.low, measured)


def _page(
    plan: Plan,
    result: dict[str, Any],
    summary: Summary,
    *,
    reference: dict[str, Any] | None,
    origin: Origin,
    shown: dict[int, Picture],
    root: str,
) -> str:
    when = datetime.fromtimestamp(plan.create_time_ms / 1000, UTC)
    made = f", made by {origin.maker}" if origin.maker else ""
    return page(
        f"Scores of {origin.name} by {plan.model}",
        [
            f"<p>{result['images']:,} images{escape(made)}, scored by models/{escape(plan.model)} "
            f"as jobs/{plan.job}, asked for on {when:%d %B %Y, %H:%M} UTC.</p>",
            tiles(
                (value, f"{name}; reference itself {theirs}" if theirs else name)
                for name, value, theirs, _ in score_rows(result, reference)[:TILES]
            ),
            scores(plan, result, reference),
            *_plots(plan, result, reference),
            *_shown(_galleries(summary, plan, origin), shown),
            "<h2>What was scored, by what</h2>",
            facts(plan, result, root, origin),
            "<h2>Make it again</h2>",
            f"<pre>{escape(origin.command())}</pre>",
            f"<p>The other files of this job, beside this page: {_links(plan)}.</p>",
        ],
    )


def _links(plan: Plan) -> str:
    """Link the files of the job; the manifest and the sums are written last, after this page."""
    assert plan.scoring is not None  # noqa: S101 - as above
    listing = [file_name(plan.scoring.source_listing)] if plan.scoring.source_listing else []
    return ", ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in (*FILES, *listing))


def _plots(plan: Plan, result: dict[str, Any], reference: dict[str, Any] | None) -> Iterator[str]:
    """Yield every plot, with the reference's distribution behind ours where it is known."""
    assert plan.scoring is not None  # noqa: S101 - as above
    ours, theirs = result["distributions"], (reference or {}).get("distributions", {})

    def both(name: str) -> tuple[plots.Spread, plots.Spread | None]:
        behind = theirs.get(name)
        return plots.Spread(**ours[name]), plots.Spread(**behind) if behind else None

    drawn = []
    if plan.scoring.classes:
        known = reference is not None and reference.get("classes") == result["classes"]
        behind = plots.Spread(reference["class_counts"]) if known and reference else None
        drawn += [plots.class_counts(result["classes"], plots.Spread(result["class_counts"]), behind)]
        drawn += [plots.shares("probability of the most probable class", *both("probability"))]
    if "generated" in ours:
        drawn += [plots.shares("p(generated)", *both("generated"))]
    for concept in plan.scoring.concepts:
        threshold = concept.sign * concept.threshold
        drawn += [plots.activations(concept.name, *both(f"activation.{concept.name}"), threshold=threshold)]
    yield "<h2>How they spread</h2><div class=plots>"
    yield from (f"<div>{svg}</div>" for svg in drawn)
    yield "</div>"


def _shown(galleries: Iterable[_Gallery], shown: dict[int, Picture]) -> Iterator[str]:
    """Show the images at both ends."""
    if not shown:
        yield "<p>The images could not be read any more: their source is gone.</p>"
        return
    for gallery in galleries:
        yield f"<h2>{escape(gallery.title)}</h2><div class=gallery>"
        yield from (shown[index].html(index, *gallery.told(value, index)) for value, index in gallery.ends)
        yield "</div>"
