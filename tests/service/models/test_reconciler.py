"""The reconciler: what should be loaded is loaded, and ready means that it answers."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from service.backend.liveness import WorkerHealth
from service.errors import Internal, InvalidArgument, Unavailable
from service.models.loader import Loader
from service.models.reconciler import Reconciler, parse_wanted
from service.models.registry import Registry
from tests.support.archives import write_archive
from tests.support.formula import put
from tests.support.model_server import FakeModelServer
from tests.support.world import run, until


class Bench:
    """A reconciler over a fake model server, which reconciles when told to."""

    def __init__(self, folder: Path, *, wanted: Mapping[str, str] | None = None, **options: float) -> None:
        self.models = FakeModelServer(folder)
        self.registry = Registry(folder)
        self.loader = Loader(self.models, self.registry, response_timeout_s=1)
        times: dict[str, Any] = {"canary_period_s": 0.0, **options}
        self.reconciler = Reconciler(self.models, self.registry, self.loader, wanted=wanted, **times)

    async def reconcile_once(self) -> None:
        await self.reconciler.reconcile_once()
        await self.reconciler.join()

    def state(self, name: str) -> str:
        entry = self.registry.entry(name)
        return "absent" if entry is None else entry.condition.state

    def message(self, name: str) -> str:
        entry = self.registry.entry(name)
        assert entry is not None
        return entry.condition.message


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


def test_models_go_on_while_the_model_server_hangs(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path, restart_after_s=0.0), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.hangs = True
        await bench.reconcile_once()
        assert (bench.state("digits"), bench.reconciler.server_answers) == ("ready", False)
        assert bench.message("digits") == "answers, but cannot be changed now: the model server does not answer"
        bench.models.failure = Unavailable("its worker died too")
        await bench.reconcile_once()
        assert (bench.state("digits"), bench.message("digits")) == ("failed", "the model server does not answer")
        bench.models.hangs, bench.models.failure = False, None
        await bench.reconcile_once()
        assert (bench.state("digits"), bench.message("digits")) == ("ready", "")
        assert list(bench.models.models) == [record.backend_name]

    run(test())


def test_a_model_whose_canary_fails_is_not_ready_until_one_succeeds(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.failure = Unavailable("its worker died")
        await bench.reconcile_once()
        assert (bench.state("digits"), bench.message("digits")) == ("failed", "its worker died")
        bench.models.failure = None
        await bench.reconcile_once()
        assert bench.state("digits") == "ready"

    run(test())


def test_a_canary_has_a_deadline_and_delays_no_other_model(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path, canary_timeout_s=0.05)
        put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.answers.clear()
        await asyncio.sleep(0)
        await bench.reconciler.reconcile_once()
        put(tmp_path, "judge", "classifier")
        await bench.reconciler.reconcile_once()
        await until(lambda: bench.state("judge") == "ready" and bench.state("digits") == "failed")

    run(test())


def test_a_canary_that_waits_behind_answered_requests_is_no_sign_of_death(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path, canary_timeout_s=0.02), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.answers.clear()
        await bench.reconciler.reconcile_once()
        await until(lambda: bench.models.running == 1)
        bench.registry.answered(record)
        await bench.reconciler.join()
        assert bench.state("digits") == "ready"

    run(test())


def test_a_request_that_was_just_answered_needs_no_canary(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path, canary_period_s=60.0), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.registry.answered(record)
        await bench.reconcile_once()
        assert bench.models.operations("canary") == []
        bench.registry.mark(record, "failed", "for a moment")
        await bench.reconcile_once()
        assert len(bench.models.operations("canary")) == 1
        assert bench.state("digits") == "ready"

    run(test())


def test_a_model_that_stays_silent_is_loaded_anew(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path, restart_after_s=0.0), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.failure = Internal("it is stuck")
        await bench.reconcile_once()
        assert record.backend_name not in bench.models.models
        bench.models.failure = None
        await bench.reconcile_once()
        assert bench.state("digits") == "ready"

    run(test())


def test_a_model_whose_worker_still_starts_is_not_unloaded_unless_that_takes_too_long(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path, restart_after_s=0.0), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.failure, bench.models.starting = Unavailable("no worker", reason="NO_WORKER"), True
        for _ in range(3):
            await bench.reconcile_once()
        assert record.backend_name in bench.models.models
        assert (bench.state("digits"), bench.message("digits")) == ("failed", "no worker")
        bench.models.starting = False  # the model server has given up
        await bench.reconcile_once()
        assert record.backend_name not in bench.models.models

    run(test())


def test_a_start_of_a_worker_that_never_ends_is_begun_anew(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path, restart_after_s=0.0, max_start_s=0.0), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.failure, bench.models.starting = Unavailable("no worker", reason="NO_WORKER"), True
        await bench.reconcile_once()
        assert record.backend_name not in bench.models.models

    run(test())


def test_a_restart_is_kept_until_nobody_else_works_on_the_model(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path, restart_after_s=0.0), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.failure = Internal("it is stuck")
        with bench.registry.try_lock("digits"):
            await bench.reconcile_once()
            await bench.reconcile_once()
            assert record.backend_name in bench.models.models
        await bench.reconcile_once()
        assert record.backend_name not in bench.models.models

    run(test())


def test_a_worker_that_hangs_is_ended_and_only_a_canary_makes_its_model_ready_again(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path, canary_period_s=60.0)
        put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.health = WorkerHealth(present=2, ended=1)
        await bench.reconcile_once()
        assert bench.state("digits") == "ready"  # the other worker answers
        bench.models.health = WorkerHealth(present=1, ended=1)
        await bench.reconcile_once()
        assert bench.message("digits") == "its worker hung and was ended; another one starts"
        bench.models.health = WorkerHealth(present=1)
        await bench.reconcile_once()
        assert bench.state("digits") == "ready" and len(bench.models.operations("canary")) == 1

    run(test())


def test_a_worker_that_hangs_beyond_reach_has_its_model_loaded_anew(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        bench.models.health = WorkerHealth(present=1, beyond_reach=1)
        with bench.registry.try_lock("digits"):
            await bench.reconcile_once()
        assert record.backend_name in bench.models.models
        await bench.reconcile_once()
        assert record.backend_name not in bench.models.models

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


class Doubtful(FakeModelServer):
    """Models that have withdrawn batch sizes, as their canaries say."""

    withdrawn: Sequence[int] = ()

    async def predict(self, backend_name: str, inputs: Mapping[str, bytes], *, timeout_s: float, **turn: Any) -> bytes:
        header = {"status": "ok", "message": "", **({"withdrawn": self.withdrawn} if self.withdrawn else {})}
        return save({"header": np.frombuffer(json.dumps(header).encode(), np.uint8)})


def test_a_model_that_withdrew_a_batch_size_answers_and_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        bench, record = Bench(tmp_path), put(tmp_path, "digits", "generator")
        await bench.reconcile_once()
        models = Doubtful(tmp_path)
        models.models = bench.models.models
        reconciler = Reconciler(models, bench.registry, bench.loader, canary_period_s=0.0)
        for withdrawn in ((24,), (), (8,)):
            models.withdrawn = withdrawn
            await reconciler.reconcile_once()
            await reconciler.join()
        assert bench.registry.withdrawn(record) == {8, 24}
        assert bench.state("digits") == "ready"
        assert bench.message("digits").startswith("batch sizes 8, 24 gave other bits and are used no more")

    run(test())
