"""The tables of a report: scores with what they may be compared with, and every digest."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from service.jobs.plan import Plan


def scores(plan: Plan, result: dict[str, Any]) -> str:
    """Show every score, which way is better, and what it may be compared with."""
    rows: list[tuple[str, str, str]] = []
    if "mean" in result:
        mean = f"{result['mean']:.4f} ± {result['standard_deviation']:.4f}"
        over = f"higher, at most {len(result['classes'])}; over {result['splits']} splits"
        rows.append(("Classifier score", mean, over))
        generated = result["mean_generated_probability"]
        if generated is not None:
            rows.append(("Mean p(generated)", f"{generated:.4f}", "the classifier's own view"))
    for found in result.get("concepts", ()):
        share = f"{found['detected']:,} ({found['detected'] / result['images']:.1%})"
        text = f"images that show it; mean activation {found['mean_activation']:.4g}"
        rows.append((f"Concept {found['concept']}", share, text))
    compared = result.get("comparison")
    rows += _comparison(compared) if compared else []
    notes = [f"<p>Left out: {escape(note)}</p>" for note in (compared or {}).get("notes", ())]
    return "\n".join([_table(("Score", "Value", "Better, and over what"), rows), *notes, _comparable(plan, compared)])


def facts(plan: Plan, result: dict[str, Any], root: str) -> str:
    """Show what was scored with which model, and every digest."""
    compared = result.get("comparison") or {}
    unreadable = ", ".join(result.get("unreadable_images", ()))
    rows = [
        ("Images", f"{result['images']:,}"),
        ("Left out, unreadable", f"{result['unreadable']:,}: {unreadable}" if "unreadable" in result else ""),
        ("Source", f"jobs/{result['source_job']}" if result.get("source_job") else f"folder {result['source_folder']}"),
        ("Root digest of the source", result.get("source_root_digest", "")),
        ("Digest of the listing", result.get("source_listing", "")),
        ("Digest of all files' digests", result.get("source_digest", "")),
        ("Size", f"{plan.width} x {plan.height}, {plan.channels} channels; resized: {result.get('resize', 'none')}"),
        ("Model", f"models/{plan.model}, sha256 {plan.model_digest}"),
        ("Computed on", f"{plan.device_class}, torch {plan.torch_version}, numerics {plan.numerics}"),
        ("By Mintage", plan.mintage_version),
        ("Reference", f"jobs/{compared['reference_job']}" if compared else ""),
        ("Root digest of the reference", compared.get("reference_root_digest", "")),
        ("Root digest of these scores", root),
        ("Digest of the plan", plan.digest),
    ]
    return _table(("", ""), [row for row in rows if row[1]])


def _comparison(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Show what was compared with the reference."""
    real, made = found["compared_images"]
    all_images = f"over {found['images']:,} and {found['reference_images']:,} images"
    some = f"over {made:,} and {real:,} images"
    subsets, size = found["kernel_subsets"]
    rows = []
    if found["frechet_distance"] is not None:
        rows.append(("Frechet distance", f"{found['frechet_distance']:.4f}", f"lower, near 0; {all_images}"))
    if found["kernel_distance"] is not None:
        value = f"{found['kernel_distance']:.6f} ± {found['kernel_distance_deviation']:.6f}"
        rows.append(("Kernel distance", value, f"lower, around 0; {subsets} subsets of {size:,}, {some}"))
    near = f"k = {found['neighbours']}, {some}"
    best = {"precision": "at most 1", "recall": "at most 1", "density": "about 1", "coverage": "at most 1"}
    for name, way in best.items():
        if found[name] is not None:
            rows.append((name.capitalize(), f"{found[name]:.4f}", f"higher, {way}; {near}"))
    return rows


def _comparable(plan: Plan, compared: dict[str, Any] | None) -> str:
    model = f"models/{plan.model} {plan.model_digest[:12]}"
    text = f"Comparable only with scores by the same model ({model}) of as many images."
    if compared:
        text += (
            f" The distances are over {compared['features']:,} features of that model: they are neither FID nor KID, "
            "which are those of one ImageNet network."
        )
    return f"<p class=note>{escape(text)}</p>"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{body}</table>"
