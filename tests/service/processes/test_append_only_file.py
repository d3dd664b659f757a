"""A damaged append-only file keeps no stack from starting, and nothing of it is deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.processes import append_only_file
from service.processes.append_only_file import FOLDER, MANIFEST
from tests.support.valkey import Valkey, free_port


@pytest.fixture
def valkey(tmp_path: Path) -> Valkey:
    """One that was killed with keys k0 to k99 in its file of commands, and no more than an empty base before it."""
    server = Valkey(tmp_path, free_port())
    server.start()
    client = server.client()
    for number in range(100):
        client.set(f"k{number}", "x" * 50)
    client.execute_command("WAITAOF", 1, 0, 0)  # type: ignore[no-untyped-call]
    client.close()
    server.kill()
    return server


def commands(folder: Path) -> Path:
    return next((folder / FOLDER).glob("*.incr.aof"))


def zeros_at_the_end(folder: Path) -> None:
    with commands(folder).open("ab") as file:
        file.write(b"\0" * 4096)


def junk_in_the_middle(folder: Path) -> None:
    content = bytearray(commands(folder).read_bytes())
    begin = content.rindex(b"\r\n*", 0, len(content) // 2) + 2  # of a command: in a value Valkey takes it
    content[begin : begin + 200] = b"\0" + os.urandom(199)
    commands(folder).write_bytes(content)


def all_empty(folder: Path) -> None:
    for path in (folder / FOLDER).iterdir():
        path.write_bytes(b"")


def no_base(folder: Path) -> None:
    next((folder / FOLDER).glob("*.base.rdb")).unlink()


def no_commands(folder: Path) -> None:
    commands(folder).unlink()


def no_manifest(folder: Path) -> None:
    (folder / FOLDER / MANIFEST).unlink()


def junk_manifest(folder: Path) -> None:
    (folder / FOLDER / MANIFEST).write_bytes(b"\0junk\1 neither a file\2 nor a line\n" * 2)


def complaint(server: Valkey) -> str:
    """What it writes as it does not start."""
    log = server.folder / "valkey.log"
    before = log.stat().st_size
    with pytest.raises(AssertionError):
        server.start()
    return log.read_bytes()[before:].decode(errors="replace")


def keys(server: Valkey) -> int:
    server.start()
    client = server.client()
    found: int = client.dbsize()
    client.close()
    server.kill()
    return found


@pytest.mark.parametrize(("harm", "least", "most"), [(zeros_at_the_end, 100, 100), (junk_in_the_middle, 40, 60)])
def test_what_can_be_read_is_kept(valkey: Valkey, harm: Callable[[Path], None], least: int, most: int) -> None:
    harm(valkey.folder)
    damaged = commands(valkey.folder).read_bytes()
    assert append_only_file.is_to_blame(complaint(valkey))

    told = append_only_file.cut(valkey.folder)

    assert told is not None and "could not be read" in told
    aside = Path(told.rpartition(" in ")[2])
    assert (aside / commands(valkey.folder).name).read_bytes() == damaged
    assert least <= keys(valkey) <= most


@pytest.mark.parametrize("harm", [all_empty, no_base, no_commands, junk_manifest])
def test_where_nothing_can_be_read_the_file_is_set_aside(valkey: Valkey, harm: Callable[[Path], None]) -> None:
    harm(valkey.folder)
    names = {path.name for path in (valkey.folder / FOLDER).iterdir()}
    assert append_only_file.is_to_blame(complaint(valkey))
    assert append_only_file.cut(valkey.folder) is None

    told = append_only_file.set_aside(valkey.folder)

    assert told is not None and "nothing of it could be read" in told
    assert {path.name for path in Path(told.rpartition(" in ")[2]).iterdir()} == names
    assert keys(valkey) == 0


def test_a_sound_file_is_left_alone(valkey: Valkey) -> None:
    assert append_only_file.cut(valkey.folder) is None
    assert not append_only_file.is_to_blame((valkey.folder / "valkey.log").read_text())
    assert keys(valkey) == 100


def test_an_unfinished_transaction_is_cut_off(valkey: Valkey) -> None:
    whole = commands(valkey.folder).stat().st_size
    with commands(valkey.folder).open("ab") as file:
        file.write(b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n\0\0\0\0")
    assert append_only_file.cut(valkey.folder) is not None
    assert commands(valkey.folder).stat().st_size == whole


def test_another_reason_is_not_blamed_on_the_file() -> None:
    said = """17:M 28 Nov 2026 11:12:13.141 * Server initialized
17:M 28 Nov 2026 11:12:13.142 # Warning: Could not create server TCP listening socket 127.0.0.1:1: bind: Address in use
17:M 28 Nov 2026 11:12:13.142 # Failed listening on port 1 (tcp), aborting."""
    assert not append_only_file.is_to_blame(said)
