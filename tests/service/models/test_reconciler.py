"""The reconciler: what should be loaded is loaded, whatever the model server lost."""

import asyncio
from pathlib import Path

import pytest

from service.errors import InvalidArgument
from service.models.loader import Loader
from service.models.reconciler import Reconciler, parse_wanted
from tests.support.archives import write_archive
from tests.support.formula import put
from tests.support.reconciling import Bench
from tests.support.world import run, until


def test_a_recorded_model_is_loaded_into_an_empty_model_server(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path), put(tmp_path, "digits", "generator")
        assert bench.state("digits") == "loading"
        await bench.reconcile_once()
        assert bench.state("digits") == "ready"
        assert list(bench.models.models) == [record.backend_name]

    run(test())


def test_a_few_models_are_restored_at_once_so_that_the_first_are_back_early(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path, starts=2)
        for number in range(5):
            put(tmp_path, f"digits-{number}", "generator")
        bench.models.registers.clear()
        await bench.reconciler.reconcile_once()
        await until(lambda: bench.models.registering == 2)
        for _ in range(20):  # nothing is left that could begin another one
            await asyncio.sleep(0)
        assert bench.models.registering == 2
        bench.models.registers.set()
        await bench.reconciler.join()
        assert [bench.state(f"digits-{number}") for number in range(5)] == ["ready"] * 5

    run(test())


def test_a_model_that_does_not_start_keeps_others_from_it_for_a_while_only(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path, starts=1, turn_s=0.01)
        for number in range(3):
            put(tmp_path, f"digits-{number}", "generator")
        bench.models.registers.clear()
        await bench.reconciler.reconcile_once()
        await until(lambda: bench.models.registering == 3)
        bench.models.registers.set()
        await bench.reconciler.join()

    run(test())


def test_a_model_that_the_model_server_lost_is_brought_back(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.dead = True
        await bench.reconcile_once()
        assert (bench.state("digits"), bench.reconciler.server_answers) == ("failed", False)
        assert "model server does not answer" in bench.message("digits")
        bench.models.restart()
        await bench.reconcile_once()
        assert (bench.state("digits"), bench.reconciler.server_answers) == ("ready", True)
        assert list(bench.models.models) == [record.backend_name]

    run(test())


def test_a_model_that_cannot_be_brought_back_is_told_and_harms_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        put(tmp_path, "digits", "generator")
        put(tmp_path, "judge", "classifier")
        (tmp_path / "digits.mar").unlink()
        await bench.reconcile_once()
        assert (bench.state("digits"), bench.state("judge")) == ("failed", "ready")
        assert bench.message("digits") == "the archive folder has no digits.mar"
        (tmp_path / "loaded" / "judge.json").write_text("{")
        await bench.reconcile_once()
        assert bench.state("judge") == "failed"

    run(test())


def test_attempts_that_keep_failing_grow_rare(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        put(tmp_path, "digits", "broken")
        (tmp_path / "digits.mar").unlink()
        for _ in range(20):
            await bench.reconcile_once()
        write_archive(tmp_path / "digits.mar", "broken")
        await bench.reconcile_once()
        assert "no digits.mar" in bench.message("digits")

    run(test())


def test_wanted_models_are_loaded_once_and_may_be_unloaded_afterwards(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path, wanted={"digits": "a.mar", "judge": "b.mar"})
        write_archive(tmp_path / "a.mar", "generator")
        await bench.reconcile_once()
        assert bench.state("digits") == "ready"
        assert set(bench.reconciler.missing) == {"judge"}
        put(tmp_path, "judge", "classifier")
        await bench.reconcile_once()
        assert set(bench.reconciler.missing) == set()
        await bench.loader.unload("digits")
        await bench.reconcile_once()
        assert bench.state("digits") == "absent"

    run(test())


def test_two_reconcilers_of_one_folder_do_no_harm(tmp_path: Path) -> None:
    async def test() -> None:
        first, second = Bench(tmp_path), Bench(tmp_path)
        second.models = first.models
        second.loader = Loader(first.models, second.registry, response_timeout_s=1)
        second.reconciler = Reconciler(first.models, second.registry, second.loader, canary_period_s=0.0)
        records = [put(tmp_path, f"model-{number}", "generator") for number in range(4)]
        for _ in range(3):
            first.models.restart()
            await asyncio.gather(first.reconcile_once(), second.reconcile_once())
            await asyncio.gather(first.reconcile_once(), second.reconcile_once())
            assert sorted(first.models.models) == sorted(record.backend_name for record in records)
            assert {first.state(r.name) for r in records} == {second.state(r.name) for r in records} == {"ready"}

    run(test())


def test_an_unexpected_failure_does_not_end_the_reconciler(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.failure = ZeroDivisionError("a fault of ours")
        await bench.reconcile_once()
        assert bench.state("digits") == "failed"
        bench.models.failure = None
        await bench.reconcile_once()
        assert bench.state("digits") == "ready"

    run(test())


def test_the_setting_load_models_is_read_or_refused_by_name() -> None:
    assert parse_wanted("") == {}
    assert parse_wanted("a=b.mar, c-1=d.mar,") == {"a": "b.mar", "c-1": "d.mar"}
    for wrong in ("a", "a=", "=b.mar", "A=b.mar", "a=../b.mar", "a=b.zip"):
        with pytest.raises(InvalidArgument, match="MINTAGE_LOAD_MODELS"):
            parse_wanted(wrong)
