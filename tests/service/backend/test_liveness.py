"""A worker process that hangs is ended, whatever it hangs in; one that lives is not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from handlers.serving.listener import Call, listen
from service import errors
from service.backend import liveness
from service.backend.liveness import WorkerHealth
from service.backend.workers import Workers, socket_name
from tests.support.world import run

PROCESS = """
import asyncio, json, os, sys
from pathlib import Path
from handlers.serving.listener import listen

async def state(message, call):
    return json.dumps({"calls": 0, **json.loads(os.environ.get("STATE", "{}"))}).encode()

async def predict(message, call):
    await asyncio.sleep(3600)

async def main():
    await listen(Path(sys.argv[1]), {"State": state, "Predict": predict}, max_message_bytes=1000)
    print("listens", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@asynccontextmanager
async def worker(state: str = "{}") -> AsyncIterator[tuple[Workers, subprocess.Popen[str]]]:
    """A process of model `m` that answers for its state as told, and what calls it."""
    with tempfile.TemporaryDirectory(prefix="mintage-") as folder:
        command = [sys.executable, "-c", PROCESS, f"{folder}/{socket_name('m', 1)}"]
        environment = {**os.environ, "STATE": state}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            workers = Workers(Path(folder), max_message_bytes=1000)
            try:
                assert process.stdout is not None
                assert await asyncio.to_thread(process.stdout.readline) == "listens\n"
                yield workers, process
            finally:
                await workers.close()
                process.kill()


@pytest.mark.linux
def test_a_frozen_process_is_ended_and_its_calls_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "STATE_TIMEOUT_S", 0.2)

    async def test() -> None:
        async with worker() as (workers, process):
            assert await liveness.end_hung(workers, "m") == WorkerHealth(present=1)
            call = asyncio.create_task(workers.predict("m", {"request": b"{}"}, timeout_s=3600))
            process.send_signal(signal.SIGSTOP)
            for _ in range(liveness.MAX_SILENCES - 1):
                assert await liveness.end_hung(workers, "m") == WorkerHealth(present=1, silent=1)
            assert not call.done()
            assert await liveness.end_hung(workers, "m") == WorkerHealth(present=1, ended=1)
            with pytest.raises(errors.Unavailable):
                await call
            assert process.wait(30) == -signal.SIGKILL
            assert await liveness.end_hung(workers, "m") == WorkerHealth()

    run(test())


def test_a_process_that_was_silent_for_a_moment_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "STATE_TIMEOUT_S", 0.2)

    async def test() -> None:
        async with worker() as (workers, process):
            for _ in range(3):
                process.send_signal(signal.SIGSTOP)
                for _ in range(liveness.MAX_SILENCES - 1):
                    await liveness.end_hung(workers, "m")
                assert workers.of("m")[0].lost
                process.send_signal(signal.SIGCONT)
                while workers.of("m")[0].silences:
                    assert (await liveness.end_hung(workers, "m")).ended == 0
                assert not workers.of("m")[0].lost
            assert process.poll() is None

    run(test())


@pytest.mark.parametrize(
    ("state", "hangs"),
    [
        pytest.param('{"pass": 7, "pass_s": 9, "usual_s": 0.05}', True, marks=pytest.mark.linux),
        ('{"pass": 7, "pass_s": 9, "usual_s": 0.5}', False),
        ('{"pass": 7, "pass_s": 7, "usual_s": 0.05}', False),
        ('{"waiting": {}}', False),
    ],
)
def test_a_pass_that_lasts_far_too_long_is_seen_twice_and_then_ended(state: str, *, hangs: bool) -> None:
    async def test() -> None:
        async with worker(state) as (workers, process):
            assert await liveness.end_hung(workers, "m") == WorkerHealth(present=1)
            assert await liveness.end_hung(workers, "m") == WorkerHealth(present=1, ended=int(hangs))
            if hangs:
                assert process.wait(30) == -signal.SIGKILL

    run(test())


def test_what_listens_in_this_very_process_is_beyond_reach(tmp_path: Path) -> None:
    async def test() -> None:
        async def silent(_: bytes, __: Call) -> bytes:
            await asyncio.sleep(3600)
            return b""

        with tempfile.TemporaryDirectory(prefix="mintage-") as folder:
            path = Path(folder, "socket")
            listener = await listen(path, {"State": silent}, max_message_bytes=1000)
            assert not liveness.end_listener(path)
            listener.close()
            assert liveness.end_listener(path)
        assert liveness.end_listener(tmp_path / "nothing")

    run(test())
