"""Which models jobs need, as the ledger says."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from service.jobs.ledger.connection import connect
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.pins import LedgerPins
from service.jobs.plan import Plan
from service.jobs.submission.reservations import Quotas, Reservations
from service.settings import Settings
from tests.support.job_api import Api, Code, refused
from tests.support.job_api import Use as UseApi
from tests.support.ledgers import JOB, PLAN, Use, claim
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey, free_port


def test_a_model_is_needed_from_the_reservation_to_the_end_of_the_last_job(with_ledger: Use, valkey: Valkey) -> None:
    async def act(ledger: Ledger) -> None:
        client = connect(Settings.model_validate({"redis_url": valkey.url}))
        pins, needed = LedgerPins(client), frozenset({PLAN.backend_name})
        assert await pins.needed() is None  # nobody has looked what is on disk
        await ledger.note_indexed(await ledger.incarnation())
        assert await pins.needed() == frozenset()
        await Reservations(ledger, Quotas()).reserve(PLAN)
        assert await pins.needed() == needed
        await ledger.create(PLAN)
        await ledger.create(sample_plan(job="01x"))
        await ledger.cancel("01x")
        assert await ledger.finish("01x", "CANCELLING", "CANCELLED")
        lease = await claim(ledger)
        await Control(ledger).pause(JOB)
        await ledger.fail(lease, "BAD: so", max_attempts=1, pause_s=0)
        assert await pins.needed() == needed
        await Control(ledger).resume(JOB)
        assert await ledger.finish(JOB, "RUNNING", "FAILED")
        assert await pins.needed() == frozenset()
        await Control(ledger).retry(JOB)
        assert await pins.needed() == needed
        valkey_client = valkey.client()
        valkey_client.flushall()
        valkey_client.close()
        assert await pins.needed() is None
        await client.aclose()

    with_ledger(act)


def test_a_redis_that_does_not_answer_knows_nothing() -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
        assert await LedgerPins(client).needed() is None
        await client.aclose()

    asyncio.run(act())


def test_a_model_that_is_replaced_while_a_job_is_created_is_not_used(
    with_api: UseApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(api: Api) -> None:
        reserve = Reservations.reserve

        async def replaced_meanwhile(reservations: Reservations, plan: Plan) -> str:
            job = await reserve(reservations, plan)
            api.registry.write(dataclasses.replace(api.registry.find("digits"), digest="f" * 64))
            return job

        monkeypatch.setattr(Reservations, "reserve", replaced_meanwhile)
        await refused(api.sample(request_id="one"), Code.UNAVAILABLE)
        assert not api.outputs.exists()
        assert (await api.sample(request_id="one")).sample.model_digest == "f" * 64

    with_api(act)
