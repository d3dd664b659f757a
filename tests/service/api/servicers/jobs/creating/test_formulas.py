"""Jobs of formulas are created over the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mintage.formulas import parse
from mintage.v1 import jobs_pb2, latents_pb2

from service.jobs.plan import read_plan
from service.models.directions.store import Direction, SavedDirections
from tests.support.job_api import Api, Code, Use, refused, wrong_fields


def test_formulas_are_kept_with_the_directions_that_they_name(with_api: Use) -> None:
    async def act(api: Api) -> None:
        record, saved = api.registry.find("digits"), SavedDirections(api.registry.archives)
        turn = Direction(name="turn", values=(0.5,) * record.latent_size)
        saved.save(record, turn, replace_existing=False)
        latents = parse("#0:20:21") + parse("#1 + 2 * turn")
        made = await api.sample(latents=latents, index_step=3, count=100)
        saved.delete(record, "turn")
        assert list(made.sample.latents) == latents[:8] and made.sample.latent_count == 22
        assert made.sample.index_step == 3 and not made.sample.HasField("class_index")
        whole = (await api.stub.GetJob(jobs_pb2.GetJobRequest(name=made.name))).job.sample
        assert list(whole.latents) == latents
        assert [(each.name, tuple(each.values)) for each in whole.directions] == [("turn", turn.values)]
        plan = read_plan((Path(made.output_uri) / "plan.json").read_bytes())
        assert plan.sampling is not None and plan.sampling.directions == {"turn": turn.values}
        assert plan.sampling.latents[-1] == "0#1 + 2 * turn"

    with_api(act)


def test_formulas_tell_two_requests_apart(with_api: Use) -> None:
    async def act(api: Api) -> None:
        fields: dict[str, Any] = {"request_id": "one", "latents": parse("#1"), "index_step": 1}
        made = await api.sample(**fields)
        assert (await api.sample(**fields)).name == made.name
        for change in ({"latents": parse("#2")}, {"index_step": 2}, {"latents": [], "index_step": 0}):
            await refused(api.sample(**{**fields, **change}), Code.ALREADY_EXISTS)

    with_api(act)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"latents": parse("#1 + turn")}, ["latents[0].sum.terms[1].latent.direction"]),
        ({"latents": [*parse("#1"), latents_pb2.Latent()]}, ["latents[1]"]),
        ({"latents": parse("#1"), "class_index": 0}, ["class_index"]),
        ({"latents": parse("#1"), "index_step": -1}, ["index_step"]),
        ({"latents": parse("#1"), "index_step": 2**32 + 1}, ["index_step"]),
        ({"latents": parse("#9223372036854775806"), "index_step": 1, "count": 3}, ["index_step"]),
        ({"latents": parse("mean(" + "#1, " * 999 + "#1)") * 60}, ["latents[32].mean.latents"]),
        ({"index_step": 1}, ["index_step"]),
        ({"class_index": 0}, ["class_index"]),
    ],
)
def test_wrong_formulas_are_named_when_a_job_is_created(
    with_api: Use, fields: dict[str, Any], wrong: list[str]
) -> None:
    async def act(api: Api) -> None:
        assert await wrong_fields(api.sample(**fields)) == wrong
        assert not api.outputs.exists()

    with_api(act)
