"""What a stack refuses before it starts anything, and by what it knows its own processes."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from pydantic import ValidationError

from service.processes import checks
from service.processes.stack import Stack
from service.processes.supervisor import ProcessFailedError
from tests.service.processes.test_append_only_file import (
    all_empty,
    junk_in_the_middle,
    no_manifest,
    zeros_at_the_end,
)
from tests.service.processes.test_supervisor import until
from tests.support.world import run, world


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:99999", "127.0.0.1:-1", "::1:50051"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Stack(tmp_path, api_address=address)


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            Stack(tmp_path, api_address=f"127.0.0.1:{port}") as stack,
            pytest.raises(ProcessFailedError, match=rf"127\.0\.0\.1:{port} \(--address\): .*in use"),
        ):
            stack.claim()
        with (
            Stack(tmp_path, overrides={"MINTAGE_METRICS_PORT": str(port)}) as stack,
            pytest.raises(ProcessFailedError, match=rf"127\.0\.0\.1:{port} \(MINTAGE_METRICS_PORT\): .*in use"),
        ):
            stack.start()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("name", ["a\nb", "a\udcffb"])
def test_a_folder_that_no_file_of_settings_can_name_is_refused(tmp_path: Path, name: str) -> None:
    with Stack(tmp_path / name) as stack, pytest.raises(ValidationError, match="must be a path in UTF-8"):
        stack.start()


def test_no_process_inherits_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with Stack(tmp_path) as stack:
        environment, _ = stack.configure()
    assert "PYTHONPATH" not in environment
    assert environment["PYTHONSAFEPATH"] == "1"


def test_the_api_of_another_stack_is_not_taken_for_ours(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path, stack_id="ours") as at:
            ours = at.settings.model_copy(update={"api_address": at.address})
            assert await checks.problem("api", ours, service="mintage.v1.ModelService") is None
            theirs = ours.model_copy(update={"stack_id": "theirs"})
            assert "NOT_FOUND" in str(await checks.problem("api", theirs, service="mintage.v1.ModelService"))

    run(test())


@pytest.mark.parametrize("harm", [zeros_at_the_end, junk_in_the_middle, all_empty, no_manifest])
def test_a_stack_starts_with_a_damaged_append_only_file_and_says_what_it_did(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with valkey_of_a_stack(tmp_path) as (client, notices):
        for number in range(100):
            client.set(f"k{number}", "x" * 50)
        client.execute_command("WAITAOF", 1, 0, 0)
        assert notices == []
    harm(tmp_path / "valkey")
    with valkey_of_a_stack(tmp_path) as (_, notices):
        assert "append-only file was damaged" in notices[0]
        assert Path(notices[0].rpartition(" in ")[2]).is_dir()
    with valkey_of_a_stack(tmp_path) as (_, notices):
        assert notices == []


def folder_removed(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("harm", [zeros_at_the_end, junk_in_the_middle, all_empty, no_manifest, folder_removed])
def test_valkey_that_dies_with_damaged_files_comes_back_while_the_stack_runs(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with valkey_of_a_stack(tmp_path) as (client, _):
        for number in range(100):
            client.set(f"k{number}", "x" * 50)
        client.execute_command("WAITAOF", 1, 0, 0)
        process = psutil.Process(client.info("server")["process_id"])  # not that of another test of this process
        harm(tmp_path / "valkey")
        process.kill()
        process.wait()
        until(lambda: answers(client))
        assert client.set("after", "1")
    log = (tmp_path / "logs/valkey.log").read_text()
    assert ("mintage: Valkey's append-only file was damaged" in log) == (harm is not folder_removed)


def answers(client: Any) -> bool:
    """Whether it can be asked."""
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextlib.contextmanager
def valkey_of_a_stack(state: Path) -> Iterator[tuple[Any, list[str]]]:
    """Have no more of a stack than its Valkey: a client of it, and what the start told."""
    with Stack(state) as stack:
        stack.claim()
        stack.environment, stack.settings = stack.configure()
        stack._start_valkey()
        stack.supervisor.watch()
        with redis.Redis.from_url(stack.settings.redis_url.get_secret_value()) as client:
            yield client, stack.notices
