"""What jobs cost, side by side in one run on the whole stack: python benchmarks/jobs.py [--most 1000000].

speed      a sample job of the digits, beside a loop in as many processes as there are cores that calls the same network
           in the same micro-batches and writes the same shards; they take turns, read the ratio
scale      jobs of 10^3 images and more of a tiny generator: cost an image, memory of every process and of the broker
overhead   a job of one image, from the call to its end
resume     a worker is killed with SIGKILL in the middle of a shard: time until another attempt holds it
fairness   100 clients with a job each: Jain's index of their progress when half of all images are done

Valkey, TorchServe, API, dispatcher and workers are those of `mintage up`. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psutil
import redis
from mintage.client import Client
from mintage.v1 import jobs_pb2

from benchmarks.jobs_loop import in_process, tiny_run
from benchmarks.jobs_report import Report, Scale, Speed, hardware, plot, print_report
from service.processes.stack import Stack, default_workers

ROOT = Path(__file__).resolve().parent.parent
LEASE_S = 5.0
SAMPLE_S = 1.0
CLIENTS = 100
Parts = ("speed", "scale", "overhead", "resume", "fairness")


def main() -> None:
    """Start the stack, measure each part, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, nargs="+", default=[200_000, 20_000], help="images of the jobs of the speed part"
    )
    parser.add_argument("--turns", type=int, default=3, help="turns of each way in the speed part")
    parser.add_argument("--most", type=int, default=1_000_000, help="images of the largest job of the scale part")
    parser.add_argument("--run", type=Path, default=ROOT / "models" / "digits-generator", help="run folder to serve")
    parser.add_argument("--only", choices=Parts, nargs="+", default=Parts, help="measure only these parts")
    parser.add_argument("--picture", type=Path, help="write the plot of the scale part here (PNG)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    report = Report(hardware(), os.getloadavg()[0], LEASE_S, CLIENTS)
    with tempfile.TemporaryDirectory(prefix="mintage-benchmark-") as folder:
        measure(Path(folder), options, report)
    print(json.dumps(asdict(report), indent=2)) if options.json else print_report(report)
    if options.picture and report.scale:
        plot(report, options.picture)


def measure(folder: Path, options: argparse.Namespace, report: Report) -> None:
    """Measure the parts that were asked for, each on the same stack."""
    from handlers.archive import pack  # noqa: PLC0415 - imports torch

    archives = folder / "archives"
    packed = pack(options.run, "generator", archives / "generator.mar")
    pack(tiny_run(folder / "tiny"), "generator", archives / "tiny.mar")
    overrides = {"MINTAGE_ARCHIVE_DIR": str(archives), "MINTAGE_LEASE_S": str(LEASE_S)}
    with Stack(folder / "state", workers=default_workers(), overrides=overrides) as stack:
        stack.start(lambda step: print(f"starting {step}", file=sys.stderr))
        with Client(stack.api_address) as client:
            for name in ("generator", "tiny"):
                client.load_model(name, f"{name}.mar")
            finished(client, client.create_sample_job("generator", 4000, shard_size=500))  # warm
            if "speed" in options.only:
                turns = [images for images in options.images for _ in range(options.turns)]
                report.speed = [speed(stack, client, packed.path, folder, images) for images in turns]
            if "overhead" in options.only:
                report.overhead_s = [overhead(client) for _ in range(20)]
            if "fairness" in options.only:
                report.jain = fairness(stack, client)
            if "resume" in options.only:
                report.resume_s = [resume(stack, client) for _ in range(3)]
            if "scale" in options.only:
                sizes = [10**power for power in range(3, 10) if 10**power <= options.most]
                report.scale = [scale(stack, client, size) for size in sizes]


def finished(client: Client, job: jobs_pb2.Job) -> jobs_pb2.Job:
    """Watch a job to its end, which must be a good one."""
    *_, job = client.watch(job.name)
    if job.state != jobs_pb2.Job.STATE_SUCCEEDED:
        raise RuntimeError(f"{job.name} ended as {jobs_pb2.Job.State.Name(job.state)}: {job.error}")
    return job


def seconds_of(job: jobs_pb2.Job) -> float:
    """Time from the creation of a job to its end."""
    return (job.end_time.ToNanoseconds() - job.create_time.ToNanoseconds()) / 1e9


def speed(stack: Stack, client: Client, archive: Path, folder: Path, images: int) -> Speed:
    """Make the same files by the loop, then by a job."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    loop, loop_cpu = in_process(archive, digest, folder / "loop", images)
    before = processor_seconds(stack)
    job = finished(client, client.create_sample_job("generator", images, seed=1))
    used = {role: (seconds - before.get(role, 0.0)) for role, seconds in processor_seconds(stack).items()}
    made = {shard.index: shard.digest for shard in client.shards(job.name)}
    for tar in (folder / "loop").glob("*/*.tar"):
        if hashlib.sha256(tar.read_bytes()).hexdigest() != made[int(tar.stem)]:
            raise RuntimeError(f"the loop and the job made different shards {tar.stem}")
    shutil.rmtree(folder / "loop")
    client.delete(job.name)
    cpu = {role: seconds / images * 1e6 for role, seconds in used.items()}
    turn = Speed(images, images / loop, images / seconds_of(job), loop_cpu / images * 1e6, cpu)
    print(f"{images:,} images: job {turn.job:,.0f}/s, loop {turn.loop:,.0f}/s", file=sys.stderr)
    return turn


def overhead(client: Client) -> float:
    """Seconds from the call that creates a job of one image to the message that it has ended."""
    begin = time.perf_counter()
    finished(client, client.create_sample_job("tiny", 1))
    return time.perf_counter() - begin


def resume(stack: Stack, client: Client) -> float:
    """Seconds from the SIGKILL of a worker that holds a shard until another attempt holds that shard."""
    job = client.create_sample_job("tiny", 20_000, shard_size=10_000, max_images_per_second=500)
    held = wait_for_shard(client, job.name, lambda shard: shard.state == jobs_pb2.Shard.STATE_LEASED)
    process = stack.process(held.worker.partition("/")[0].partition("#")[0])
    process.signal_group(signal.SIGKILL)
    begin = time.perf_counter()
    wait_for_shard(client, job.name, lambda shard: shard.index == held.index and shard.attempt > held.attempt)
    taken = time.perf_counter() - begin
    client.delete(job.name, force=True)
    while not process.alive():
        time.sleep(0.1)
    return taken


def wait_for_shard(client: Client, name: str, holds: Any) -> jobs_pb2.Shard:
    """The first shard of a job for which something comes to hold."""
    while True:
        for shard in client.shards(name):
            if holds(shard):
                return shard
        time.sleep(0.02)


def fairness(stack: Stack, client: Client) -> float:
    """Jain's index of the progress of equal jobs of different clients, when half of all images are done."""
    each, shard_size = 1000, 50
    with contextlib.ExitStack() as stack_of_clients:
        callers = [
            stack_of_clients.enter_context(Client(stack.api_address, name=f"client-{k}")) for k in range(CLIENTS)
        ]
        names = [caller.create_sample_job("tiny", each, shard_size=shard_size).name for caller in callers]
        while True:
            jobs = {job.name: job for job in client.jobs()}
            done = [jobs[name].progress.images_done for name in names]
            if sum(done) >= each * CLIENTS / 2:
                break
            time.sleep(0.05)
        for name in names:
            client.delete(name, force=True)
    return sum(done) ** 2 / (len(done) * sum(x * x for x in done))


def scale(stack: Stack, client: Client, images: int) -> Scale:
    """Run one job of the tiny generator and sample the memory of everything meanwhile."""
    with sampled(stack) as (memory, broker):
        job = finished(client, client.create_sample_job("tiny", images))
    client.delete(job.name)
    seconds = seconds_of(job)
    print(f"{images:,} images in {seconds:.1f} s", file=sys.stderr)
    return Scale(images, seconds, seconds / images * 1e6, max(broker), memory)


def processes(stack: Stack) -> Iterator[tuple[str, psutil.Process]]:
    """Yield every process of a stack with its role."""
    for name, process in stack.supervisor.processes.items():
        role = name.partition("-")[0]
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(process.pid)
            yield role, found
            yield from ((f"{role}'s children", child) for child in found.children(recursive=True))


def processor_seconds(stack: Stack) -> dict[str, float]:
    """What the processes of each role have used so far, of users' and the system's time."""
    used: dict[str, float] = {}
    for role, process in processes(stack):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used[role] = used.get(role, 0.0) + times.user + times.system
    return used


@contextlib.contextmanager
def sampled(stack: Stack) -> Iterator[tuple[dict[str, float], list[float]]]:
    """Sample resident memory by role, and what Valkey uses, once a second."""
    memory: dict[str, float] = {}
    broker: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        with contextlib.closing(redis.Redis.from_url(stack.settings.redis_url.get_secret_value())) as valkey:
            while True:
                broker.append(int(valkey.info("memory")["used_memory"]) / 2**20)
                for part, process in processes(stack):
                    with contextlib.suppress(psutil.Error):
                        memory[part] = max(memory.get(part, 0.0), process.memory_info().rss / 2**20)
                if stop.wait(SAMPLE_S):
                    return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield memory, broker
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
