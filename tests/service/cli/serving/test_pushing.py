"""An archive on this machine becomes a model of a server: `models push`, `archives ls`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from mintage.v1 import models_pb2, models_pb2_grpc

from service.cli import app
from tests.client.fakes import world_in_a_thread
from tests.service.models.archives.test_pushed import archive_of
from tests.support.command_line import CliRunner
from tests.support.world import World


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world, whose server takes a megabyte."""
    folder = tmp_path_factory.mktemp("state")
    with structlog.testing.capture_logs(), world_in_a_thread(folder, max_archive_bytes=2**20) as at:
        yield at


@pytest.fixture
def mintage(at: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command against the world."""
    monkeypatch.setenv("MINTAGE_API_ADDRESS", at.address)

    def run(*arguments: object, status: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == status, result.output
        return result

    return run


def test_an_archive_is_pushed_listed_and_loaded(mintage: Any, at: World, tmp_path: Path) -> None:
    file = tmp_path / "new.mar"
    file.write_bytes(archive_of("classifier new"))
    said = json.loads(mintage("models", "push", file, "--load", "fresh", "--json").stdout)
    assert (said["archive"]["name"], said["model"]["name"], said["model"]["state"]) == (
        "new.mar",
        "models/fresh",
        "ready",
    )
    assert said["archive"]["size_bytes"] == file.stat().st_size
    assert (at.settings.archives / "new.mar").read_bytes() == file.read_bytes()
    listed = [json.loads(line) for line in mintage("archives", "ls", "--json").stdout.splitlines()]
    assert {"digits.mar", "judge.mar", "new.mar"} <= {one["name"] for one in listed}
    assert "new.mar" in mintage("archives", "ls").stdout


def test_another_archive_of_that_name_is_kept_unless_told(mintage: Any, at: World, tmp_path: Path) -> None:
    for text, options, status in (("one", (), 0), ("two", (), 1), ("two", ("--replace",), 0), ("two", (), 0)):
        file = tmp_path / "same.mar"
        file.write_bytes(archive_of(f"generator {text}"))
        result = mintage("models", "push", file, *options, status=status)
        if status:
            assert "the archive folder has another same.mar" in result.stderr
    assert (at.settings.archives / "same.mar").read_bytes() == archive_of("generator two")


@pytest.mark.parametrize(
    ("content", "options", "status", "expected"),
    [
        (b"nothing", (), 1, "x.mar cannot be served"),
        (b"nothing", ("--name", "../x.mar"), 2, "--name must be the name of a .mar file"),
        (b"nothing", ("--name", "x"), 2, "--name must be the name of a .mar file"),
        (b"nothing", ("--load", "Bad Name"), 2, "--load must be 1 to 63 of a-z, 0-9 and -, not 'Bad Name'"),
        (b"", (), 2, "x.mar is empty"),
        (b"nothing", ("--name", f"{'a' * 64}.mar"), 2, "must not be a digest"),
        (bytes(2**20 + 1), (), 1, "this server takes 1,048,576 bytes at most"),
        (None, (), 2, "No such file"),
    ],
)
def test_what_the_server_does_not_take_leaves_its_folder_alone(
    content: bytes | None, options: tuple[str, ...], status: int, expected: str, mintage: Any, at: World, tmp_path: Path
) -> None:
    before = sorted(at.settings.archives.iterdir())
    if content is not None:
        (tmp_path / "x.mar").write_bytes(content)
    assert expected in mintage("models", "push", tmp_path / "x.mar", *options, status=status).stderr
    assert sorted(at.settings.archives.iterdir()) == before


def test_a_name_that_the_server_would_not_take_is_told_as_the_file_that_has_it(mintage: Any, tmp_path: Path) -> None:
    file = tmp_path / "caf\N{LATIN SMALL LETTER E WITH ACUTE}.mar"
    file.write_bytes(archive_of("classifier new"))
    refused = mintage("models", "push", file, status=2).stderr
    assert f"{file.name!r} cannot be its name on the server; choose one by --name NAME.mar" in refused
    assert mintage("models", "push", file, "--name", "other-name.mar").stdout.startswith("other-name.mar")


def test_what_cannot_be_read_twice_is_no_archive(mintage: Any) -> None:
    assert "/dev/zero is no regular file" in mintage("models", "push", "/dev/zero", "--name", "x.mar", status=2).stderr


def test_a_push_that_breaks_off_or_begins_wrong_leaves_nothing(at: World) -> None:
    before = sorted(at.settings.archives.iterdir())
    announced = models_pb2.PushArchiveRequest.Announcement(name="b.mar", digest="0" * 64, size_bytes=100)
    first = models_pb2.PushArchiveRequest(announcement=announced)
    with grpc.insecure_channel(at.address) as channel:
        stub = models_pb2_grpc.ModelServiceStub(channel)
        for parts, expected in (
            ([], "must be the first message"),
            ([models_pb2.PushArchiveRequest(data=b"x")], "must be the first message"),
            ([first, first], "comes once"),
            ([first, models_pb2.PushArchiveRequest(data=b"x" * 99)], "99 bytes"),
            ([first, models_pb2.PushArchiveRequest(data=bytes(2**21 + 1))], "has a length of 2,097,153"),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                stub.PushArchive(iter(parts), timeout=30)
            assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert expected in raised.value.details()
    assert sorted(at.settings.archives.iterdir()) == before


def test_archives_come_in_pages(at: World) -> None:
    with grpc.insecure_channel(at.address) as channel:
        stub = models_pb2_grpc.ModelServiceStub(channel)
        first = stub.ListArchives(models_pb2.ListArchivesRequest(page_size=1))
        second = stub.ListArchives(models_pb2.ListArchivesRequest(page_size=1, page_token=first.next_page_token))
    assert (first.archives[0].name, second.archives[0].name) == ("digits.mar", "judge.mar")
