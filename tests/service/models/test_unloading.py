"""Unloading, and the sweep of what nothing needs: archives, and models that the model server holds."""

from __future__ import annotations

import pytest

from service.errors import FailedPrecondition, NotFound
from service.models.records import backend_name
from service.models.registry import Registry
from tests.support.formula import GENERATOR, put
from tests.support.loading import Bench
from tests.support.world import run


def test_only_the_archives_of_loaded_models_are_kept(bench: Bench) -> None:
    first = bench.archive("a.mar", "generator 1")

    async def test() -> None:
        await bench.loader.load("digits", "a.mar", 1)
        await bench.loader.load("others", "a.mar", 1)
        second = bench.archive("a.mar", "generator 2")
        await bench.loader.load("digits", "a.mar", 1)
        assert kept(bench) == sorted([first, second])
        await bench.loader.unload("others")
        assert kept(bench) == [second]
        bench.archive("b.mar", "broken")
        with pytest.raises(FailedPrecondition):
            await bench.loader.load("broken", "b.mar", 1)
        assert kept(bench) == [second]

    run(test())


def kept(bench: Bench) -> list[str]:
    return sorted(path.stem for path in bench.archives.glob("*.mar") if len(path.stem) == 64)


def test_unloading_forgets_the_record_and_the_model(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        await bench.loader.load("digits", "a.mar", 1)
        await bench.loader.unload("digits")
        assert (bench.models.models, bench.registry.names()) == ({}, [])
        with pytest.raises(NotFound):
            await bench.loader.unload("digits")

    run(test())


def test_a_model_can_be_unloaded_while_the_model_server_is_dead_and_is_swept_later(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        await bench.loader.load("digits", "a.mar", 1)
        bench.models.dead = True
        await bench.loader.unload("digits")
        assert bench.registry.names() == []
        bench.models.dead = False
        await bench.loader.sweep(await bench.models.list_models())
        assert bench.models.models == {}

    run(test())


def test_the_sweep_spares_what_is_recorded_what_is_being_loaded_and_what_is_not_ours(bench: Bench) -> None:
    async def test() -> None:
        recorded = put(bench.archives, "digits", "generator")
        spared = {recorded.backend_name, backend_name("loading", "c" * 64), "somebody-elses", "digits"}
        orphans = {backend_name("digits", "b" * 64), backend_name("gone", "d" * 64)}
        bench.models.models = dict.fromkeys(spared | orphans, GENERATOR)
        with Registry(bench.archives).try_lock("loading"):
            await bench.loader.sweep(await bench.models.list_models())
        assert set(bench.models.models) == spared

    run(test())
