"""The job engine as real processes: Valkey, dispatcher, workers; and the API's servicer in the test's own process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mintage._client.downloads import ShardReader
from mintage.client import Client
from mintage.errors import ApiError
from mintage.v1 import jobs_pb2, repair_pb2, verification_pb2

from service.api.servicers.jobs.service import JobServicer
from service.errors import NotFound, Unavailable
from service.settings import Settings
from tests.faults.outputs import files
from tests.faults.proxy import FaultyProxy
from tests.faults.servicer_caller import ServicerCaller
from tests.support.formula import put_job_models
from tests.support.model_server import FakeTorchServe
from tests.support.valkey import Valkey, environment, free_port

T = TypeVar("T")
State = jobs_pb2.Job.State
PATIENCE_S = 120.0  # of a machine that has much else to do
POINTS = ("after_claim", "mid_shard", "after_fsync", "after_publish", "after_marker", "before_commit")  # of an attempt
ROOT = Path(__file__).resolve().parent.parent.parent


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Return the first true answer of a condition; fail if it comes too late."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


class Engine:
    """One engine; every process it starts is in a session of its own and gone afterwards."""

    def __init__(self, state: Path, valkey: Valkey, models: FakeTorchServe, **variables: str) -> None:
        self.valkey = valkey
        self.models = models
        self.logs = state / "logs"
        self.logs.mkdir(parents=True)
        values = {
            "state_dir": str(state),
            "redis_url": valkey.url,
            "torchserve_inference": models.address,
            "torchserve_management": models.address,
            "sockets_dir": str(models.sockets),
            "api_address": f"127.0.0.1:{free_port()}",
            "lease_s": "2",
            "retry_pause_s": "0.1",
            "log_format": "console",
            **variables,
        }
        self.settings = Settings.model_validate(values)
        height, width, channels = models.shape
        self.registry = put_job_models(self.settings.archives, height=height, width=width, channels=channels)
        self._crashes = state / "crashes"
        self._crashes.mkdir()
        names = {f"MINTAGE_{name.upper()}": value for name, value in values.items()}
        self.environment = environment(MINTAGE_CRASHES=str(self._crashes), **names)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.latest: dict[str, subprocess.Popen[bytes]] = {}  # by role
        self._caller: ServicerCaller | None = None

    def start(self, role: str, *, module: str = "service", **variables: str) -> subprocess.Popen[bytes]:
        """Start a dispatcher, a worker or an API; `module` may be a test's own way to run it."""
        log = self.logs / f"{role}-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, "serve", role],
                env={**self.environment, "MINTAGE_WORKER_NAME": log.stem, **variables},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        self.latest[role] = process
        return process

    def start_api(self, **variables: str) -> subprocess.Popen[bytes]:
        """Start an API that knows all models, and wait until it takes jobs."""
        process = self.start("api", **variables)
        with self.client() as client:
            wait_until(lambda: serves(client), "the API")
        return process

    def client(self, **options: Any) -> Client:
        """A client of the API's process."""
        return Client(self.settings.api_address, **options)

    def start_all(self, workers: int = 1, **variables: str) -> list[subprocess.Popen[bytes]]:
        """Start a dispatcher and workers, and wait for their heartbeats; returns the workers."""
        self.start("dispatcher")
        started = [self.start("worker", **variables) for _ in range(workers)]
        self.wait_for_workers(workers)
        return started

    def through(self, proxy: FaultyProxy) -> dict[str, str]:
        """The variable that has a process find Redis behind a proxy."""
        return {"MINTAGE_REDIS_URL": self.valkey.url.replace(f":{self.valkey.port}/", f":{proxy.port}/")}

    def crash(self, point: str, *, shard: int | None = None, attempt: int = 1) -> None:
        """Have the first process die that comes to a crash point, of a shard's attempt if one is named."""
        (self._crashes / (point if shard is None else f"{point}@{shard}.{attempt}")).touch()

    def crashes(self) -> list[str]:
        """The crashes that were asked for and have not come to pass."""
        return sorted(file.name for file in self._crashes.iterdir())

    def forget_crash(self, asked: str) -> None:
        """Ask no more for one of `crashes`."""
        (self._crashes / asked).unlink(missing_ok=True)

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers have given a heartbeat."""
        with contextlib.closing(self.valkey.client()) as client:
            wait_until(lambda: client.zcard("mintage:workers") >= count, "the workers' heartbeats")

    def kill(self, process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process and all that it started, and wait for its end."""
        os.killpg(process.pid, number)
        process.wait(60)

    def stop(self) -> None:
        """Kill whatever is left."""
        if self._caller is not None:
            self._caller.close()
            self._caller = None
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def call(self, act: Callable[[JobServicer], Coroutine[Any, Any, T]]) -> T:
        """Call the servicer, which is made at the first call."""
        if self._caller is None:
            self._caller = ServicerCaller(self.settings, self.registry)
        return self._caller.call(act)

    def sample(self, count: int = 20, shard_size: int = 5, seed: int = 7, **fields: Any) -> jobs_pb2.Job:
        """Create a sample job."""
        request = jobs_pb2.CreateSampleJobRequest(
            model="models/digits", count=count, shard_size=shard_size, seed=seed, **fields
        )
        return self.call(lambda api: api.CreateSampleJob(request, None)).job

    def score(self, source: str, model: str = "models/judge", **fields: Any) -> jobs_pb2.Job:
        """Create a score job; without a source the fields name a folder."""
        request = jobs_pb2.CreateScoreJobRequest(model=model, source_job=source, **fields)
        return self.call(lambda api: api.CreateScoreJob(request, None)).job

    def job(self, name: str) -> jobs_pb2.Job:
        """Get a job."""
        return self.call(lambda api: api.GetJob(jobs_pb2.GetJobRequest(name=name), None)).job

    def seen_first(self, name: str) -> jobs_pb2.Job:
        """What a watch that begins now is told first."""

        async def read(api: JobServicer) -> jobs_pb2.Job:
            watch = api.WatchJob(jobs_pb2.WatchJobRequest(name=name), None)
            return (await anext(watch)).job

        return self.call(read)

    def knows(self, name: str) -> bool:
        """Whether the ledger has a job."""
        try:
            return bool(self.job(name).name)
        except (NotFound, Unavailable):
            return False

    def cancel(self, name: str) -> jobs_pb2.Job:
        """Cancel a job."""
        return self.call(lambda api: api.CancelJob(jobs_pb2.CancelJobRequest(name=name), None)).job

    def pause(self, name: str) -> jobs_pb2.Job:
        """Pause a job."""
        return self.call(lambda api: api.PauseJob(jobs_pb2.PauseJobRequest(name=name), None)).job

    def resume(self, name: str) -> jobs_pb2.Job:
        """Let a paused job go on."""
        return self.call(lambda api: api.ResumeJob(jobs_pb2.ResumeJobRequest(name=name), None)).job

    def retry(self, name: str) -> jobs_pb2.Job:
        """Give failed shards fresh attempts."""
        request = jobs_pb2.RetryFailedShardsRequest(name=name)
        return self.call(lambda api: api.RetryFailedShards(request, None)).job

    def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a job."""
        self.call(lambda api: api.DeleteJob(jobs_pb2.DeleteJobRequest(name=name, force=force), None))

    def read_shard(self, name: str, index: int) -> bytes:
        """Read a shard, checked against its digest."""
        request, reader = jobs_pb2.ReadShardRequest(name=name, index=index), ShardReader()

        async def read(api: JobServicer) -> bytes:
            return b"".join([reader.take(part) async for part in api.ReadShard(request, None)])

        data = self.call(read)
        reader.check()
        return data

    def verify(self, name: str, *, recompute: int = 0, seed: int = 0) -> list[verification_pb2.VerifyJobResponse]:
        """Verify a job; returns every part of the answer."""
        request = verification_pb2.VerifyJobRequest(name=name, recompute_count=recompute, recompute_seed=seed)

        async def read(api: JobServicer) -> list[verification_pb2.VerifyJobResponse]:
            return [part async for part in api.VerifyJob(request, None)]

        return self.call(read)

    def repair(self, name: str) -> list[repair_pb2.RepairJobResponse]:
        """Repair a job; returns every part of the answer."""
        request = repair_pb2.RepairJobRequest(name=name)

        async def read(api: JobServicer) -> list[repair_pb2.RepairJobResponse]:
            return [part async for part in api.RepairJob(request, None)]

        return self.call(read)

    def shards(self, name: str) -> list[jobs_pb2.Shard]:
        """List a job's shards."""
        request = jobs_pb2.ListShardsRequest(name=name, page_size=1000)
        return list(self.call(lambda api: api.ListShards(request, None)).shards)

    def wait_for(self, name: str, state: int = State.STATE_SUCCEEDED, timeout_s: float = PATIENCE_S) -> jobs_pb2.Job:
        """Wait for a job's end, which must be this one."""
        ends = range(State.STATE_SUCCEEDED, State.STATE_CANCELLED + 1)
        job: jobs_pb2.Job = wait_until(
            lambda: job if (job := self.job(name)).state in ends else None, f"the end of {name}", timeout_s
        )
        assert job.state == state, f"{State.Name(job.state)}: {job.error}\n{self.log_text()}"
        return job

    def log_text(self) -> str:
        """The end of every log."""
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in sorted(self.logs.iterdir()))


def begin_and_hold(engine: Engine, count: int = 40, shard_size: int = 20) -> jobs_pb2.Job:
    """Create a job and wait until a worker is in the middle of its first shard."""
    engine.models.pass_gate.clear()
    engine.models.open_for = 1
    job = engine.sample(count, shard_size)
    wait_until(lambda: len(engine.models.requests) >= 2, "a worker in the middle of a shard")
    return job


def undisturbed(engine: Engine, count: int = 40, shard_size: int = 20) -> dict[str, bytes]:
    """The files of the same samples, made without a fault."""
    engine.models.pass_gate.set()
    return files(engine.wait_for(engine.sample(count, shard_size).name))


def serves(client: Client) -> bool:
    """Whether an API answers, with all that is behind it."""
    with contextlib.suppress(ApiError):
        return client.health()
    return False


@contextlib.contextmanager
def running_engine(state: Path, valkey: Valkey, models: FakeTorchServe, **variables: str) -> Iterator[Engine]:
    """Have an engine for the length of a block; it has no processes until they are started."""
    engine = Engine(state, valkey, models, **variables)
    try:
        yield engine
    finally:
        engine.stop()
