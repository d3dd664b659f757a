"""Archives that are pushed: whole and right, or not there at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from service.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from service.models.archives import pushed
from tests.support.archives import members_of, zipped

ENTRY_POINTS = Path(__file__).parents[4] / "handlers" / "entry_points"


def archive_of(text: str, **more: bytes) -> bytes:
    """An archive with the handler of this version, and more files."""
    members = members_of(text)
    handler = next(name for name in members if name.endswith(".py"))
    return zipped({**members, handler: (ENTRY_POINTS / handler).read_bytes(), **more})


def push(folder: Path, data: bytes, *, name: str = "a.mar", digest: str = "", replace: bool = False) -> None:
    digest = digest or hashlib.sha256(data).hexdigest()
    with pushed.Upload(folder, name, digest=digest, size_bytes=len(data), replace=replace) as upload:
        for start in range(0, len(data), 1000):
            upload.write(data[start : start + 1000])
        upload.finish()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", pushed.HANDLERS)
def test_the_known_handlers_are_those_that_are_packed(kind: str) -> None:
    assert hashlib.sha256((ENTRY_POINTS / kind).read_bytes()).hexdigest() == pushed.HANDLERS[kind]


def test_an_archive_appears_whole_under_its_name(tmp_path: Path) -> None:
    data = archive_of("generator a")
    push(tmp_path / "new", data)
    push(tmp_path / "new", data)  # again: nothing changes
    assert files(tmp_path / "new") == ["a.mar"]
    assert (tmp_path / "new" / "a.mar").read_bytes() == data
    described = pushed.described(tmp_path / "new" / "a.mar")
    assert (described.digest, described.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def test_another_archive_of_that_name_is_replaced_only_if_told(tmp_path: Path) -> None:
    push(tmp_path, archive_of("generator a"))
    with pytest.raises(AlreadyExists, match="has another"):
        push(tmp_path, archive_of("generator b"))
    assert (tmp_path / "a.mar").read_bytes() == archive_of("generator a")
    push(tmp_path, archive_of("generator b"), replace=True)
    assert (tmp_path / "a.mar").read_bytes() == archive_of("generator b")
    assert files(tmp_path) == ["a.mar"]


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"no archive at all", FailedPrecondition, "a.mar cannot be served"),
        (archive_of("generator a")[:-40], FailedPrecondition, "a.mar cannot be served"),
        (zipped(members_of("generator a")), FailedPrecondition, "handler in a.mar is not that of this version"),
        (archive_of("generator a", **{"numpy.py": b"evil()"}), FailedPrecondition, "holds 'numpy.py'"),
        (archive_of("generator a", **{"classifier.py": b"evil()"}), FailedPrecondition, "not that of this version"),
    ],
)
def test_what_cannot_be_loaded_or_brings_other_code_leaves_nothing(
    data: bytes, error: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=text):
        push(tmp_path, data)
    assert files(tmp_path) == []


def test_bytes_other_than_announced_leave_nothing(tmp_path: Path) -> None:
    data = archive_of("generator a")
    with pytest.raises(InvalidArgument, match="not that which was announced"):
        push(tmp_path, data, digest="0" * 64)
    digest = hashlib.sha256(data).hexdigest()
    upload = pushed.Upload(tmp_path, "a.mar", digest=digest, size_bytes=len(data), replace=False)
    with pytest.raises(InvalidArgument, match="more than the"), upload:
        upload.write(data + b"x")
    upload = pushed.Upload(tmp_path, "a.mar", digest=digest, size_bytes=len(data), replace=False)
    with pytest.raises(InvalidArgument, match="were announced"), upload:
        upload.write(data[:10])
        upload.finish()
    assert files(tmp_path) == []


def test_copies_of_loaded_archives_are_not_listed(tmp_path: Path) -> None:
    for name in ("b.mar", "a.mar", f"{'0' * 64}.mar", "a.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert pushed.names(tmp_path) == ["a.mar", "b.mar"]
