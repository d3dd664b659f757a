"""Where the images of a score job came from, and the command that makes the report again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from service.jobs import formulas
from service.jobs.plan import PLAN_FILE, Plan, PlanError, read_plan
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store

SPLITS = 10  # that a job takes unless told


@dataclass(frozen=True, slots=True)
class Origin:
    """The images that were scored; `made` is the plan of the job that made them, if it is there."""

    plan: Plan
    made: Plan | None

    @property
    def name(self) -> str:
        """The source in a word or two."""
        assert self.plan.scoring is not None  # noqa: S101 - only score jobs have a source
        scoring = self.plan.scoring
        return f"folder {scoring.source_folder}" if scoring.source_folder else f"jobs/{scoring.source_job}"

    @property
    def maker(self) -> str:
        """What made the images, as far as it is known."""
        if self.made is None or self.made.sampling is None:
            return ""
        drawn = self.made.sampling
        what = "formulas of latents" if drawn.latents else f"seed {drawn.seed}, from sample 0 on"
        return f"models/{self.made.model}, {what}"

    def drawn_as(self, index: int) -> str:
        """Return the class that the generator was asked for; '' if there is none, or it is not known."""
        if self.made is None or self.made.sampling is None:
            return ""
        label = formulas.label(self.made.sampling, index)
        return "" if label is None else self.made.sampling.classes[label]

    def command(self) -> str:
        """Return the command that scores the same images again."""
        plan, scoring = self.plan, self.plan.scoring
        assert scoring is not None  # noqa: S101 - as above
        words = ["mintage", "jobs", "score", plan.model]
        words += ["--folder", scoring.source_folder] if scoring.source_folder else [scoring.source_job]
        words += ["--shard-size", str(plan.shard_size)] if scoring.source_folder else []
        words += ["--resize"] if scoring.source_shape else []
        words += ["--reference", scoring.reference_job] if scoring.reference_job else []
        words += ["--splits", str(scoring.splits)] if scoring.splits != SPLITS and scoring.classes else []
        return shlex.join(words)


def origin_of(store: Store, plan: Plan) -> Origin:
    """Find out where the images of a score job came from; a job that is gone leaves less to say."""
    assert plan.scoring is not None  # noqa: S101 - as above
    if not plan.scoring.source_job:
        return Origin(plan, None)
    try:
        found = read_plan(store.output(plan.scoring.source_prefix).read(PLAN_FILE) or b"")
    except (PlanError, OutputError, OSError):
        return Origin(plan, None)
    return Origin(plan, found if found.job == plan.scoring.source_job else None)
