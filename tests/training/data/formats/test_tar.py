"""Tars from strangers: damaged, cut short, and with members that have no place there."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.files import tar
from training.data.formats.tar import read_members
from training.errors import DataError

MEMBERS = {"a.png": b"one", "b/c.png": b"x" * 512, "d.cls": b""}


def members(path: Path, *, max_bytes: int = 10_000) -> dict[str, bytes]:
    return dict(read_members(path, lambda name: True, max_bytes=max_bytes))


def changed(path: Path, info: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [10, 120, 240])
def test_members_are_read_whatever_wrote_the_tar(tmp_path: Path, kind: int, length: int) -> None:
    long = {"folder/" * (length // 10) + "image.png": b"long", **MEMBERS}

    assert members(tar(tmp_path / "a.tar", long, kind=kind)) == long


def test_a_compressed_tar_is_read_without_unpacking_it(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar.gz", MEMBERS, mode="w:gz")

    assert members(path) == MEMBERS
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_are_not_ascii_are_read(tmp_path: Path) -> None:
    assert members(tar(tmp_path / "a.tar", {"größe.png": b"1"}, kind=tarfile.PAX_FORMAT)) == {"größe.png": b"1"}


def test_members_that_are_not_wanted_are_passed_over(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"big.bin": bytes(100_000), **MEMBERS})

    assert [name for name, _ in read_members(path, lambda name: name == "a.png", max_bytes=10)] == ["a.png"]


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png", "a\nb.png", "C:evil"]
)
def test_a_name_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tar(tmp_path / "a.tar", {name: b"1"})

    with pytest.raises(DataError, match=r"a\.tar: .*evil|a\\nb.* is not a valid member name"):
        members(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"S", b"V"])
def test_what_is_no_plain_file_is_refused_by_name(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("image.png")
    info.type, info.linkname = kind, "/etc/passwd"

    with pytest.raises(DataError, match=r"image\.png is neither a file nor a folder"):
        members(changed(tmp_path / "a.tar", info))


def test_folders_are_passed_over(tmp_path: Path) -> None:
    info = tarfile.TarInfo("./folder")
    info.type = tarfile.DIRTYPE

    assert members(changed(tmp_path / "a.tar", info)) == {}


def test_a_sparse_member_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("image.png")
    info.pax_headers = {"GNU.sparse.realsize": "1000000000000"}

    with pytest.raises(DataError, match="a sparse or very large member"):
        members(changed(tmp_path / "a.tar", info))


def test_a_header_that_is_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("image.png")
    info.pax_headers = {"comment": "x" * 100_000}

    with pytest.raises(DataError, match=r"a header of 1000[0-9]+ bytes; at most 65536"):
        members(changed(tmp_path / "a.tar", info))


def test_a_member_that_is_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b/c\.png holds 512 bytes; at most 511"):
        members(tar(tmp_path / "a.tar", MEMBERS), max_bytes=511)


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + bytes(10) + b"\1", b"-0000000001\0", b"nonsense...\0"])
def test_a_size_that_cannot_be_is_refused(tmp_path: Path, size: bytes) -> None:
    path = tar(tmp_path / "a.tar", MEMBERS)
    block = path.read_bytes()
    block = block[:124] + size + block[136:]
    header = block[:148] + b" " * 8 + block[156:512]
    path.write_bytes(block[:148] + b"%06o\0 " % sum(header) + block[156:])

    with pytest.raises(
        DataError, match=r"a\.tar: a\.png claims more bytes than are left; it was cut short, copy it again"
    ):
        members(path)


@pytest.mark.parametrize("end", [0, 100, 512, 600, 1024, 1600, 2560])
def test_a_tar_that_was_cut_short_is_not_taken_for_a_short_one(tmp_path: Path, end: int) -> None:
    path = tar(tmp_path / "a.tar", MEMBERS)
    path.write_bytes(path.read_bytes()[:end])

    with pytest.raises(DataError, match=r"a\.tar: .*(cut short|claims more)"):
        members(path)


@pytest.mark.parametrize("end", [10, 60, -1])
def test_a_compressed_tar_that_was_cut_short_is_refused(tmp_path: Path, end: int) -> None:
    path = tar(tmp_path / "a.tar.gz", MEMBERS, mode="w:gz")
    path.write_bytes(path.read_bytes()[:end])

    with pytest.raises(DataError, match=r"a\.tar\.gz cannot be read"):
        members(path)


def test_a_header_that_was_damaged_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", MEMBERS)
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match="no tar header stands where one should"):
        members(path)


def test_a_bomb_of_zeros_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.formats.tar.MAX_UNPACKED_BYTES", 1 << 21)
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(bytes(1 << 22), 1))

    with pytest.raises(DataError, match="unpacks to more than 2097152 bytes"):
        members(path)


@settings(max_examples=60)
@given(position=st.integers(0, 4000), value=st.integers(0, 255), end=st.integers(0, 10_240))
def test_no_damage_whatever_raises_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, end: int
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    content = bytearray(
        tar(folder / "a.tar", {"x" * 150 + ".png": b"1", **MEMBERS}, kind=tarfile.PAX_FORMAT).read_bytes()
    )
    content[position] = value
    (folder / "b.tar").write_bytes(content[:end])

    try:
        found = members(folder / "b.tar")
    except DataError:
        return
    assert len(found) == 4


def test_an_archive_that_ends_in_zeros_for_long_was_copied_in_part(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", MEMBERS)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (3 << 20))

    with pytest.raises(DataError, match=r"ends in [0-9]+ bytes of zeros; it was copied in part, copy it again"):
        members(path)


@pytest.mark.parametrize("end", [b"no header", b"x" * 512, b"x" * 10_240])
def test_data_behind_the_end_mark_are_not_left_out_in_silence(tmp_path: Path, end: bytes) -> None:
    path = tar(tmp_path / "a.tar", MEMBERS)
    path.write_bytes(path.read_bytes() + end)

    with pytest.raises(DataError, match=r"a\.tar: (no tar header stands|it ends before its end mark)"):
        members(path)


def test_zeros_that_end_in_the_middle_of_a_record_are_damage(tmp_path: Path) -> None:
    first, second = (tar(tmp_path / name, MEMBERS).read_bytes() for name in ("a", "b"))
    path = tmp_path / "both.tar"
    path.write_bytes(first[:-1024] + second)

    with pytest.raises(DataError, match="or it was joined of several tars, then give them one by one"):
        members(path)
