"""Images a second and latency of Generate, side by side in one run: python benchmarks/serving.py [--seconds 5].

Four ways to the same images of the same model, one after the other on the same machine: the network called in this
process, TorchServe called directly, and the API with raw pixels and with PNG files. Every call asks for 64 images, one
micro-batch, or for as many as --images says. Closed loop: each of C clients calls again as soon as it has its answer.
Machines differ and are noisy: read the ratios. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import sys
import tempfile
import time
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import grpc
import numpy as np
from mintage.client import Client
from mintage.v1 import generation_pb2, generation_pb2_grpc
from rich.console import Console
from rich.table import Table

from service.backend import messages
from service.backend.torchserve import TorchServe
from service.models.registry import backend_name
from service.processes.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 64  # of a call: one micro-batch
CONCURRENCIES = (1, 8, 64)
Call = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One way at one concurrency."""

    way: str
    concurrency: int
    images_per_second: float
    p50_ms: float
    p99_ms: float
    calls: int
    errors: int


def main() -> None:
    """Start the stack, measure every way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds a measurement (default 5)")
    parser.add_argument("--run", type=Path, default=ROOT / "models" / "digits-generator", help="run folder to serve")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"images per call (default {IMAGES})")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mintage-benchmark-") as folder:
        rows = measure_all(Path(folder), options.run, options.seconds, options.images)
    print_json(rows, options.images) if options.json else print_table(rows, options.images)


def measure_all(folder: Path, run: Path, seconds: float, images: int) -> list[Row]:
    """Measure the four ways."""
    from handlers.archive import pack  # noqa: PLC0415 - imports torch

    packed = pack(run, "generator", folder / "archives" / "generator.mar")
    rows = [in_process(packed.path, folder, seconds, images)]
    with Stack(folder / "state", workers=1, overrides={"MINTAGE_ARCHIVE_DIR": str(folder / "archives")}) as stack:
        stack.start(lambda step: print(f"starting {step}", file=sys.stderr))
        with Client(stack.api_address) as client:
            client.load_model("generator", packed.path.name)
        rows += asyncio.run(measure_served(stack, backend_name("generator", packed.digest), seconds, images))
    return rows


async def measure_served(stack: Stack, backend: str, seconds: float, images: int) -> list[Row]:
    """Measure TorchServe and the API at every concurrency."""
    server = TorchServe.from_settings(stack.settings)
    async with grpc.aio.insecure_channel(stack.api_address) as channel:
        generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
        ways: dict[str, Call] = {
            "TorchServe": lambda i: direct(server, backend, i, images),
            "API, raw": lambda i: through_api(generate, generation_pb2.IMAGE_FORMAT_RAW, i, images),
            "API, PNG": lambda i: through_api(generate, generation_pb2.IMAGE_FORMAT_PNG, i, images),
        }
        rows = [
            await closed_loop(way, call, concurrency, seconds, images)
            for (way, call), concurrency in itertools.product(ways.items(), CONCURRENCIES)
        ]
    await server.close()
    return rows


def in_process(archive: Path, folder: Path, seconds: float, images: int) -> Row:
    """The same network and arithmetic, called in a loop by this process with all its cores."""
    import torch  # noqa: PLC0415 - the other ways do without

    from handlers.compute import device, environment, model, proofs  # noqa: PLC0415 - imports torch
    from handlers.operations import direct  # noqa: PLC0415 - imports torch
    from handlers.protocol.messages import Generate  # noqa: PLC0415 - beside it

    with zipfile.ZipFile(archive) as files:
        files.extractall(folder / "unpacked")
    environment.prepare()
    device.make_deterministic()
    served = model.load(folder / "unpacked", "generator", torch.device("cpu"))
    served = proofs.with_proven_sizes(served, "", None)
    latencies: list[float] = []
    warm_up, start = seconds / 5, time.perf_counter()
    for number in itertools.count():
        before = time.perf_counter()
        direct.generate(served, [Generate(seed=1, first_index=number * images, count=images)])
        after = time.perf_counter()
        if after - start > warm_up:
            latencies.append(after - before)
        if after - start > warm_up + seconds:
            return row("in process", 1, latencies, errors=0, seconds=seconds, images=images)
    raise AssertionError("unreachable")


async def direct(server: TorchServe, name: str, number: int, images: int) -> None:
    """One call to TorchServe."""
    request = messages.generate_request(1, number * images, images)
    await server.predict(name, request, timeout_s=30)


async def through_api(generate: Any, encoding: generation_pb2.ImageFormat.ValueType, number: int, images: int) -> None:
    """One call to the API."""
    request = generation_pb2.GenerateRequest(
        model="models/generator", seed=1, first_index=number * images, count=images, format=encoding
    )
    await generate(request, timeout=30)


async def closed_loop(way: str, call: Call, concurrency: int, seconds: float, images: int) -> Row:
    """Let `concurrency` clients call without a pause; the first fifth is warm-up and does not count."""
    numbers = itertools.count()
    latencies: list[float] = []
    errors = 0
    start = time.perf_counter()
    warm_up = seconds / 5

    async def client() -> None:
        nonlocal errors
        while (before := time.perf_counter()) - start < warm_up + seconds:
            try:
                await call(next(numbers))
            except Exception as error:
                errors += 1
                print(f"{way}: {error}", file=sys.stderr)
                await asyncio.sleep(0.1)
                continue
            after = time.perf_counter()
            if warm_up < after - start <= warm_up + seconds:
                latencies.append(after - before)

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return row(way, concurrency, latencies, errors=errors, seconds=seconds, images=images)


def row(way: str, concurrency: int, latencies: list[float], *, errors: int, seconds: float, images: int) -> Row:
    """Summarise one measurement."""
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3 if latencies else (float("nan"), float("nan"))
    rate = len(latencies) * images / seconds
    return Row(way, concurrency, rate, float(p50), float(p99), len(latencies), errors)


def print_table(rows: list[Row], images: int) -> None:
    """Print the rows with each one's share of the in-process speed."""
    table = Table(title=f"Generate, {images} images per call; {hardware()}")
    for column in ("way", "clients", "images/s", "of in process", "p50 ms", "p99 ms", "calls", "errors"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for r in rows:
        share = r.images_per_second / rows[0].images_per_second
        cells = (f"{r.images_per_second:,.0f}", f"{share:.2f}", f"{r.p50_ms:.1f}", f"{r.p99_ms:.1f}")
        table.add_row(r.way, str(r.concurrency), *cells, str(r.calls), str(r.errors))
    Console(width=110).print(table)


def print_json(rows: list[Row], images: int) -> None:
    """Print the rows as JSON."""
    print(json.dumps({"hardware": hardware(), "images_per_call": images, "rows": [asdict(r) for r in rows]}, indent=2))


def hardware() -> str:
    """Name what this ran on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
