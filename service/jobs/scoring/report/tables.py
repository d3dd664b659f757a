"""The tables of a report: scores beside those of the reference itself, and every digest."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from service.jobs.plan import Plan
from service.jobs.scoring.report.digits import rounded, share, with_deviation
from service.jobs.scoring.report.origin import Origin
from service.pages import table

Result = dict[str, Any]  # what `score.json` holds
Row = tuple[str, str, str, str]  # a score's name, its value, that of the reference itself, and what is better

SHARES = {
    "precision": "higher, at most 1",
    "recall": "higher, at most 1",
    "density": "higher, about 1",
    "coverage": "higher, at most 1",
}


def score_rows(result: Result, reference: Result | None) -> list[Row]:
    """Return every score with as many digits as its spread allows, and what the reference itself has.

    Args:
        result: of the job.
        reference: the result of the job over the reference; None if there is none, or it is gone.
    """
    compared = result.get("comparison")
    return [
        *_classifier_rows(result, reference or {}),
        *_concept_rows(result, reference or {}),
        *(_comparison_rows(compared) if compared else ()),
    ]


def scores(plan: Plan, result: Result, reference: Result | None) -> str:
    """Show every score, what the reference itself has, which way is better, and what it may be compared with."""
    compared = result.get("comparison") or {}
    shown = (0, 1, 2, 3) if compared else (0, 1, 3)
    head = [("Score", "Value", "Reference itself", "Better, and over what")[at] for at in shown]
    cells = [[escape(row[at]) for at in shown] for row in score_rows(result, reference)]
    numbers = range(1, len(shown) - 1)
    notes = [f"<p>Left out: {escape(note)}</p>" for note in compared.get("notes", ())]
    return "\n".join([table(cells, head=head, numbers=numbers), *notes, _itself(compared), _comparable(plan, compared)])


def facts(plan: Plan, result: Result, root: str, origin: Origin) -> str:
    """Show what was scored with which model, and every digest."""
    compared = result.get("comparison") or {}
    unreadable = ", ".join(result.get("unreadable_images", ()))
    made, colours = origin.made, "grey" if plan.channels == 1 else "colour"
    rows = [
        ("Images", f"{result['images']:,}"),
        ("Left out, unreadable", f"{result['unreadable']:,}: {unreadable}" if "unreadable" in result else ""),
        ("Source", origin.name),
        ("Passed over", _passed_over(plan)),
        ("Made by", origin.maker),
        ("Archive that made them", made.model_digest if made else ""),
        ("Root digest of the source", result.get("source_root_digest", "")),
        ("Digest of the listing", result.get("source_listing", "")),
        ("Digest of all files' digests", result.get("source_digest", "")),
        ("Size", f"{plan.width} x {plan.height}, {colours}; resized: {result.get('resize', 'none')}"),
        ("Scored by", f"models/{plan.model}, sha256 {plan.model_digest}"),
        ("Computed on", f"{plan.device_class}, torch {plan.torch_version}, numerics {plan.numerics}"),
        ("By Mintage", plan.mintage_version),
        ("Reference", f"jobs/{compared['reference_job']}" if compared else ""),
        ("Root digest of the reference", compared.get("reference_root_digest", "")),
        ("Root digest of these scores", root),
        ("Digest of the plan", plan.digest),
    ]
    return table([(escape(name), escape(value)) for name, value in rows if value])


def _passed_over(plan: Plan) -> str:
    """Write what lay in the folder and was not scored."""
    assert plan.scoring is not None  # noqa: S101 - only score jobs have a report
    return "; ".join(
        f"{each.count:,} {each.reason} ({', '.join(each.first)}{', ...' if each.count > len(each.first) else ''})"
        for each in plan.scoring.source_passed_over
    )


def _classifier_rows(result: Result, reference: Result) -> Iterator[Row]:
    if "mean" not in result:
        return
    of, theirs = "higher, at most {}; over {} splits", ""
    if "mean" in reference:
        theirs = with_deviation(reference["mean"], reference["standard_deviation"])
    value = with_deviation(result["mean"], result["standard_deviation"])
    yield "Classifier score", value, theirs, of.format(len(result["classes"]), result["splits"])
    generated, real = result["mean_generated_probability"], reference.get("mean_generated_probability")
    if generated is not None:
        theirs = "" if real is None else share(real, reference["images"])
        yield "Mean p(generated)", share(generated, result["images"]), theirs, "the classifier's own view"


def _concept_rows(result: Result, reference: Result) -> Iterator[Row]:
    known = {each["concept"]: each for each in reference.get("concepts", ())}
    for found in result.get("concepts", ()):
        theirs = known.get(found["concept"])
        there = "" if theirs is None else _detected(theirs["detected"], reference["images"])
        text = f"images that show it; mean activation {found['mean_activation']:.4g}"
        yield f"Concept {found['concept']}", _detected(found["detected"], result["images"]), there, text


def _detected(images: int, of: int) -> str:
    return f"{images:,} ({images / of:.1%})"


def _comparison_rows(found: Result) -> Iterator[Row]:
    """Yield what was compared with the reference, and the reference's halves with each other."""
    itself = found.get("reference_against_itself") or {}
    real, made = found["compared_images"]
    frechet, noise = found["frechet_distance"], itself.get("frechet_distance") or 0.0
    if frechet is not None:
        over = f"lower, near 0; over {found['images']:,} and {found['reference_images']:,} images"
        yield "Frechet distance", rounded(frechet, noise), rounded(noise, noise, 2) if noise else "", over
    some = f"over {made:,} and {real:,} images"
    if found["kernel_distance"] is not None:
        subsets, size = found["kernel_subsets"]
        over = f"lower, around 0; {subsets} subsets of {size:,}, {some}"
        yield "Kernel distance", _kernel(found), _kernel(itself), over
    for name, way in SHARES.items():
        if found[name] is not None:
            theirs = itself.get(name)
            there = "" if theirs is None else share(theirs, min(itself["compared_images"]))
            over = f"{way}; k = {found['neighbours']}, {some}"
            yield name.capitalize(), share(found[name], min(real, made)), there, over


def _kernel(found: Result) -> str:
    value = found.get("kernel_distance")
    return "" if value is None else with_deviation(value, found["kernel_distance_deviation"])


def _itself(compared: Result) -> str:
    """Say what the column of the reference itself is."""
    found = compared.get("reference_against_itself")
    if not compared:
        return ""
    text = "Reference itself: the scores of its own images"
    if found:
        one, other = found["compared_images"]
        text += (
            f"; distances, precision and the like are of its one half from its other, {one:,} and {other:,} images, "
            "drawn by a fixed seed. Where the reference holds real images, that is real against real, and perfect "
            "images would have about these values. Fewer images make a Frechet distance larger"
        )
    notes = "".join(f" Left out: {note}." for note in (found or {}).get("notes", ()))
    return f"<p class=note>{escape(text)}.{escape(notes)}</p>"


def _comparable(plan: Plan, compared: Result) -> str:
    model = f"models/{plan.model} {plan.model_digest[:12]}"
    text = f"Comparable only with scores by the same model ({model}) of as many images."
    if compared:
        text += (
            f" The distances are over {compared['features']:,} features of that model: they are neither FID nor KID, "
            "which are those of one ImageNet network."
        )
    return f"<p class=note>{escape(text)}</p>"
