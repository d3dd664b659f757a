"""A real TorchServe with real archives: what it promises, what breaks it, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load, save

from handlers.archive import pack
from service.backend.protocol import messages
from service.backend.torchserve import TorchServe
from service.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    MintageError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tests.e2e.torchserve import RunningTorchServe, running_torchserve
from tests.support.runs import tiny_run

pytestmark = pytest.mark.e2e

SHAPE = (6, 5, 2)
LIMITS = {"startup_timeout_s": 60.0, "response_timeout_s": 30.0}


def pack_tiny(server: RunningTorchServe, run: Path) -> None:
    for kind in ("generator", "classifier"):
        pack(run, kind, server.settings.archives / f"{kind}.mar", micro_batch=16)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTorchServe]:
    """A TorchServe that holds the models `gen` and `cls`, a worker each."""
    with running_torchserve(tmp_path_factory.mktemp("ts")) as server:
        pack_tiny(server, run)

        async def load_both(client: TorchServe) -> None:
            for name, archive in (("gen", "generator.mar"), ("cls", "classifier.mar")):
                await client.register(archive, name, 1, **LIMITS)
                await client.wait_until_ready(name, 60)

        server.call(load_both)
        yield server


def generated(server: RunningTorchServe, seed: int, first: int, count: int) -> np.ndarray:
    request = messages.generate_request(seed, first, count)
    answer = server.call(lambda client: client.predict("gen", request, timeout_s=30))
    return messages.read_images(answer, (count, *SHAPE)).images


def worker_of(server: RunningTorchServe, model: str) -> int:
    """Return the process id of a model's only worker: the one that has unpacked its archive as working folder."""
    handler = {"gen": "generator.py", "cls": "classifier.py"}[model]
    for process in server.worker_processes():
        if (Path(process.cwd()) / handler).exists():
            return process.pid
    raise AssertionError(f"{model} has no worker")


def wait_until(holds: Callable[[], bool], timeout_s: float = 120.0) -> float:
    """Wait for a condition and return how long that took in seconds."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < timeout_s, "the condition did not come true in time"
        time.sleep(0.02)
    return time.monotonic() - start


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_a_registered_model_proves_itself(server: RunningTorchServe) -> None:
    generator = server.call(lambda client: client.wait_until_ready("gen", 30))
    classifier = server.call(lambda client: client.wait_until_ready("cls", 30))
    assert (generator.kind, generator.latent_size, generator.micro_batch) == ("generator", 5, 16)
    assert (classifier.kind, classifier.classes) == ("classifier", ("nought", "one", "two"))
    assert server.call(lambda client: client.list_models()) == ["cls", "gen"]
    status = server.call(lambda client: client.describe("gen"))
    assert status.ready and status.workers_total == 1


def test_samples_are_equal_bytes_whole_in_slices_and_twice(server: RunningTorchServe) -> None:
    whole = generated(server, 7, 0, 64)
    assert np.array_equal(generated(server, 7, 0, 64), whole)
    for first, count in [(0, 1), (15, 2), (5, 3), (31, 33), (63, 1)]:
        assert np.array_equal(generated(server, 7, first, count), whole[first : first + count])
    assert not np.array_equal(generated(server, 8, 0, 64), whole)


def test_200_samples_are_the_same_one_by_one_in_spans_and_among_16_callers(server: RunningTorchServe) -> None:
    whole = np.concatenate([generated(server, 7, first, 50) for first in range(0, 200, 50)])
    draw = np.random.default_rng(1)
    spans = [(index, 1) for index in range(200)]
    spans += [(int(first), int(draw.integers(1, 201 - first))) for first in draw.integers(0, 200, 40)]
    draw.shuffle(spans)

    async def asked(client: TorchServe) -> list[bytes]:
        turn = asyncio.Semaphore(16)

        async def one(first: int, count: int) -> bytes:
            async with turn:
                return await client.predict("gen", messages.generate_request(7, first, count), timeout_s=60)

        return list(await asyncio.gather(*(one(first, count) for first, count in spans)))

    for (first, count), answer in zip(spans, server.call(asked), strict=True):
        assert np.array_equal(messages.read_images(answer, (count, *SHAPE)).images, whole[first : first + count])


def test_batch_sizes_are_proven_before_a_model_is_ready_and_the_proof_is_kept(server: RunningTorchServe) -> None:
    description = server.call(lambda client: client.wait_until_ready("gen", 60))
    assert description.batch_sizes == () or description.micro_batch in description.batch_sizes
    kept = [json.loads(path.read_text()) for path in server.settings.state_dir.glob("torchserve/proofs/*.json")]
    assert list(description.batch_sizes) in [proof["proven"] if proof["free"] else [] for proof in kept]


def test_images_are_classified(server: RunningTorchServe) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
    request = messages.classify_request(images)
    answers = [server.call(lambda client: client.predict("cls", request, timeout_s=30)) for _ in range(2)]
    first, second = (messages.read_classifications(answer, (20, 3)) for answer in answers)
    assert np.array_equal(first.probabilities, second.probabilities)
    assert first.generated is not None and first.generated.shape == (20,)


def test_bad_requests_among_good_ones_fail_alone(server: RunningTorchServe) -> None:
    async def mixed(client: TorchServe) -> list[bytes]:
        good, bad = messages.generate_request(3, 4, 5), messages.generate_request(3, 0, 0)
        return list(await asyncio.gather(*(client.predict("gen", r, timeout_s=30) for r in [good, bad] * 8)))

    answers = server.call(mixed)
    expected = generated(server, 3, 4, 5)
    for answer in answers[::2]:
        assert np.array_equal(messages.read_images(answer, (5, *SHAPE)).images, expected)
    for answer in answers[1::2]:
        with pytest.raises(InvalidArgument, match="count must be"):
            messages.read_images(answer, (1, *SHAPE))


def test_an_answer_too_large_for_a_message_is_refused_and_kills_no_worker(server: RunningTorchServe) -> None:
    before = worker_of(server, "gen")
    count = server.settings.max_message_bytes // 60
    with pytest.raises(InvalidArgument, match="count must be at most"):
        generated(server, 1, 0, count)
    assert len(generated(server, 1, 0, (server.settings.max_message_bytes - 2**14) // 60 // 64)) > 0
    assert worker_of(server, "gen") == before


def test_what_is_not_loaded_is_named_rightly(server: RunningTorchServe) -> None:
    for call, kind in (
        (lambda client: client.predict("nobody", messages.describe_request(), timeout_s=10), Unavailable),
        (lambda client: client.describe("nobody"), NotFound),
        (lambda client: client.unregister("nobody"), NotFound),
        (lambda client: client.register("nobody.mar", "nobody", 1, **LIMITS), NotFound),
        (lambda client: client.register("../generator.mar", "nobody", 1, **LIMITS), NotFound),
        (lambda client: client.register("generator.mar", "gen", 1, **LIMITS), AlreadyExists),
    ):
        with pytest.raises(kind):
            server.call(call)


def test_broken_weights_are_refused_with_a_clear_text_and_nothing_stays(
    server: RunningTorchServe, tmp_path: Path
) -> None:
    def break_weights(blob: bytes) -> bytes:
        weights = load(blob)
        weights["output.bias"][0] = np.nan
        return save(weights)

    source, broken = server.settings.archives / "generator.mar", server.settings.archives / "broken.mar"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, break_weights(content) if name == "weights.safetensors" else content)
    with pytest.raises(FailedPrecondition, match=r"output\.bias holds a number that is not finite"):
        server.call(lambda client: client.register("broken.mar", "broken", 1, **LIMITS))
    assert "broken" not in server.call(lambda client: client.list_models())


def test_an_archive_that_cannot_start_is_a_failed_precondition_and_nothing_stays(server: RunningTorchServe) -> None:
    source, hollow = server.settings.archives / "generator.mar", server.settings.archives / "hollow.mar"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(hollow, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"raise OSError" if name == "generator.py" else old.read(name))
    with pytest.raises(FailedPrecondition) as failure:
        server.call(lambda client: client.register("hollow.mar", "hollow", 1, **LIMITS))
    assert failure.value.reason == "MODEL_START_FAILED"
    assert "hollow" not in server.call(lambda client: client.list_models())


def test_a_killed_worker_costs_the_calls_at_it_at_once_and_is_replaced(server: RunningTorchServe) -> None:
    before = generated(server, 7, 3, 20)
    worker = psutil.Process(worker_of(server, "gen"))

    async def killed_while_asked(client: TorchServe) -> list[bytes | BaseException]:
        worker.suspend()
        request = messages.generate_request(7, 3, 20)
        asked = [asyncio.ensure_future(client.predict("gen", request, timeout_s=3600)) for _ in range(2)]
        await asyncio.sleep(0.2)
        worker.kill()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await client.wait_until_ready("gen", 60)
        return answers

    assert [type(answer) for answer in server.call(killed_while_asked)] == [Unavailable] * 2
    assert np.array_equal(generated(server, 7, 3, 20), before)
    assert worker_of(server, "gen") != worker.pid


def test_calls_at_a_worker_that_is_killed_or_scaled_away_are_answered_by_another(server: RunningTorchServe) -> None:
    request = messages.classify_request(np.zeros((4, *SHAPE), np.uint8))

    async def answered(client: TorchServe) -> list[bytes]:
        await client.scale("cls", 2)
        await client.wait_until_ready("cls", 60)
        worker = psutil.Process(worker_of(server, "cls"))
        worker.suspend()
        asked = [asyncio.ensure_future(client.predict("cls", request, timeout_s=60)) for _ in range(8)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        worker.kill()
        answers = list(await asyncio.gather(*asked))
        await client.wait_until_ready("cls", 60)
        scaling = asyncio.ensure_future(client.scale("cls", 1))
        while not scaling.done():
            answers += await asyncio.gather(*(client.predict("cls", request, timeout_s=60) for _ in range(8)))
        await scaling
        await client.wait_until_ready("cls", 60)
        return answers

    answers = [messages.read_classifications(answer, (4, 3)).probabilities for answer in server.call(answered)]
    assert all(np.array_equal(each, answers[0]) for each in answers)


def test_a_deadline_that_passes_is_said_so(server: RunningTorchServe) -> None:
    with pytest.raises(DeadlineExceeded):
        server.call(lambda client: client.predict("gen", messages.generate_request(1, 0, 10_000), timeout_s=0.001))


def test_workers_are_added_and_taken_away(server: RunningTorchServe) -> None:
    async def scaled(client: TorchServe) -> list[int]:
        found = []
        for workers in (2, 1):
            await client.scale("cls", workers)
            await client.wait_until_ready("cls", 60)
            found.append((await client.describe("cls")).workers_ready)
        return found

    assert server.call(scaled) == [2, 1]


def test_a_full_queue_is_resource_exhausted_and_says_when_to_come_back(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_torchserve(tmp_path_factory.mktemp("ts"), max_queued_images="1024") as server:
        pack_tiny(server, run)

        async def flooded(client: TorchServe) -> list[bytes | BaseException]:
            await client.register("generator.mar", "gen", 1, **LIMITS)
            await client.wait_until_ready("gen", 60)
            requests = (client.predict("gen", messages.generate_request(i, 0, 512), timeout_s=60) for i in range(100))
            return list(await asyncio.gather(*requests, return_exceptions=True))

        outcomes = server.call(flooded)
        refused = [outcome for outcome in outcomes if isinstance(outcome, MintageError)]
        assert refused and all(isinstance(outcome, ResourceExhausted) for outcome in refused)
        assert all(outcome.retry_after_s > 0 for outcome in refused if isinstance(outcome, ResourceExhausted))
        assert len(outcomes) - len(refused) >= 2


def test_rest_is_not_on_the_network_and_only_grpc_listens_on_loopback(server: RunningTorchServe) -> None:
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for connection in psutil.Process(server.process.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    addresses = (server.settings.torchserve_inference, server.settings.torchserve_management)
    assert listening == {(host, int(port)) for host, _, port in (address.partition(":") for address in addresses)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_torchserve_ends(
    run: Path, tmp_path_factory: pytest.TempPathFactory, number: signal.Signals
) -> None:
    with running_torchserve(tmp_path_factory.mktemp("ts")) as server:
        pack_tiny(server, run)
        server.call(lambda client: client.register("generator.mar", "gen", 2, **LIMITS))
        everything = [psutil.Process(server.process.pid), *server.worker_processes()]
        assert len(everything) == 3
        os.kill(server.process.pid, number)
        print(f"{number.name}: all gone after {wait_until(lambda: gone(everything)):.1f} s")


def test_a_second_torchserve_in_the_same_folder_is_refused(server: RunningTorchServe) -> None:
    from service.processes import torchserve

    with pytest.raises(FailedPrecondition, match="another TorchServe runs in"):
        torchserve.run(server.settings)
