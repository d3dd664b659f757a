"""CPU threads of a run: `auto` becomes a number when the run starts, and the run keeps it.

The last bits of a run depend on the number of threads, so it is recorded in config.json, and a run that is resumed with
`auto` goes on with what it has. Convolutions gain from every core (a step of dcgan64 takes 0.71 s with two threads and
1.30 s with one, on two cores with AVX-512); products as small as those of fully connected networks do not.
"""

from __future__ import annotations

import os
from typing import TypeVar

from training.recipes import Recipe

R = TypeVar("R", bound=Recipe)

MOST = 16  # threads that `auto` takes; more were never measured


def resolved(recipe: R, begun: Recipe | None = None) -> R:
    """Return a recipe with a number of threads: its own, else that of the run `begun` with it, else as many as help."""
    if recipe.threads != "auto":
        return recipe
    if begun is not None:
        return recipe.overridden({"threads": begun.threads})
    return recipe.overridden({"threads": min(MOST, _cores_of_one_process()) if recipe.gains_from_threads else 1})


def usable_cores() -> int:
    """Return the number of cores that this process may use; all there are where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cores_of_one_process() -> int:
    """Return the number of cores for this process; several processes of one training share them."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
