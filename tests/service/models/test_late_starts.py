"""Handlers that hang: the server gives up before its callers do, says why, and leaves nothing half-loaded."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from mintage.limits import LOADING_S, STARTING_S

from service.backend.torchserve_management import MANAGEMENT_TIMEOUT_S
from service.errors import FailedPrecondition, Internal, MintageError, Unavailable
from service.models.loader import BACK_S, Loader
from tests.support.loading import Bench
from tests.support.model_server import FakeModelServer
from tests.support.world import run

SOON_S = 0.05


@pytest.fixture
def impatient(bench: Bench) -> Loader:
    """A loader that gives up soon."""
    return Loader(bench.models, bench.registry, response_timeout_s=1, starting_s=SOON_S)


def test_callers_wait_longer_than_the_server_needs_to_give_up() -> None:
    assert STARTING_S + 2 * MANAGEMENT_TIMEOUT_S <= LOADING_S and STARTING_S + BACK_S <= LOADING_S


@pytest.mark.parametrize("place", ["registers", "proofs"], ids=["at its start", "at its first request"])
def test_a_handler_that_hangs_is_refused_and_nothing_of_it_stays(bench: Bench, impatient: Loader, place: str) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        getattr(bench.models, place).clear()
        text = r"a\.mar cannot be served: its handler did not .* within 0\.05 s"
        with pytest.raises(FailedPrecondition, match=text) as caught:
            await impatient.load("digits", "a.mar", 1)
        assert caught.value.reason == "ARCHIVE_UNFIT"
        assert not bench.models.models and not bench.models.registering and not bench.registry.names()
        assert not list(bench.archives.glob("?" * 64 + ".mar"))
        change = impatient.changes.last("digits")
        assert change is not None and (change.stage, change.error_reason) == ("failed", "ARCHIVE_UNFIT")
        assert (change.error_code, change.error_message) == (
            grpc.StatusCode.FAILED_PRECONDITION.value[0],
            caught.value.message,
        )

    run(test())


def test_a_handler_that_hangs_leaves_the_model_that_it_should_replace(bench: Bench, impatient: Loader) -> None:
    bench.archive("a.mar", "generator 1")
    bench.archive("b.mar", "generator 2")

    async def test() -> None:
        old = await impatient.load("digits", "a.mar", 1)
        bench.models.registers.clear()
        with pytest.raises(FailedPrecondition):
            await impatient.load("digits", "b.mar", 1)
        assert bench.registry.ready("digits", "generator") == old
        assert list(bench.models.models) == [old.backend_name]

    run(test())


def test_a_model_that_was_loaded_before_may_start_later(bench: Bench, impatient: Loader) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        record = await impatient.load("digits", "a.mar", 1)
        bench.models.restart()
        bench.models.registers.clear()
        for again in (impatient.load("digits", "a.mar", 1), impatient.restore(record)):
            with pytest.raises(Unavailable, match=r"models/digits has not started within 0\.05 s") as caught:
                await again
            assert caught.value.reason == "MODEL_NOT_STARTED"
        bench.models.registers.set()
        await impatient.restore(record)
        assert bench.registry.find("digits") == record

    run(test())


def test_workers_that_hang_end_a_scaling_and_the_model_has_as_many_as_before(bench: Bench, impatient: Loader) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        record = await impatient.load("digits", "a.mar", 1)
        bench.models.proofs.clear()
        text = "not all 3 workers of models/digits .* has 1 as before"
        with pytest.raises(FailedPrecondition, match=text) as caught:
            await impatient.scale("digits", 3)
        assert caught.value.reason == "MODEL_START_FAILED"
        assert bench.models.workers == {record.backend_name: 1} and bench.registry.find("digits") == record
        change = impatient.changes.last("digits")
        assert change is not None and (change.stage, change.error_reason) == ("failed", "MODEL_START_FAILED")

    run(test())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            FailedPrecondition("no worker of model digits-0 could start", reason="MODEL_START_FAILED"),
            "not all 3 workers",
        ),
        (Internal("a forward pass is not sound"), "not sound"),
    ],
)
def test_workers_that_cannot_start_are_not_started_again_and_again(
    bench: Bench, error: MintageError, text: str
) -> None:
    class Failing(FakeModelServer):
        """Fails to start more than one worker, but goes on trying."""

        async def scale(self, backend_name: str, workers: int, *, timeout_s: float = 120.0) -> None:
            await super().scale(backend_name, workers, timeout_s=timeout_s)
            if workers > 1:
                raise error

    bench.archive("a.mar", "generator 1")
    models = Failing(bench.archives)
    loader = Loader(models, bench.registry, response_timeout_s=1)

    async def test() -> None:
        record = await loader.load("digits", "a.mar", 1)
        with pytest.raises(type(error), match=text):
            await loader.scale("digits", 3)
        assert models.workers == {record.backend_name: 1} and bench.registry.find("digits") == record

    run(test())


def test_a_load_that_waits_for_one_that_hangs_has_its_own_time(bench: Bench, impatient: Loader) -> None:
    bench.archive("a.mar", "generator 1")
    bench.archive("b.mar", "generator 2")

    async def test() -> None:
        bench.models.registers.clear()
        hanging, waiting = impatient.begin_load("digits", "a.mar", 1), impatient.begin_load("digits", "b.mar", 1)
        await asyncio.wait((hanging,))
        bench.models.registers.set()
        assert isinstance(hanging.exception(), FailedPrecondition)
        assert (await waiting).archive == "b.mar"

    run(test())
