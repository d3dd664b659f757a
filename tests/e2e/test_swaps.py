"""Models that are replaced, or lose their workers, while they are used: no call is lost, no answer wrong."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Iterator

import grpc
import numpy as np
import psutil
import pytest
from mintage.client import Client
from mintage.v1 import generation_pb2, generation_pb2_grpc, models_pb2

from handlers.archive import pack
from service.backend.workers import socket_name
from service.models.registry import Registry
from service.processes.stack import Stack
from tests.faults.engine import wait_until
from tests.support.runs import tiny_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SWAPS, CALLERS, COUNT = 5, 8, 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with two archives of one shape, which differ in their micro-batch."""
    with Stack(tmp_path_factory.mktemp("stack"), workers=0) as stack:
        stack.start()
        run = tiny_run(tmp_path_factory.mktemp("runs") / "tiny")
        for number in (0, 1):
            pack(run, "generator", stack.settings.archives / f"{number}.mar", micro_batch=16 + number)
        yield stack


def test_no_call_is_lost_while_a_model_is_replaced(stack: Stack) -> None:
    async def called() -> dict[str, list[bytes]]:
        """Call until the last swap is done; returns the answers by digest. Nothing is tried again."""
        answers: dict[str, list[bytes]] = {}
        swapped = asyncio.Event()
        async with grpc.aio.insecure_channel(stack.api_address, [("grpc.enable_retries", 0)]) as channel:
            generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
            request = generation_pb2.GenerateRequest(
                model="models/swapped", seed=7, count=COUNT, format=generation_pb2.IMAGE_FORMAT_RAW
            )

            async def call_on() -> None:
                while not swapped.is_set():
                    answer = await generate(request, timeout=60)
                    answers.setdefault(answer.model_digest, []).append(b"".join(answer.images))

            async def swap() -> None:
                for number in itertools.islice(itertools.cycle((1, 0)), SWAPS):
                    await asyncio.to_thread(load, number)
                swapped.set()

            await asyncio.gather(swap(), *(call_on() for _ in range(CALLERS)))
        return answers

    def load(number: int) -> str:
        with Client(stack.api_address) as client:
            return str(client.load_model("swapped", f"{number}.mar").digest)

    first = load(0)
    answers = asyncio.run(called())

    assert len(answers) == 2 and first in answers
    assert all(len(set(images)) == 1 for images in answers.values())
    shapes = {np.frombuffer(images[0], np.uint8).size for images in answers.values()}
    assert shapes == {COUNT * 6 * 5 * 2}
    assert min(map(len, answers.values())) >= CALLERS


def worker_of(stack: Stack, model: str) -> psutil.Process:
    """The only worker process of a model: its socket has its id in its name."""
    record = Registry(stack.settings.archives).find(model)
    [path] = stack.settings.sockets.glob(socket_name(record.backend_name, 0).removesuffix("0") + "*")
    return psutil.Process(int(path.suffix[1:]))


def is_ready(client: Client, model: str) -> bool:
    return bool(client.model(model).state == models_pb2.Model.STATE_READY)


@pytest.mark.parametrize("hit", [signal.SIGSTOP, signal.SIGKILL])
def test_a_model_is_back_soon_after_its_worker_was_frozen_or_killed(stack: Stack, hit: signal.Signals) -> None:
    with Client(stack.api_address) as client:
        client.load_model("hit", "0.mar")
        before = client.generate("hit", COUNT, seed=7)
        worker = worker_of(stack, "hit")
        begin = time.monotonic()
        worker.send_signal(hit)
        again = client.generate("hit", COUNT, seed=7)
        print(f"{hit.name}: answered after {time.monotonic() - begin:.1f} s")
        wait_until(lambda: is_ready(client, "hit"), "the model", 60)
        print(f"{hit.name}: ready after {time.monotonic() - begin:.1f} s")
        assert np.array_equal(before, again)
        assert not worker.is_running() and worker_of(stack, "hit").pid != worker.pid
        client.unload_model("hit")


def test_a_frozen_worker_is_replaced_while_somebody_scales_its_model(stack: Stack) -> None:
    with Client(stack.api_address) as client:
        client.load_model("hit", "0.mar")
        worker = worker_of(stack, "hit")
        begin = time.monotonic()
        worker.suspend()
        assert client.scale_model("hit", 1).workers == 1
        wait_until(lambda: is_ready(client, "hit"), "the model", 60)
        print(f"ready after {time.monotonic() - begin:.1f} s")
        assert not worker.is_running() and worker_of(stack, "hit").pid != worker.pid
        client.unload_model("hit")
