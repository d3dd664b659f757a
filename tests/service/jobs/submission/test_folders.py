"""A job's folder never lies in another job's, however closely both are created: over the real API and a real Valkey."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from service.errors import AlreadyExists
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan
from service.jobs.submission.reservations import Quotas, Reservations
from service.settings import Settings
from tests.support.job_api import serving
from tests.support.ledgers import Use
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey

OUTER = sample_plan(job="01k0000000000001", prefix="race")
INNER = sample_plan(job="01k0000000000002", prefix="race/in")
BESIDE = sample_plan(job="01k0000000000003", prefix="race-2")


def test_of_two_creations_at_once_with_one_folder_in_the_other_one_is_refused(tmp_path: Path, valkey: Valkey) -> None:
    async def act() -> None:
        settings = Settings.model_validate({"state_dir": tmp_path, "redis_url": valkey.url})
        async with serving(settings) as api:
            for number in range(20):
                answers = await asyncio.gather(
                    api.sample(output_prefix=f"race{number}"),
                    api.sample(output_prefix=f"race{number}/in"),
                    return_exceptions=True,
                )
                assert sum(isinstance(answer, jobs_pb2.Job) for answer in answers) == 1, answers

    asyncio.run(act())


@pytest.mark.parametrize(("first", "second"), [(OUTER, INNER), (INNER, OUTER)], ids=["outer first", "inner first"])
def test_a_folder_is_taken_from_the_reservation_on(with_ledger: Use, first: Plan, second: Plan) -> None:
    async def act(ledger: Ledger) -> None:
        reservations = Reservations(ledger, Quotas())
        assert await reservations.reserve(first) == await reservations.reserve(first) == first.job
        with pytest.raises(AlreadyExists, match=f"{second.prefix} and {first.prefix}"):
            await reservations.reserve(second)
        assert await reservations.reserve(BESIDE) == BESIDE.job
        await reservations.release(first)
        assert await reservations.reserve(second) == second.job

    with_ledger(act)
