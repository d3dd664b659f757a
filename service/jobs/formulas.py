"""The formulas of a sample job that draws latents: image i is formula i mod n of its n, with later samples.

The index of every sample in it is larger by `index_step` * (i div n).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mintage.formulas import FormulaError, parse, text_of
from mintage.latents import MAX_INDEX, part_count, samples_of, shifted
from mintage.v1.latents_pb2 import Latent

from service.jobs.plan import Plan, PlanError, Sampling
from service.models.asking.calls import CALL_PARTS
from service.models.asking.drawing import DrawnLatents


def drawn_latents(plan: Plan, indices: range) -> DrawnLatents | None:
    """Return what a job's images of some indices are; None if they are samples of its seed.

    Raises:
        PlanError: if the plan's formulas are none.
    """
    sampling = plan.sampling
    if sampling is None or not sampling.latents:
        return None
    latents = [_latent(sampling, index) for index in indices]
    return DrawnLatents(latents, sampling.directions, sampling.class_index)


def formula(sampling: Sampling, index: int) -> str:
    """Return the formula of one image of a job that draws latents."""
    return text_of(_latent(sampling, index))


def label(sampling: Sampling, index: int) -> int | None:
    """Return the class of one image as its place in `sampling.classes`; None if the generator takes no class.

    It is index mod K for samples of a seed; for formulas the given class, or else that of the first sample in each.
    """
    if not sampling.classes:
        return None
    if sampling.class_index is not None:
        return sampling.class_index
    first = index
    if sampling.latents:
        samples = samples_of(_latent(sampling, index))
        first = samples[0].index if samples else 0
    return first % len(sampling.classes)


def facts(sampling: Sampling, index: int) -> dict[str, int | str]:
    """Return what the files of every format say of one image: index, seed or formula, and class if it has one."""
    shown = label(sampling, index)
    known: dict[str, int | str] = {"index": index}
    known |= {"latent": formula(sampling, index)} if sampling.latents else {"seed": sampling.seed}
    return known if shown is None else known | {"label": shown}


def json_facts(sampling: Sampling, index: int) -> dict[str, int | str]:
    """Return the same for JSON: a seed above 2^63 - 1 is text, because readers round it, or fail."""
    known = facts(sampling, index)
    return known if sampling.seed < 1 << 63 or "seed" not in known else known | {"seed": str(sampling.seed)}


def last_index(latents: Sequence[Latent], count: int, index_step: int) -> int:
    """Return the largest index of a sample among `count` images; -1 if there are no samples."""
    rounds, rest = divmod(count - 1, len(latents))
    found = (
        sample.index + index_step * (rounds if number <= rest else rounds - 1)
        for number, latent in enumerate(latents[:count])
        for sample in samples_of(latent)
    )
    return max(found, default=-1)


def most_images(plan: Plan) -> int:
    """Return how many images one request of a job may ask for, by the parts of its formulas."""
    if plan.sampling is None or not plan.sampling.latents:
        return MAX_INDEX
    return max(1, CALL_PARTS // max(map(part_count, _parsed(plan.sampling.latents))))


def _latent(sampling: Sampling, index: int) -> Latent:
    latents = _parsed(sampling.latents)
    rounds, number = divmod(index, len(latents))
    return shifted(latents[number], sampling.index_step * rounds)


def parsed(sampling: Sampling) -> tuple[Latent, ...]:
    """Return the formulas of a job; none if it makes samples.

    Raises:
        PlanError: if one is none.
    """
    return _parsed(sampling.latents)


@functools.lru_cache(maxsize=4)
def _parsed(texts: tuple[str, ...]) -> tuple[Latent, ...]:
    """Read formulas: those of the jobs that a process is working on."""
    try:
        found = [parse(text) for text in texts]
    except FormulaError as error:
        raise PlanError(f"sampling.latents: {error}") from None
    if any(len(frames) != 1 for frames in found):
        raise PlanError("sampling.latents: a formula of a plan has no ranges")
    return tuple(latent for [latent] in found)
