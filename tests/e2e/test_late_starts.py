"""Handlers that hang in a real TorchServe: they are refused in time, their processes end, and others load on."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from handlers.archive import pack
from service.backend.torchserve import TorchServe
from service.errors import FailedPrecondition, MintageError
from service.models.loader import Loader
from service.models.records import ModelRecord
from service.models.registry import Registry
from tests.e2e.torchserve import RunningTorchServe, running_torchserve
from tests.faults.engine import wait_until
from tests.support.runs import tiny_run

pytestmark = pytest.mark.e2e

HANGS_AT_ITS_START = """
    def initialize(self, context):
        import pathlib, time
        while pathlib.Path({gate!r}).exists():
            time.sleep(0.05)
        super().initialize(context)
"""
HANGS_AT_A_REQUEST = """
    def handle(self, data, context):
        import time
        time.sleep(3600)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTorchServe]:
    """A TorchServe without models, and an archive `good.mar`."""
    with running_torchserve(tmp_path_factory.mktemp("ts")) as server:
        run = tiny_run(tmp_path_factory.mktemp("runs") / "tiny")
        pack(run, "generator", server.settings.archives / "good.mar", micro_batch=16)
        yield server


def write(server: RunningTorchServe, name: str, method: str) -> None:
    """Write an archive as `good.mar` whose handler has a method of its own."""
    good, changed = server.settings.archives / "good.mar", server.settings.archives / name
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(changed, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            new.writestr(member, content + method.encode() if member == "generator.py" else content)


def loaded(server: RunningTorchServe, archive: str, *, starting_s: float, response_timeout_s: float) -> ModelRecord:
    """Load an archive as `digits`; the change ends as the load does."""
    registry = Registry(server.settings.archives)

    async def load(client: TorchServe) -> ModelRecord:
        loader = Loader(client, registry, response_timeout_s=response_timeout_s, starting_s=starting_s)
        try:
            return await loader.load("digits", archive, 1)
        except MintageError as error:
            change = loader.changes.last("digits")
            assert change is not None and (change.stage, change.error_reason) == ("failed", error.reason)
            raise

    return server.call(load)


def holds_nothing(server: RunningTorchServe) -> bool:
    names = server.call(lambda client: client.list_models())
    kept = list(server.settings.archives.glob("?" * 64 + ".mar"))
    return not names and not kept and not Registry(server.settings.archives).names() and not server.worker_processes()


def alone(processes: list[psutil.Process]) -> list[psutil.Process] | None:
    return processes if len(processes) == 1 else None


def test_a_handler_that_hangs_is_refused_and_the_next_archive_loads(server: RunningTorchServe, tmp_path: Path) -> None:
    gate = tmp_path / "closed"
    gate.touch()
    write(server, "start.mar", HANGS_AT_ITS_START.format(gate=str(gate)))
    with pytest.raises(FailedPrecondition, match=r"its handler did not start.* within 8 s") as at_start:
        loaded(server, "start.mar", starting_s=8, response_timeout_s=30)
    wait_until(lambda: holds_nothing(server), "nothing of it is left")

    write(server, "request.mar", HANGS_AT_A_REQUEST)
    text = "its (handler did not answer|worker died with) the first request"
    with pytest.raises(FailedPrecondition, match=text) as at_request:
        loaded(server, "request.mar", starting_s=120, response_timeout_s=2)
    wait_until(lambda: holds_nothing(server), "nothing of it is left")
    assert at_start.value.reason == at_request.value.reason == "ARCHIVE_UNFIT"

    assert loaded(server, "good.mar", starting_s=120, response_timeout_s=30).archive == "good.mar"


def test_a_worker_that_hangs_ends_a_scaling_and_the_others_serve_on(server: RunningTorchServe, tmp_path: Path) -> None:
    gate = tmp_path / "closed"
    write(server, "gated.mar", HANGS_AT_ITS_START.format(gate=str(gate)))
    record = loaded(server, "gated.mar", starting_s=120, response_timeout_s=30)
    [worker] = wait_until(lambda: alone(server.worker_processes()), "the model that was replaced is gone")
    gate.touch()
    registry = Registry(server.settings.archives)

    async def scaled(client: TorchServe) -> ModelRecord:
        return await Loader(client, registry, response_timeout_s=30, starting_s=8).scale("digits", 2)

    with pytest.raises(FailedPrecondition, match=r"not all 2 workers .* within 8 s: it has 1 as before"):
        server.call(scaled)
    assert wait_until(lambda: alone(server.worker_processes()), "the worker that hangs is gone") == [worker]
    status = server.call(lambda client: client.describe(record.backend_name))
    assert (status.workers_ready, status.workers_total) == (1, 1)
    assert server.call(lambda client: client.wait_until_ready(record.backend_name, 60)).kind == "generator"
    assert registry.find("digits").workers == 1
