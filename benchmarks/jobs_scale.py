"""Jobs at their largest, on the whole stack: python benchmarks/jobs_scale.py [--images 10000000] [--queued 100000].

large      one job of very many tiny images: memory of every process and of Valkey while it runs, and how long it takes
           meanwhile to list jobs, to get one, and to see the first message of a watch
queued     very many jobs of one client wait, each of one image: how long a job of one image of another client takes,
           from the call to its end, and what the waiting ones cost Valkey

The waiting jobs are written and indexed as the API does it, but without a call each and without syncing every plan.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psutil
import redis
from mintage.client import Client
from mintage.v1 import jobs_pb2

from benchmarks.jobs import finished, processes, seconds_of
from benchmarks.jobs_loop import tiny_run
from benchmarks.jobs_report import hardware
from service.jobs.ledger.connection import connect
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import PLAN_FILE, Plan, new_job_id, read_plan
from service.processes.stack import Stack, default_workers

SAMPLE_S = 0.5
TOGETHER = 20  # jobs that are indexed at once


def main() -> None:
    """Start the stack, measure, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000_000, help="images of the large job; 0 leaves it out")
    parser.add_argument("--side", type=int, default=2, help="pixels of an image's side")
    parser.add_argument("--format", default="npz", help="format of the large job")
    parser.add_argument("--queued", type=int, default=100_000, help="jobs that wait; 0 leaves them out")
    parser.add_argument("--state", type=Path, help="folder below which everything is kept meanwhile")
    options = parser.parse_args()
    print(f"{hardware()}; load average before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="mintage-scale-", dir=options.state) as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Measure the parts that were asked for on one stack."""
    from handlers.archive import pack  # noqa: PLC0415 - imports torch

    archives = folder / "archives"
    pack(tiny_run(folder / "tiny", options.side), "generator", archives / "tiny.mar")
    overrides = {"MINTAGE_ARCHIVE_DIR": str(archives)}
    with Stack(folder / "state", workers=default_workers(), overrides=overrides) as stack:
        stack.start(lambda step: print(f"starting {step}", file=sys.stderr))
        with Client(stack.api_address) as client, Client(stack.api_address, name="new") as other:
            client.load_model("tiny", "tiny.mar", workers=1)
            finished(client, client.create_sample_job("tiny", 4000, shard_size=500))  # warm
            if options.images:
                large(stack, client, options.images, options.format)
            if options.queued:
                queued(stack, client, other, options.queued)


def large(stack: Stack, client: Client, images: int, format_: str) -> None:
    """Run one large job; sample memory and the times of calls meanwhile."""
    calls: dict[str, list[float]] = {"list": [], "get": [], "watch": []}
    memory: list[dict[str, float]] = []
    with sampled(stack, memory):
        job = client.create_sample_job("tiny", images, format=format_)
        while not has_ended(job):
            calls["list"].append(timed(lambda: next(iter(client.jobs()))))
            calls["watch"].append(timed(lambda name=job.name: next(iter(client.watch(name)))))  # type: ignore[misc]
            begin = time.perf_counter()
            job = client.job(job.name)
            calls["get"].append(time.perf_counter() - begin)
            time.sleep(SAMPLE_S)
    if job.state != jobs_pb2.Job.STATE_SUCCEEDED:
        raise RuntimeError(f"{job.name} ended as {jobs_pb2.Job.State.Name(job.state)}: {job.error}")
    seconds = seconds_of(job)
    print(f"large: {images:,} images as {format_} in {seconds:.1f} s, {seconds / images * 1e6:.1f} us each")
    for name, values in calls.items():
        print(f"  {name}: {show_times(values)}")
    for role in memory[-1]:
        found = [each[role] for each in memory if role in each]
        parts = [max(found[k * len(found) // 4 : (k + 1) * len(found) // 4] or found) for k in range(4)]
        print(f"  MiB of {role}, the most of each quarter of the time: {', '.join(f'{part:.1f}' for part in parts)}")
    client.delete(job.name)


def queued(stack: Stack, client: Client, other: Client, count: int) -> None:
    """Let jobs of one client wait, and create some of another."""
    job = finished(client, client.create_sample_job("tiny", 1))
    output = Path(stack.settings.outputs)
    template = read_plan((Path(job.output_uri) / PLAN_FILE).read_bytes())
    before, begin = used_mib(stack), time.perf_counter()
    asyncio.run(index(stack, template, output, count))
    spent, grown = time.perf_counter() - begin, used_mib(stack) - before
    print(f"queued: {count:,} jobs indexed in {spent:.1f} s; Valkey's data grew by {grown:.1f} MiB")
    print(f"  list: {show_times([timed(lambda: next(iter(client.jobs()))) for _ in range(20)])}")
    print(f"  get: {show_times([timed(lambda: client.job(job.name)) for _ in range(20)])}")
    times = [timed(lambda: finished(other, other.create_sample_job("tiny", 1))) for _ in range(20)]
    print(f"  a job of one image of another client, 20 times: {show_times(times)}")
    states = [jobs_pb2.Job.STATE_SUCCEEDED]
    print(f"  of the waiting jobs {sum(1 for _ in client.jobs(states)):,} had ended by then")


async def index(stack: Stack, template: Plan, output: Path, count: int) -> None:
    """Write and index jobs of one image that differ in nothing but their seeds and names."""
    redis_client = connect(stack.settings)
    ledger = Ledger(redis_client)

    async def one(number: int) -> None:
        name = new_job_id()
        assert template.sampling is not None
        sampling = dataclasses.replace(template.sampling, seed=number)
        plan = dataclasses.replace(template, job=name, prefix=name, request_id="", sampling=sampling)
        (output / name).mkdir()
        (output / name / PLAN_FILE).write_bytes(plan.to_json())
        await ledger.create(plan)

    try:
        for first in range(0, count, TOGETHER):
            await asyncio.gather(*(one(number) for number in range(first, min(first + TOGETHER, count))))
    finally:
        await redis_client.aclose()


@contextlib.contextmanager
def sampled(stack: Stack, memory: list[dict[str, float]]) -> Iterator[None]:
    """Note again and again what the processes of each role hold, and Valkey's data, in MiB: the most of each role."""
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_S):
            now = {"Valkey's data": used_mib(stack)}
            for role, process in processes(stack):
                with contextlib.suppress(psutil.Error):
                    now[role] = max(now.get(role, 0.0), process.memory_info().rss / 2**20)
            memory.append(now)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def used_mib(stack: Stack) -> float:
    """What Valkey's data take."""
    with contextlib.closing(redis.Redis.from_url(stack.settings.redis_url.get_secret_value())) as valkey:
        return int(valkey.info("memory")["used_memory"]) / 2**20


def has_ended(job: jobs_pb2.Job) -> bool:
    """Whether a job is in a state that is its last."""
    return jobs_pb2.Job.STATE_SUCCEEDED <= job.state <= jobs_pb2.Job.STATE_CANCELLED


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def show_times(seconds: list[float]) -> str:
    """Median and maximum, in milliseconds."""
    return json.dumps(
        {"median_ms": round(statistics.median(seconds) * 1e3, 1), "most_ms": round(max(seconds) * 1e3, 1)}
    )


if __name__ == "__main__":
    main()
