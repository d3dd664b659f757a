"""Tars as score jobs read them: what is damaged is never taken for the end."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from service.jobs.sources.inputs import SourceError
from service.jobs.sources.tars import images_of
from tests.training.data.files import tar

PNG = b"x" * 700


def starts(content: bytes) -> list[int]:
    return [member.start for member in images_of(io.BytesIO(content), "a.tar")]


def made(path: Path, *names: str) -> bytes:
    return tar(path, dict.fromkeys(names, PNG)).read_bytes()


def test_images_of_any_ending_are_found(tmp_path: Path) -> None:
    assert len(starts(made(tmp_path / "a", "1.png", "2.GIF", "3.jfif", "4.tif", "5.heic", "6.txt"))) == 5


def test_tars_that_were_joined_end_to_end_are_read_to_the_end(tmp_path: Path) -> None:
    first = made(tmp_path / "a", "1.png", "2.png")

    assert starts(first + first) == [512, 2048, len(first) + 512, len(first) + 2048]


@pytest.mark.parametrize("member", [0, 1])
def test_a_header_of_zeros_is_not_taken_for_the_end(tmp_path: Path, member: int) -> None:
    content = bytearray(made(tmp_path / "a", "1.png", "2.png"))
    content[1536 * member : 1536 * member + 512] = bytes(512)

    with pytest.raises(SourceError, match="512 bytes of zeros stand where a header should, and data follow"):
        starts(bytes(content))


def test_a_tar_that_ends_in_zeros_for_long_was_copied_in_part(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="bytes of zeros; it was copied in part, copy it again"):
        starts(made(tmp_path / "a", "1.png") + bytes(3 << 20))


def test_a_sparse_tar_is_not_read_for_terabytes(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"1.png": PNG})
    os.truncate(path, 1 << 40)
    with path.open("rb") as file, pytest.raises(SourceError, match="bytes of zeros; it was copied in part"):
        list(images_of(file, "a.tar"))
