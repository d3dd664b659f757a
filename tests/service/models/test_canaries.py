"""Ready means that it answers: canaries, and models whose workers are silent, hang or never start."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from service.backend.liveness import WorkerHealth
from service.errors import Internal, Unavailable
from service.models.reconciler import Reconciler
from tests.support.formula import put
from tests.support.model_server import FakeModelServer
from tests.support.reconciling import Bench
from tests.support.world import run, until


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
