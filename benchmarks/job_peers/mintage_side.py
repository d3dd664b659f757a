"""Mintage in each row: the stack of `mintage up` with a tiny generator, a unit being a shard; counted in the files."""

from __future__ import annotations

import contextlib
import json
import signal
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import redis
from mintage.client import Client
from mintage.v1 import jobs_pb2

from benchmarks.job_peers.history import Done, count
from benchmarks.job_peers.rows import (
    DRAIN_S,
    LIMIT_S,
    LONG_S,
    OBSERVED_S,
    POISON_S,
    WORKERS,
    Cell,
    after,
    wait_until,
)
from benchmarks.job_peers.rules import DELIVERIES, RECOVERY_S
from benchmarks.jobs_loop import tiny_run
from service.processes.stack import Stack

MODEL = "tiny"
SIZE = 64  # images of a shard, one micro-batch
LARGE = 40_000  # images of a shard of many requests: a rate holds a worker back between two of them
JOBS = 1000
BACKLOG = 3_000_000  # images of the long queue
Job = jobs_pb2.Job


@dataclass(frozen=True, slots=True)
class Mintage:
    """The stack that runs, a client, and the folder of its crash points."""

    stack: Stack
    client: Client
    crashes: Path

    def job(self, units: int, seconds: float, size: int = SIZE) -> Job:
        """Create a job of shards of some size that take so long each while all workers work."""
        rate = size / seconds * min(units, WORKERS)
        return self.client.create_sample_job(MODEL, units * size, shard_size=size, max_images_per_second=rate)

    def now(self, job: Job) -> Job | None:
        """The job as it is; None while nobody answers."""
        try:
            return self.client.job(job.name)
        except grpc.RpcError:
            return None

    def attempts(self, job: Job) -> int:
        """Attempts so far; -1 while nobody answers."""
        now = self.now(job)
        return now.progress.attempts if now else -1

    def ends(self, job: Job, limit_s: float = LIMIT_S) -> bool:
        """Wait until a job has ended."""
        return wait_until(lambda: (now := self.now(job)) is not None and now.HasField("end_time"), limit_s)

    def signal(self, number: signal.Signals) -> float:
        """Send a signal to all workers and what they started; its time."""
        for worker in range(1, WORKERS + 1):
            self.stack.process(f"worker-{worker}").signal_group(number)
        return time.time()

    def remove(self, *jobs: Job) -> None:
        """Delete jobs, whatever they do."""
        for job in jobs:
            self.client.delete(job.name, force=True)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Mintage]:
    """Start the stack and load the generator."""
    from handlers.archive import pack  # noqa: PLC0415 - imports torch

    archives, crashes = folder / "archives", folder / "crashes"
    pack(tiny_run(folder / "run"), "generator", archives / f"{MODEL}.mar")
    crashes.mkdir()
    overrides = {
        "MINTAGE_ARCHIVE_DIR": str(archives),
        "MINTAGE_LEASE_S": str(RECOVERY_S),
        "MINTAGE_MAX_ATTEMPTS": str(DELIVERIES),
        "MINTAGE_CRASHES": str(crashes),
    }
    with Stack(folder / "state", workers=WORKERS, overrides=overrides) as stack:
        stack.start()
        with Client(stack.api_address) as client:
            client.load_model(MODEL, f"{MODEL}.mar", workers=1)
            system = Mintage(stack, client, crashes)
            warm = system.job(8, 0.2)
            system.ends(warm)
            yield system


def done(job: Job, units: int, size: int = SIZE) -> Done:
    """Count the shards of a job of which every image is in its files, by how often."""
    indices: Counter[int] = Counter()
    for tar in Path(job.output_uri).glob("data/*.tar"):
        with tarfile.open(tar) as file:
            members = [file.extractfile(member) for member in file if member.name.endswith(".json")]
            indices.update(json.load(member)["index"] for member in members if member)
    times = {unit: min(indices[unit * size + k] for k in range(size)) for unit in range(units)}
    return count([unit for unit, often in times.items() for _ in range(often)], range(units))


def killed_worker(system: Mintage, _: int) -> Cell:
    """Six shards of 4 s; the worker that has one of them is killed after a second."""
    job = system.job(6, 4.0, LARGE)
    held: list[jobs_pb2.Shard] = []

    def leased() -> bool:
        held[:] = system.client.shards(job.name, [jobs_pb2.Shard.STATE_LEASED])
        return len(held) >= WORKERS

    wait_until(leased)
    time.sleep(1.0)
    wait_until(leased)
    lost = held[0]
    system.stack.process(lost.worker.partition("/")[0].partition("#")[0]).signal_group(signal.SIGKILL)
    killed = time.time()
    again = wait_until(lambda: list(system.client.shards(job.name))[lost.index].attempt > lost.attempt)
    taken = time.time() - killed if again else None
    system.ends(job)
    return Cell(after(taken, "the lost unit starts again"), done(job, 6, LARGE), taken)


def killed_idle(system: Mintage, _: int) -> Cell:
    """Both workers are stopped while they wait; a job of eight shards comes; both are killed."""
    time.sleep(3.0)
    system.signal(signal.SIGSTOP)
    job = system.job(8, 0.5)
    time.sleep(1.0)
    killed = system.signal(signal.SIGKILL)
    ended = system.ends(job)
    taken = time.time() - killed if ended else None
    return Cell(after(taken, "all are done"), done(job, 8), taken)


def killed_broker(system: Mintage, _: int) -> Cell:
    """Twenty shards of 0.5 s; Valkey is killed after four."""
    job = system.job(20, 0.5)
    wait_until(lambda: (now := system.now(job)) is not None and now.progress.shards_done >= 4)
    time.sleep(1.2)
    before = system.attempts(job)
    killed = time.time()
    system.stack.process("valkey").signal_group(signal.SIGKILL)
    again = wait_until(lambda: system.attempts(job) > before)
    taken = time.time() - killed if again else None
    system.ends(job)
    word = f"{after(taken, 'a unit starts again')}, {time.time() - killed:.0f} s until the end of the job"
    return Cell(word, done(job, 20), taken)


def long_unit(system: Mintage, _: int) -> Cell:
    """One shard that takes longer than a lease."""
    job = system.job(1, LONG_S, LARGE)
    begin = time.time()
    system.ends(job)
    taken = time.time() - begin
    time.sleep(max(OBSERVED_S - taken, 0.0))
    attempts = system.attempts(job)
    return Cell(
        f"took {taken:.0f} s, started {_times(attempts)} in {OBSERVED_S:g} s",
        done(job, 1, LARGE),
        figures={"starts": attempts},
    )


def poison(system: Mintage, _: int) -> Cell:
    """Each attempt at the first of five shards kills its process."""
    for attempt in range(1, 100):
        (system.crashes / f"after_claim@0.{attempt}").touch()
    job = system.job(5, 0.2)
    begin = time.time()
    ended = system.ends(job, 2 * POISON_S)
    taken = time.time() - begin
    now, attempts = system.client.job(job.name), 99 - len(list(system.crashes.iterdir()))
    for file in system.crashes.iterdir():
        file.unlink()
    every = done(job, 5)
    good = Done(every.never - 1, every.once, every.more)
    state = Job.State.Name(now.state).removeprefix("STATE_").lower()
    word = f"{attempts} runs, then the job is `{state}` after {taken:.0f} s and names the shard"
    word = word if ended else f"{attempts} runs, and it goes on"
    return Cell(word, good, figures={"runs": attempts}, counted="good units:")


def queued(system: Mintage, units: int) -> Cell:
    """One job of many shards of one image, and then a thousand jobs of one image."""
    with redis.Redis.from_url(system.stack.settings.redis_url.get_secret_value()) as valkey:
        before, begin = _memory(valkey), time.perf_counter()
        job = system.client.create_sample_job(MODEL, units, shard_size=1)
        accepted, held = time.perf_counter() - begin, _memory(valkey) - before
        wait_until(lambda: system.client.job(job.name).progress.shards_done > 10)
        first, since = system.client.job(job.name).progress.shards_done, time.perf_counter()
        time.sleep(DRAIN_S)
        rate = (system.client.job(job.name).progress.shards_done - first) / (time.perf_counter() - since)
        held = max(held, _memory(valkey) - before)
    system.remove(job)
    begin = time.perf_counter()
    jobs = [system.client.create_sample_job(MODEL, 1) for _ in range(JOBS)]
    created = time.perf_counter() - begin
    wait_until(lambda: all(system.client.job(one.name).HasField("end_time") for one in reversed(jobs)), LIMIT_S, 0.5)
    ended = time.perf_counter() - begin
    word = (
        f"one job of {units:,} shards of one image accepted in {accepted:.1f} s, broker + {held:.2g} MiB, {rate:,.0f} "
        f"done a second, each a file on disk; {JOBS:,} jobs of one image accepted in {created:.0f} s, "
        f"done after {ended:.0f} s"
    )
    figures = {"units": units, "broker_mib": held, "units_per_second": rate, "jobs_accepted_s": created}
    return Cell(word, seconds=accepted, figures=figures)


def _times(often: int) -> str:
    return "once" if often == 1 else f"{often} times"


def _memory(valkey: redis.Redis) -> float:
    return int(valkey.info("memory")["used_memory"]) / 2**20


def cancel(system: Mintage, _: int) -> Cell:
    """A shard of 60 s is cancelled after 2 s."""
    job = system.job(1, 60.0, LARGE)
    wait_until(lambda: system.client.job(job.name).progress.shards_running > 0)
    time.sleep(2.0)
    before = system.client.job(job.name).progress
    if before.shards_running != 1:
        raise RuntimeError("the shard to cancel does not run")
    begin = time.time()
    system.client.cancel(job.name)
    ended = system.ends(job)
    taken = time.time() - begin if ended else None
    following = system.job(WORKERS, 60.0, LARGE)
    wait_until(lambda: system.client.job(following.name).progress.shards_running == WORKERS)
    idle = time.time() - begin
    system.remove(following)
    return Cell(
        f"`cancelled` after {taken or LIMIT_S:.1f} s, its worker in the next job after {idle:.1f} s; no process killed",
        seconds=idle,
    )


def unheard(system: Mintage, _: int) -> Cell:
    """Both workers are killed; a job is created and cancelled before they are back."""
    before = {f"worker-{worker}": system.stack.process(f"worker-{worker}").restarts for worker in range(1, WORKERS + 1)}
    system.signal(signal.SIGKILL)
    job = system.job(2, 0.5)
    system.client.cancel(job.name)
    wait_until(lambda: all(system.stack.process(name).restarts > often for name, often in before.items()))
    system.ends(system.job(2, 0.5))  # they work again
    images = system.client.job(job.name).progress.images_done
    return Cell("does not run" if images == 0 else f"makes {images} images", figures={"runs": images})


def progress(system: Mintage, _: int) -> Cell:
    """Watch a job of ten shards of 1 s, two at a time."""
    job = system.job(10, 1.0)
    seen, left = set(), 0
    for now in system.client.watch(job.name):
        seen.add(now.progress.images_done)
        left += now.progress.HasField("eta")
    word = f"{len(seen)} values pushed over the whole job, {'with' if left else 'without'} the time left"
    return Cell(word, figures={"values": len(seen), "with_eta": left})


def fair(system: Mintage, _: int) -> Cell:
    """One client has a job of millions of images; another brings one image."""
    with (
        Client(system.stack.api_address, name="first") as first,
        Client(system.stack.api_address, name="second") as other,
    ):
        backlog = first.create_sample_job(MODEL, BACKLOG)
        wait_until(lambda: first.job(backlog.name).progress.shards_done >= 4)
        begin = time.time()
        job = other.create_sample_job(MODEL, 1)
        system.ends(job)
        taken = time.time() - begin
        left = first.job(backlog.name)
        part = left.progress.images_done / BACKLOG
    system.remove(backlog)
    word = f"served after {taken:.1f} s, with {part:.0%} of the other's {BACKLOG:,} images done"
    return Cell(word, seconds=taken)


TRIED: Mapping[str, Callable[[Mintage, int], Cell]] = {
    "worker": killed_worker,
    "idle": killed_idle,
    "broker": killed_broker,
    "long": long_unit,
    "poison": poison,
    "queued": queued,
    "cancel": cancel,
    "unheard": unheard,
    "progress": progress,
    "fair": fair,
}
