"""`report.html`: one self-contained file, written once a score job has been added up.

Nothing depends on it: if it cannot be made, the log says why and the job ends all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import structlog

from service.jobs.plan import Plan
from service.jobs.scoring.report import plots
from service.jobs.scoring.report.pictures import Picture, pictures
from service.jobs.scoring.report.summary import Extremes, Summary
from service.jobs.scoring.report.tables import facts, scores
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store
from service.pages import page

REPORT_FILE = "report.html"

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
        shown = _pictures(store, inputs, plan, summary)
        text = _page(plan, result, summary, shown, root)
        output = store.output(plan.prefix, existing=True)
        with output.temporary(REPORT_FILE) as temporary:
            temporary.file.write(text.encode("utf-8", "backslashreplace"))
            output.replace(temporary, REPORT_FILE)
    except Exception:
        log.exception("a report cannot be made", job=plan.job)


def _pictures(store: Store, inputs: Path, plan: Plan, summary: Summary) -> dict[int, Picture]:
    """Return the images to show; none if the source is gone."""
    wanted = {index for _, _, ends, _ in _galleries(plan, summary) for _, index in (*ends.low, *ends.high)}
    try:
        return pictures(store, inputs, plan, wanted)
    except (OutputError, OSError) as error:
        log.warning("a report has no pictures", job=plan.job, error=str(error))
        return {}


def _galleries(plan: Plan, summary: Summary) -> Iterator[tuple[str, str, Extremes, int]]:
    """Yield the title of the high end, that of the low end, the images at both, and the sign of their values."""
    assert plan.scoring is not None  # noqa: S101 - only score jobs have reports
    if summary.generated is not None:
        yield "Most surely generated", "Most surely real", summary.generated.ends, 1
    elif summary.confidence is not None:
        yield "Classified most surely", "Classified least surely", summary.confidence.ends, 1
    for concept, ends in zip(plan.scoring.concepts, summary.concepts, strict=True):
        yield f"Most {concept.name}", f"Least {concept.name}", ends, concept.sign


def _page(plan: Plan, result: dict[str, Any], summary: Summary, shown: dict[int, Picture], root: str) -> str:
    title = f"Scores of {result.get('source_folder') or 'jobs/' + result['source_job']}"
    when = datetime.fromtimestamp(plan.create_time_ms / 1000, UTC)
    return page(
        title,
        [
            f"<p>jobs/{plan.job}, asked for on {when:%Y-%m-%d %H:%M} UTC</p>",
            scores(plan, result),
            *_plots(plan, result, summary),
            *_shown(plan, summary, shown),
            "<h2>What was scored, by what</h2>",
            facts(plan, result, root),
        ],
    )


def _plots(plan: Plan, result: dict[str, Any], summary: Summary) -> Iterator[str]:
    """Yield every plot."""
    assert plan.scoring is not None  # noqa: S101 - as above
    drawn = []
    if summary.confidence is not None:
        drawn += [plots.class_counts(result["classes"], result["class_counts"])]
        drawn += [plots.shares("probability of the most probable class", summary.confidence.counts)]
    if summary.generated is not None:
        drawn += [plots.shares("p(generated)", summary.generated.counts)]
    for number, concept in enumerate(plan.scoring.concepts):
        threshold = concept.sign * concept.threshold
        drawn += [plots.activations(concept.name, summary.activations[:, number], threshold)]
    yield "<h2>How they spread</h2><div class=plots>"
    yield from (f"<div>{svg}</div>" for svg in drawn)
    yield "</div>"


def _shown(plan: Plan, summary: Summary, shown: dict[int, Picture]) -> Iterator[str]:
    """Show the images at both ends."""
    if not shown:
        yield "<p>The images could not be read any more: their source is gone.</p>"
        return
    for high, low, ends, sign in _galleries(plan, summary):
        for title, end in ((high, ends.high), (low, ends.low)):
            yield f"<h2>{escape(title)}</h2><div class=gallery>"
            yield from (shown[index].html(index, f"{sign * value:.4g}") for value, index in end)
            yield "</div>"
