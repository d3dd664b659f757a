"""The ledger against a small model of it, in every order that Hypothesis can think of."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from service.errors import FailedPrecondition
from service.jobs.ledger.connection import connect
from service.jobs.ledger.control import Control
from service.jobs.ledger.errors import LeaseEnded
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import Lease
from service.jobs.messages.app import QUEUE_KEY
from service.settings import Settings
from tests.service.jobs.ledger.ledger_model import MAX_ATTEMPTS, PLAN, SHARDS, Model
from tests.support.valkey import Valkey

HOUR_S = 3600.0
ACTS = [
    *[*["claim"] * 6, *["renew"] * 4, *["commit"] * 4, *["fail"] * 2, *["dispatch"] * 2, *["resume"] * 2],
    *["hand back", "expire", "cancel", *["finish"] * 2, "pause", "retry", "delete", "reap"],
]


class LedgerMachine(RuleBasedStateMachine):
    """Does the same to both; whatever they show must be equal."""

    valkey: Valkey

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        blocking = self.valkey.client()
        blocking.flushall()
        blocking.close()
        self.client = connect(Settings.model_validate({"redis_url": self.valkey.url}))
        self.ledger = Ledger(self.client)
        self.model = Model()
        self.owners = 0
        self.hinted: set[int] = set()

    def do(self, call: Any) -> Any:
        """Wait for a coroutine."""
        return self.loop.run(call)

    def teardown(self) -> None:
        """Look whether anything was forgotten, and hang up."""
        if self.model.created:
            self.teardown_checks()
        self.do(self.client.aclose())
        self.loop.close()

    @initialize(most_failed=st.sampled_from([None, 0, 1]))
    def create(self, most_failed: int | None) -> None:
        """Begin with one job."""
        assert self.do(self.ledger.create(dataclasses.replace(PLAN, max_failed_shards=most_failed)))
        self.model.created, self.model.most_failed = True, most_failed
        self.do(self.ledger.heartbeat("w", 2))

    def lease(self, k: int, back: int) -> Lease:
        """The present lease of a shard, or one of an attempt before."""
        return Lease(PLAN.job, k, max(self.model.shards[k].attempt - back, 0))

    def holds(self, lease: Lease) -> bool:
        """Whether the model says that a lease is the present one."""
        shard = self.model.shards[lease.shard]
        return shard.state == "LEASED" and shard.attempt == lease.attempt

    def claim(self, k: int) -> None:
        """A worker tries a shard."""
        self.owners += 1
        answer = self.do(self.ledger.claim(PLAN.job, k, owner=str(self.owners), worker="w", lease_s=HOUR_S))
        shard = self.model.shards[k]
        if self.model.state not in ("QUEUED", "RUNNING"):
            assert answer == "stopped"
        elif shard.state == "READY":
            shard.state, shard.attempt, shard.progress = "LEASED", shard.attempt + 1, 0
            assert answer == Lease(PLAN.job, k, shard.attempt)
            self.model.state = "RUNNING"
        else:
            assert answer == shard.state.lower()
        self.hinted.discard(k)

    def renew(self, k: int, back: int, done: int) -> None:
        """A worker, perhaps a zombie, tells its progress."""
        lease = self.lease(k, back)
        done = min(done, len(PLAN.span(k)))
        told = {"RUNNING": None, "PAUSED": "paused"}.get(self.model.state, "cancelled")
        expected = told if self.holds(lease) else "fenced"
        try:
            self.do(self.ledger.renew(lease, lease_s=HOUR_S, done=done))
            assert expected is None
            self.model.shards[k].progress = max(self.model.shards[k].progress, done)
        except LeaseEnded as ended:
            assert ended.why == expected
        self.model.settle()

    def commit(self, k: int, back: int, digest: str) -> None:
        """A worker, perhaps a zombie, says that its shard is on disk."""
        shard, lease = self.model.shards[k], self.lease(k, back)
        agrees = shard.state == "DONE" and shard.digest == digest
        counts = (
            self.model.state in ("RUNNING", "PAUSED", "CANCELLING")
            and shard.state in ("LEASED", "READY")
            and shard.attempt == lease.attempt
        ) or (self.model.state == "FINALIZING" and self.holds(lease))
        with contextlib.suppress(LeaseEnded):
            self.do(self.ledger.commit(lease, digest=digest, images=len(PLAN.span(k)), size_bytes=100))
            assert agrees or counts
            shard.state, shard.digest = "DONE", shard.digest or digest
        assert (shard.state == "DONE" and shard.digest == digest) == (agrees or counts)
        self.model.settle()

    def fail(self, k: int, back: int) -> None:
        """A worker, perhaps a zombie, says that it failed."""
        lease = self.lease(k, back)
        if self.holds(lease):
            self.model.fail(k)
        self.do(self.ledger.fail(lease, "BAD: so", max_attempts=MAX_ATTEMPTS, pause_s=0))
        self.model.settle()

    def hand_back(self, k: int, back: int) -> None:
        """A worker, perhaps a zombie, gives its shard back."""
        lease = self.lease(k, back)
        if self.holds(lease):
            self.model.shards[k].state = "READY"
        self.do(self.ledger.hand_back(lease))

    def expire(self, k: int) -> None:
        """A lease runs out: its time is moved into the past, so that nobody waits."""
        member = f"{PLAN.job} {k}"
        self.do(self.client.zadd("mintage:leases", {member: 1}, xx=True))
        ended = self.do(self.ledger.expire(max_attempts=MAX_ATTEMPTS, pause_s=0))
        assert ended == ([self.lease(k, 0)] if self.model.shards[k].state == "LEASED" else [])
        if ended:
            self.model.fail(k)
        self.model.settle()

    def cancel(self) -> None:
        """Somebody has changed their mind."""
        self.do(self.ledger.cancel(PLAN.job))
        if self.model.state in ("QUEUED", "RUNNING", "PAUSED"):
            self.model.state = "CANCELLING"

    def ask(self, name: str, possible: bool) -> None:
        """Somebody steers the job; refused if that is not possible now."""
        with contextlib.nullcontext() if possible else pytest.raises(FailedPrecondition):
            self.do(getattr(Control(self.ledger), name)(PLAN.job))

    def pause(self) -> None:
        """Somebody needs the machines for something else. Hints on their way are forgotten."""
        possible = self.model.state in ("QUEUED", "RUNNING", "PAUSED")
        self.ask("pause", possible)
        if possible:
            self.model.state = "PAUSED"
            self.hinted.clear()

    def resume(self) -> None:
        """Somebody wants it to go on."""
        self.ask("resume", self.model.state in ("QUEUED", "RUNNING", "PAUSED"))
        if self.model.state == "PAUSED":
            self.model.state = self.model.waiting

    def delete(self) -> None:
        """Somebody begins to delete the job; from then on nothing else is possible."""
        assert ("ok" in self.do(self.ledger.run("delete", PLAN.job, 1000))) == self.model.gone
        if self.model.gone:
            self.model.state = "DELETING"

    def reap(self) -> None:
        """The time of a job that has ended has come: it is moved into the past, so that nobody waits."""
        self.do(self.client.zadd("mintage:expiring", {PLAN.job: 1}, xx=True))
        due = self.do(self.ledger.run("reap", 10, 1000))["jobs"]
        assert list(due) == ([PLAN.job] if self.model.gone else [])
        if self.model.gone:
            self.model.state = "DELETING"

    def retry(self) -> None:
        """Somebody wants what failed to be tried again."""
        model = self.model
        ended = model.state in ("FAILED", "PARTIALLY_SUCCEEDED") and model.count("FAILED") > 0
        again = model.round > 0 and model.state in ("QUEUED", "RUNNING", "FINALIZING")
        self.ask("retry", ended or again)
        if ended:
            model.state, model.round = model.waiting, model.round + 1
            for shard in model.shards:
                if shard.state in ("FAILED", "READY"):
                    shard.state, shard.failures = "READY", 0
            self.hinted.clear()

    def dispatch(self) -> None:
        """The dispatcher sends hints, of ready shards only, never more than its slots allow."""
        found = self.do(self.ledger.dispatch(QUEUE_KEY, per_slot=1, lost_after_s=60, dead_after_s=HOUR_S))
        shards = {k for _, k in found.hints}
        assert len(shards) == len(found.hints) <= 2
        assert not shards & self.hinted
        assert all(self.model.shards[k].state == "READY" for k in shards)
        assert not shards or self.model.state in ("QUEUED", "RUNNING")
        self.hinted |= shards

    def finish(self) -> None:
        """The dispatcher signs the job off."""
        model = self.model
        after = "PARTIALLY_SUCCEEDED" if model.count("FAILED") else "SUCCEEDED"
        after = "FAILED" if model.count("DONE") + model.count("FAILED") < PLAN.shards else after
        after = "CANCELLED" if model.state == "CANCELLING" else after
        before: Any = model.state
        assert not self.do(self.ledger.finish(PLAN.job, before, after, retry_round=model.round + 1))  # type: ignore[arg-type]
        finished = self.do(self.ledger.finish(PLAN.job, before, after, retry_round=model.round))  # type: ignore[arg-type]
        assert finished == (self.model.count("LEASED") == 0)
        assert self.do(self.ledger.ending()) == []
        if finished:
            model.state = after

    @rule(
        act=st.sampled_from(ACTS),
        k=st.sampled_from(SHARDS),
        back=st.sampled_from([0, 0, 0, 1]),
        done=st.integers(0, 4),
        digest=st.sampled_from(["a" * 64, "a" * 64, "b" * 64]),
    )
    def step(self, act: str, k: int, back: int, done: int, digest: str) -> None:
        """One thing happens. A single rule, since Hypothesis leaves whole rules out of many of its runs."""
        match act:
            case "claim":
                self.claim(k)
            case "renew":
                self.renew(k, back, done)
            case "commit":
                self.commit(k, back, digest)
            case "fail":
                self.fail(k, back)
            case "hand back":
                self.hand_back(k, back)
            case "expire":
                self.expire(k)
            case "cancel":
                self.cancel()
            case "pause" | "resume" | "retry" | "delete" | "reap":
                getattr(self, act)()
            case "dispatch":
                self.dispatch()
            case "finish" if self.model.state in ("FINALIZING", "CANCELLING"):
                self.finish()

    def teardown_checks(self) -> None:
        """No ready shard is forgotten: once resumed, each that has no hint gets one."""
        if self.model.state == "PAUSED":
            self.resume()
        if self.model.state in ("QUEUED", "RUNNING"):
            self.do(self.ledger.heartbeat("w", 100))
            found = self.do(self.ledger.dispatch(QUEUE_KEY, per_slot=1, lost_after_s=60, dead_after_s=HOUR_S))
            ready = {k for k in SHARDS if self.model.shards[k].state == "READY"}
            assert {k for _, k in found.hints} | self.hinted >= ready

    def accounts_are_right(self) -> None:
        """The job counts for its client, and pins its model, until it has ended; its bytes count for ever."""
        open_jobs = 0 if self.model.gone else 1
        expected = {"jobs": open_jobs, "images": open_jobs * PLAN.count, "bytes": 100 * self.model.count("DONE")}
        account = self.do(self.client.hgetall("mintage:client:lab"))
        assert {name: int(account.get(name.encode(), 0)) for name in expected} == expected
        pins = self.do(self.client.hgetall("mintage:pins"))
        assert pins == ({PLAN.backend_name.encode(): b"1"} if open_jobs else {})

    @invariant()
    def both_show_the_same(self) -> None:
        """The whole of it."""
        view = self.do(self.ledger.job(PLAN.job))
        model = self.model
        assert (view.state, view.round) == (model.state, model.round)
        assert view.images_done == model.high <= PLAN.count
        assert view.shards_running == model.count("LEASED")
        assert view.shards_done == model.count("DONE")
        assert view.shards_failed == model.count("FAILED")
        assert view.attempts == sum(shard.attempt for shard in model.shards)
        assert (self.do(self.client.zscore("mintage:expiring", PLAN.job)) is not None) == model.gone
        assert view.bytes_committed == 100 * model.count("DONE")
        self.accounts_are_right()
        shown = self.do(self.ledger.shards(PLAN.job, first=0, limit=10))
        assert [(s.state, s.attempt, s.digest) for s in shown] == [(s.state, s.attempt, s.digest) for s in model.shards]


def test_the_ledger_is_as_its_model(valkey: Valkey) -> None:
    machine = type("Machine", (LedgerMachine,), {"valkey": valkey})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.parametrize("state", ["SUCCEEDED", "CANCELLED"])
def test_a_terminal_state_is_final(valkey: Valkey, state: Any) -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": valkey.url}))
        ledger = Ledger(client)
        await ledger.restore(PLAN, {"state": state, "done": 0})
        await ledger.cancel(PLAN.job)
        assert await ledger.claim(PLAN.job, 0, owner="o", worker="w", lease_s=1) == "stopped"
        for before in ("FINALIZING", "CANCELLING", "RUNNING"):
            assert not await ledger.finish(PLAN.job, before, "FAILED")
        with pytest.raises(LeaseEnded):
            await ledger.commit(Lease(PLAN.job, 0, 0), digest="a" * 64, images=4, size_bytes=100)
        assert (await ledger.job(PLAN.job)).state == state
        await client.aclose()

    asyncio.run(act())
