"""The images in a tar, read where they lie and never written anywhere.

Python's own reader takes a damaged header for the end of the archive and believes any size; a cut tar must not pass for
a short one, so this one is strict. It passes over whatever is no plain file with the name of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from service.images.decode import ENDINGS, UNREAD_ENDINGS
from service.jobs.sources.inputs import SourceError

IMAGE_SUFFIXES = (*ENDINGS, *UNREAD_ENDINGS)  # an image of a format that is not read counts as unreadable
MARK_EVERY = 1000  # images: finding one in a tar reads at most this many headers
BLOCK = 512  # bytes, of the tar format
RECORD = 20 * BLOCK  # what GNU tar and Python fill a tar up to
MAX_END_BYTES = 2 << 20  # of zeros behind the last member: twice GNU tar's largest usual record
MAX_EXTRA_BYTES = 64 * 1024  # of a long name or of POSIX's extra fields
_PLAIN, _LONG_NAME, _POSIX, _POSIX_ALL = (b"0", b"\0"), b"L", b"x", b"g"


@dataclass(frozen=True, slots=True)
class Member:
    """An image in a tar: where its first header and its bytes begin, and how many those are."""

    header: int
    start: int
    size: int


def mark_images(file: BinaryIO, name: str, *, on_file: Callable[[], None]) -> tuple[int, list[int]]:
    """Count the images of a tar, and note where every 1000th begins.

    Raises:
        SourceError: if the tar is damaged.
    """
    count, marks = 0, []
    for member in images_of(file, name):
        on_file()
        if count % MARK_EVERY == 0:
            marks.append(member.header)
        count += 1
    return count, marks


def images_of(file: BinaryIO, name: str, *, start: int = 0) -> Iterator[Member]:
    """Go through the images of a tar, from the header at `start`.

    The caller may move in the file meanwhile.

    Raises:
        SourceError: if the tar is damaged.
    """
    size = file.seek(0, 2)
    position = first_header = start
    long_name: bytes | None = None
    while (found := _header(file, position, name)) is not None:
        position, header = found
        first_header = position if long_name is None else first_header
        kind, length = header[156:157], _number(header[124:136])
        content = position + BLOCK
        if not 0 <= length <= size - content:
            raise SourceError(f"{name}: a member claims more bytes than the tar holds; it was cut, copy it again")
        position = content + length + -length % BLOCK
        if kind in (_LONG_NAME, _POSIX, _POSIX_ALL):
            said = _said_name(file, content, length, kind, name)
            long_name = long_name if said is None else said
            continue
        member = header[:100].split(b"\0")[0] if long_name is None else long_name
        if kind in _PLAIN and _is_image(member):
            yield Member(first_header, content, length)
        first_header, long_name = position, None


def _header(file: BinaryIO, position: int, name: str) -> tuple[int, bytes] | None:
    """Return where the next header begins, and its bytes, or None at the end."""
    file.seek(position)
    header = file.read(BLOCK)
    if header == bytes(BLOCK):
        joined = _after_end_mark(file, name)
        if joined is None:
            return None
        position, header = joined
    if len(header) < BLOCK:
        raise SourceError(f"{name} ends before its end mark; it was cut, copy it again")
    if _number(header[148:156]) != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
        raise SourceError(f"{name}: no tar header stands where one should; it is damaged or no tar")
    return position, header


def _after_end_mark(file: BinaryIO, name: str) -> tuple[int, bytes] | None:
    """Read on behind a block of zeros: return the first other block, of a tar that was joined to this one.

    Tars are joined where a record ends, behind two blocks of zeros or more and at most a record of them. Zeros
    elsewhere have overwritten something.
    """
    blocks = 1
    while (block := file.read(BLOCK)) == bytes(BLOCK):
        blocks += 1
        if blocks * BLOCK > MAX_END_BYTES:  # a sparse file may go on for terabytes
            raise SourceError(f"{name} has over {MAX_END_BYTES:,} bytes of zeros; it was copied in part, copy it again")
    if not block.strip(b"\0"):
        return None
    start = file.tell() - len(block)
    if start % RECORD or not 2 <= blocks <= RECORD // BLOCK + 1:
        raise SourceError(
            f"{name}: {blocks * BLOCK:,} bytes of zeros stand where a header should, and data follow: it is damaged, "
            "copy it again; or it was joined of several tars, then give them one by one"
        )
    return start, block


def _number(field: bytes) -> int:
    """Parse an octal field; anything else is -1."""
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and set(digits) <= set(b"01234567") else -1


def _said_name(file: BinaryIO, content: int, length: int, kind: bytes, name: str) -> bytes | None:
    """Return the name that an extra header gives the next member, if it gives one."""
    if length > MAX_EXTRA_BYTES:
        raise SourceError(f"{name}: a header of {length:,} bytes; at most {MAX_EXTRA_BYTES:,} are read")
    file.seek(content)
    said = file.read(length)
    if kind == _LONG_NAME:
        return said.rstrip(b"\0")
    found = None
    while said:
        digits, _, rest = said.partition(b" ")
        size = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        key, equals, value = said[len(digits) + 1 : size].partition(b"=")
        if not rest or not equals or not value.endswith(b"\n") or size > len(said):
            raise SourceError(f"{name}: a damaged header of extra fields")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise SourceError(f"{name}: a sparse or very large member; pack plain files only")
        found = value[:-1] if key == b"path" and kind == _POSIX else found
        said = said[size:]
    return found


def _is_image(member: bytes) -> bool:
    last = member.rpartition(b"/")[2].lower()
    return not last.startswith(b".") and last.endswith(tuple(suffix.encode() for suffix in IMAGE_SUFFIXES))
