"""A TorchServe that hangs: its models go on, changes of them are refused soon, and the stack starts it again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from mintage.client import Client, Retries
from mintage.errors import ClientError, Unavailable
from mintage.v1 import models_pb2

from handlers.archive import pack
from service.processes.stack import Stack
from tests.faults.engine import wait_until
from tests.support.runs import tiny_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

PATIENCE_S = 300.0  # a machine that does much else takes a minute and a half to load a model


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that serves the model `gen`."""
    with Stack(tmp_path_factory.mktemp("stack"), workers=0) as stack:
        stack.start()
        pack(tiny_run(tmp_path_factory.mktemp("runs") / "tiny"), "generator", stack.settings.archives / "gen.mar")
        with Client(stack.api_address) as client:
            client.load_model("gen", "gen.mar")
        yield stack


def test_a_stopped_jvm_keeps_its_models_answering_and_is_started_again(stack: Stack) -> None:
    torchserve = stack.process("torchserve")
    with Client(stack.api_address, retries=Retries(attempts=1)) as client:
        before, pid, begin = client.generate("gen", 40, seed=7), torchserve.pid, time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: not client.health("mintage.v1.ModelService"), "the health service to tell", PATIENCE_S)
        print(f"told after {time.monotonic() - begin:.1f} s")

        assert client.health("models/gen") and client.health("mintage.v1.GenerationService")
        assert not client.health()
        assert np.array_equal(client.generate("gen", 40, seed=7), before)
        with pytest.raises(Unavailable) as refused:
            client.load_model("other", "gen.mar", timeout_s=60)
        assert refused.value.reason == "MODEL_SERVER_UNAVAILABLE"
        print(f"a load was refused after {time.monotonic() - begin:.1f} s")

        wait_until(lambda: torchserve.pid != pid, "another TorchServe", PATIENCE_S)
        print(f"started again after {time.monotonic() - begin:.1f} s")
        wait_until(lambda: is_healthy(client), "everything", PATIENCE_S)
        print(f"ready after {time.monotonic() - begin:.1f} s")
        assert np.array_equal(client.generate("gen", 40, seed=7), before)
        assert client.load_model("other", "gen.mar").state == models_pb2.Model.STATE_READY
        assert client.scale_model("other", 2).workers == 2
        client.unload_model("other")


@pytest.mark.parametrize("change", ["load", "scale", "unload"])
def test_a_change_during_which_the_jvm_stops_ends_soon(stack: Stack, change: str) -> None:
    torchserve = stack.process("torchserve")
    with Client(stack.api_address, retries=Retries(attempts=1)) as client:
        changes: dict[str, Callable[[], object]] = {
            "load": lambda: client.load_model("other", "gen.mar"),
            "scale": lambda: client.scale_model("gen", 2),
            "unload": lambda: client.unload_model("gen"),
        }
        pid = torchserve.pid
        timer = threading.Timer(0.3, os.kill, (pid, signal.SIGSTOP))
        timer.start()
        begin = time.monotonic()
        try:
            changes[change]()
            ended = "done"
        except Unavailable as error:
            ended = error.reason
        print(f"{change} ended {ended} after {time.monotonic() - begin:.1f} s")
        timer.join()
        wait_until(lambda: torchserve.pid != pid, "another TorchServe", PATIENCE_S)
        wait_until(lambda: is_healthy(client), "everything", PATIENCE_S)
        assert [model.name for model in client.models()] == ([] if change == "unload" else ["models/gen"])


def is_healthy(client: Client) -> bool:
    try:
        return client.health()
    except ClientError:
        return False
