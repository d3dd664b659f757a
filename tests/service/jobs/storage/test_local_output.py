from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.jobs.storage.local_output import LocalOutput
from service.jobs.storage.output import OutputError


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "outputs", "a/b")


def everything(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_an_attempt_whose_temporary_file_was_removed_cannot_publish(output: LocalOutput) -> None:
    with output.temporary("000001.2.") as temporary:
        output.remove_temporaries("000001.2.")
        with pytest.raises(FileNotFoundError):
            output.publish(temporary, "shards/000001.tar")
    assert everything(output.root) == []


def test_only_the_dead_attempts_files_are_removed(output: LocalOutput) -> None:
    with output.temporary("000001.2.") as temporary:
        output.remove_temporaries("000001.1.")
        output.remove_temporaries("000011.2.")
        temporary.file.write(b"x")
        assert output.publish(temporary, "shards/000001.tar")


def test_the_temporary_folder_goes_with_its_last_file(output: LocalOutput) -> None:
    output.put("x", b"")
    output.remove_temporaries()
    assert output.names() == ["x"]


@pytest.mark.parametrize("where", ["a", "a/b", "a/b/shards", "a/b/.tmp"])
def test_a_symbolic_link_leads_nowhere(output: LocalOutput, where: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = output.root / where
    link.parent.mkdir(parents=True)
    link.symlink_to(outside, target_is_directory=True)
    with pytest.raises(OutputError, match=r"no plain file or folder|symbolic link"):
        output.put("shards/000000.tar", b"escaped")
    assert everything(outside) == []


def test_a_symbolic_link_is_not_read(output: LocalOutput, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    output.put("other", b"")
    (output.root / "a/b/plan.json").symlink_to(tmp_path / "secret")
    with pytest.raises(OutputError, match="symbolic link"):
        output.read("plan.json")
    assert not output.put("plan.json", b"new")


def test_a_pipe_does_not_block_the_reader(output: LocalOutput) -> None:
    output.put("other", b"")
    os.mkfifo(output.root / "a/b/plan.json")
    with pytest.raises(OutputError, match="no plain file"):
        output.read("plan.json")


def test_a_file_in_the_place_of_a_folder_is_named(output: LocalOutput) -> None:
    output.root.mkdir()
    (output.root / "a").write_text("in the way")
    with pytest.raises(OutputError, match="remove it"):
        output.put("x", b"")


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse longer files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_leaves_no_temporary_file(output: LocalOutput) -> None:
    with largest_file(10_000), pytest.raises(OSError, match="File too large"):
        output.put("big", bytes(5_000_000))
    assert everything(output.root) == []
    assert output.put("big", b"small")


def test_a_late_writer_brings_no_removed_folder_back(tmp_path: Path) -> None:
    first, late = LocalOutput(tmp_path, "a/b"), LocalOutput(tmp_path, "a/b", existing=True)
    first.put("plan.json", b"x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "a/b/link").symlink_to(tmp_path / "outside")
    with late.temporary("t") as temporary:
        temporary.file.write(b"x")
        first.remove_folder()
        with pytest.raises(FileNotFoundError):
            late.publish(temporary, "shards/000000.tar")
    for name in ("shards/000000.json", "manifest.json"):
        with pytest.raises(FileNotFoundError):
            late.put(name, b"x")
    first.remove_folder()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "outside"]
