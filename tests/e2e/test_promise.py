"""The promise through every real process: a sample is the same bytes from a job, from a call, alone and in company.

Each family's generator is asked by a job, by calls of many clients meanwhile, and in this process.
`MINTAGE_TEST_SAMPLES=2000 ./mint test tests/e2e/test_promise.py tests/e2e/test_families.py` compares more than 200.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from mintage.client import Client
from mintage.v1.jobs_pb2 import Job

from handlers.archive import pack
from handlers.compute.model import load
from handlers.operations.direct import generate
from handlers.protocol.requests import Failure, Generate
from service.processes.stack import Stack
from tests.e2e.families import GENERATORS, SAMPLES, write_generators

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CPU = torch.device("cpu")
CALLERS = 8
SEED = 2**63 + 5


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with two workers of jobs and all generators loaded, whose micro-batch divides no shard."""
    runs = write_generators(tmp_path_factory.mktemp("runs"))
    with Stack(tmp_path_factory.mktemp("stack"), workers=2) as stack:
        stack.start()
        with Client(stack.api_address) as client:
            for name in GENERATORS:
                pack(runs / name, "generator", stack.settings.archives / f"{name}.mar", micro_batch=8)
                client.load_model(name, f"{name}.mar")
        yield stack


def made_here(stack: Stack, name: str, folder: Path) -> np.ndarray:
    """All samples, computed in this process: uint8 [N, H, W, C]."""
    with zipfile.ZipFile(stack.settings.archives / f"{name}.mar") as archive:
        archive.extractall(folder)
    [images] = generate(load(folder, "generator", CPU), [Generate(SEED, 0, SAMPLES)])
    assert not isinstance(images, Failure)
    return images


def made_by_job(client: Client, job: Job) -> np.ndarray:
    """All samples of a job of npz shards, once it has ended."""
    for change in client.watch(job.name):
        job = change
    assert job.state == Job.STATE_SUCCEEDED, job.error
    shards = Path(job.output_uri.removeprefix("file://"), "data").glob("*.npz")
    return np.concatenate([np.load(path)["arr_0"] for path in sorted(shards)])


@pytest.mark.parametrize("name", GENERATORS)
def test_a_sample_of_a_job_is_that_of_a_call_and_of_this_process(stack: Stack, name: str, tmp_path: Path) -> None:
    expected = made_here(stack, name, tmp_path)
    draw = np.random.default_rng(2)
    spans = [
        (int(first), int(draw.integers(1, 1 + min(40, SAMPLES - first)))) for first in draw.integers(0, SAMPLES, 100)
    ]
    with Client(stack.api_address) as client, ThreadPoolExecutor(CALLERS) as callers:
        job = client.create_sample_job(name, SAMPLES, seed=SEED, shard_size=SAMPLES // 4 + 3, format="npz")
        calls = [callers.submit(client.generate, name, count, seed=SEED, first_index=first) for first, count in spans]
        for (first, count), call in zip(spans, calls, strict=True):
            assert np.array_equal(call.result(), expected[first : first + count])
        assert np.array_equal(made_by_job(client, job), expected)
