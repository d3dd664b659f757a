"""Restoring models as they were recorded, and the number of their workers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.errors import FailedPrecondition, NotFound, Unavailable
from service.models.loader import Loader
from service.models.records import backend_name
from tests.support.formula import GENERATOR
from tests.support.loading import Bench
from tests.support.model_server import FakeModelServer
from tests.support.world import run


def test_a_model_that_the_model_server_failed_to_scale_is_loaded_again(bench: Bench) -> None:
    class Failing(FakeModelServer):
        """Loses its senses when it scales."""

        async def scale(self, backend_name: str, workers: int, *, timeout_s: float = 120.0) -> None:
            raise Unavailable("an exception that nobody caught", reason="MODEL_SERVER_FAILED")

    async def test() -> None:
        bench.models = Failing(bench.archives)
        bench.loader = Loader(bench.models, bench.registry, response_timeout_s=1)
        bench.archive("a.mar", "generator 1")
        record = await bench.loader.load("digits", "a.mar", 2)
        with pytest.raises(Unavailable):
            await bench.loader.scale("digits", 1)
        assert not bench.models.models
        await bench.loader.restore(record)
        assert bench.models.workers == {record.backend_name: 2}

    run(test())


def test_scaling_writes_the_number_that_is_restored_later(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        record = await bench.loader.load("digits", "a.mar", 1)
        scaled = await bench.loader.scale("digits", 3)
        assert scaled == replace(record, workers=3)
        bench.models.restart()
        with pytest.raises(Unavailable):
            await bench.loader.scale("digits", 4)
        await bench.loader.restore(scaled)
        assert bench.models.workers[record.backend_name] == 3
        with pytest.raises(NotFound):
            await bench.loader.scale("nobody", 1)

    run(test())


def test_a_model_is_restored_as_it_was_though_its_archive_has_been_written_over(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        record = await bench.loader.load("digits", "a.mar", 1)
        bench.models.restart()
        bench.archive("a.mar", "generator 2")
        await bench.loader.restore(record)
        assert list(bench.models.models) == [record.backend_name]

    run(test())


def test_a_model_whose_kept_archive_is_damaged_is_not_restored(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        record = await bench.loader.load("digits", "a.mar", 1)
        bench.models.restart()
        (bench.archives / f"{record.digest}.mar").write_text("generator 2")
        with pytest.raises(FailedPrecondition, match="is damaged"):
            await bench.loader.restore(record)
        assert bench.models.models == {}

    run(test())


def test_what_a_crash_left_registered_is_registered_anew(bench: Bench) -> None:
    digest = bench.archive("a.mar", "generator 1")
    backend = backend_name("digits", digest)
    bench.models.models[backend] = GENERATOR
    bench.models.workers[backend] = 9
    run(bench.loader.load("digits", "a.mar", 2))
    assert bench.models.workers[backend] == 2
