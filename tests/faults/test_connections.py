"""The network between Redis and one of the processes, or all of them, fails and comes back; nobody is restarted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
from mintage.errors import ApiError

from tests.faults.engine import Engine, wait_until
from tests.faults.outputs import files, samples
from tests.faults.proxy import FaultyProxy, running_proxy

pytestmark = pytest.mark.e2e

FAULT_S = 2.5  # longer than the lease of these tests, which is 2 s
FAULTS: dict[str, Callable[[FaultyProxy], None]] = {
    "slow": lambda proxy: proxy.slow(0.3),
    "reset": lambda proxy: proxy.reset(),
    "cut": lambda proxy: proxy.cut_after(700),
    "half-open": lambda proxy: proxy.half_open(),
    "blackhole": lambda proxy: proxy.blackhole(),
}


@contextlib.contextmanager
def proxied(engine: Engine, roles: tuple[str, ...]) -> Iterator[FaultyProxy]:
    """Start an API, a dispatcher and a worker, those of `roles` with Redis behind a proxy."""
    with running_proxy(engine.valkey.port) as proxy:
        behind = {role: engine.through(proxy) if role in roles else {} for role in ("api", "dispatcher", "worker")}
        engine.start_api(**behind["api"])
        engine.start("dispatcher", **behind["dispatcher"])
        engine.start("worker", **behind["worker"])
        engine.wait_for_workers(1)
        yield proxy
        engine.stop()


@pytest.mark.parametrize("roles", [("worker",), ("dispatcher",), ("api",), ("api", "dispatcher", "worker")], ids=str)
def test_a_job_outlives_whatever_happens_to_a_connection_to_redis(engine: Engine, roles: tuple[str, ...]) -> None:
    with proxied(engine, roles) as proxy, engine.client() as client, engine.client(timeout_s=0.5) as impatient:
        calm = files(engine.wait_for(client.create_sample_job("digits", 40, seed=9, shard_size=8).name))
        for name, begin in FAULTS.items():
            engine.models.pass_gate.clear()
            engine.models.requests.clear()
            engine.models.open_for = 3
            job = client.create_sample_job("digits", 40, seed=9, shard_size=8)
            wait_until(lambda: engine.models.requests, "a worker at work")
            begin(proxy)
            engine.models.pass_gate.set()
            until = time.monotonic() + FAULT_S
            while time.monotonic() < until:
                with contextlib.suppress(ApiError):
                    impatient.job(job.name)
            proxy.heal()
            begin_s = time.monotonic()
            job = engine.wait_for(job.name)
            print(f"{name}: ended {time.monotonic() - begin_s:.1f} s after the healing")
            assert samples(job) == list(range(40)) and files(job) == calm
            assert client.job(job.name) == job
