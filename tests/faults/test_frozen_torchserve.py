"""A TorchServe that hangs: its models go on, changes of them are refused soon, and the stack starts it again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mintage.client import Client, Retries
from mintage.errors import ClientError, NotFound, Unavailable
from mintage.v1 import models_pb2

from handlers.archive import pack
from service.processes.stack import Stack
from tests.faults.engine import wait_until
from tests.support.runs import tiny_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

PATIENCE_S = 300.0  # a machine that does much else takes a minute and a half to load a model


@pytest.fixture
def stack(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that serves the models `gen` and `spare`; the path of a socket must be short."""
    with Stack(tmp_path_factory.mktemp("jvm"), workers=0) as stack:
        stack.start()
        pack(tiny_run(tmp_path / "tiny"), "generator", stack.settings.archives / "gen.mar")
        with Client(stack.api_address) as client:
            client.load_model("gen", "gen.mar")
            client.load_model("spare", "gen.mar")
        yield stack


def test_a_stopped_jvm_keeps_its_models_answering_refuses_changes_and_is_started_again(stack: Stack) -> None:
    torchserve = stack.process("torchserve")
    with Client(stack.api_address, retries=Retries(attempts=1)) as client, ThreadPoolExecutor(3) as callers:
        before, pid = client.generate("gen", 40, seed=7), torchserve.pid
        loading = callers.submit(client.load_model, "other", "gen.mar")
        wait_until(lambda: is_starting(client, "other"), "the load", PATIENCE_S)
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        scaling = callers.submit(client.scale_model, "gen", 2)
        unloading = callers.submit(client.unload_model, "spare")

        wait_until(lambda: not client.health("mintage.v1.ModelService"), "the health service to tell", PATIENCE_S)
        print(f"told after {time.monotonic() - begin:.1f} s")
        assert client.health("models/gen") and client.health("mintage.v1.GenerationService")
        assert not client.health()
        assert np.array_equal(client.generate("gen", 40, seed=7), before)
        for change in (loading, scaling):
            error = change.exception(PATIENCE_S)
            assert isinstance(error, Unavailable) and error.reason == "MODEL_SERVER_UNAVAILABLE"
        unloading.result(PATIENCE_S)
        print(f"all changes ended after {time.monotonic() - begin:.1f} s")

        wait_until(lambda: torchserve.pid != pid, "another TorchServe", PATIENCE_S)
        print(f"started again after {time.monotonic() - begin:.1f} s")
        wait_until(lambda: is_healthy(client), "everything", PATIENCE_S)
        print(f"ready after {time.monotonic() - begin:.1f} s")
        assert np.array_equal(client.generate("gen", 40, seed=7), before)
        assert [(model.name, model.workers) for model in client.models()] == [("models/gen", 1)]
        assert client.scale_model("gen", 2).workers == 2


def is_starting(client: Client, model: str) -> bool:
    try:
        return bool(client.model(model).change.stage == models_pb2.ModelChange.STAGE_STARTING)
    except NotFound:
        return False


def is_healthy(client: Client) -> bool:
    try:
        return client.health()
    except ClientError:
        return False
