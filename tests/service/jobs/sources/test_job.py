"""The images of a sample job are scored as they are, or resized, whatever format they were written in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from service.images.resize import converted
from service.jobs.dispatch.finalize import finalize
from service.jobs.sources.choice import open_source
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan, score_plan
from tests.support.shards import FORMATS, make_shard, output_of, pictures


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", [(8, 6, 3), (4, 3, 3), (4, 4, 1)])
def test_images_of_a_job_are_brought_to_the_size_and_colours_of_the_model(
    tmp_path: Path, form: str, shape: tuple[int, int, int]
) -> None:
    plan, store = sample_plan(format=form, height=8, width=6, channels=3), LocalStore(tmp_path)
    output = output_of(tmp_path, plan)
    output.put("plan.json", plan.to_json())
    for shard in range(plan.shards):
        make_shard(output, plan, shard)
    root_digest = finalize(store, plan, cancelled=False, errors={}).root_digest
    height, width, channels = shape
    scored = dataclasses.replace(score_plan(plan, root_digest), height=height, width=width, channels=channels)
    with open_source(store, tmp_path, scored, 1) as source:
        images = source.read(range(4, 8))
    assert images.readable.all() and images.pixels.shape == (4, *shape)
    assert (images.pixels == converted(pictures(range(4, 8), plan), *shape)).all()
    assert (images.pixels == pictures(range(4, 8), plan)).all() if shape == (8, 6, 3) else np.ptp(images.pixels) > 0
