"""How the results of a score job are shown to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mintage.v1.jobs_pb2 import Comparison, Job

Facts = list[tuple[str, Any]]


def score_facts(job: Job) -> Facts:
    """Name and value of everything that a score job found; nothing of any other."""
    facts: Facts = [("passed over", passed_over(job))]
    if job.images_unreadable:
        facts.append(("unreadable", f"{job.images_unreadable:,} images were left out; images.parquet names them"))
    if job.HasField("classifier_score"):
        facts += _classifier_facts(job)
    images = job.progress.images_total - job.images_unreadable
    for found in job.concept_scores:
        share = found.detected / max(images, 1)
        text = f"in {found.detected:,} of {images:,} ({share:.1%}), mean activation {found.mean_activation:.4g}"
        facts.append((f"concept {found.concept}", text))
    if job.HasField("comparison"):
        facts += _comparison_facts(job.comparison)
    return facts


def passed_over(job: Job) -> str:
    """Write what of the folder is not scored, and why; empty if all of it is."""
    return "; ".join(
        f"{each.reason}: {each.count:,} ({', '.join(each.first)}{', ...' if each.count > len(each.first) else ''})"
        for each in job.score.source_passed_over
    )


def _classifier_facts(job: Job) -> Facts:
    score = job.classifier_score
    facts: Facts = [
        ("classifier score", f"{score.mean:.4f} ± {score.standard_deviation:.4f} over {score.splits} splits")
    ]
    if score.HasField("mean_generated_probability"):
        facts.append(("p(generated)", f"{score.mean_generated_probability:.4f} on average"))
    counts = zip(score.classes, score.class_counts, strict=False)
    return [*facts, ("classes", ", ".join(f"{name}: {count:,}" for name, count in counts))]


def _comparison_facts(found: Comparison) -> Facts:
    """The scores against a reference, which way is better, and why one is missing."""
    reference = found.reference_job.removeprefix("jobs/")
    of = f"{found.images:,} images with {found.reference_images:,} of {reference}, {found.features:,} features"
    facts: Facts = [("compared", f"{of} of model {found.model_digest[:12]}")]
    if found.HasField("frechet_distance"):
        facts.append(("Frechet distance", f"{found.frechet_distance:.4f} (lower, near 0)"))
    if found.HasField("kernel_distance"):
        deviation = f"{found.kernel_distance:.6f} ± {found.kernel_distance_deviation:.6f}"
        facts.append(("kernel distance", f"{deviation} (lower, around 0)"))
    better = {"precision": "higher, at most 1", "recall": "higher, at most 1"}
    better |= {"density": "higher, about 1", "coverage": "higher, at most 1"}
    for name, way in better.items():
        if found.HasField(name):  # type: ignore[arg-type]
            facts.append((name, f"{getattr(found, name):.4f} ({way})"))
    return [*facts, *(("left out", note) for note in found.notes)]
