"""Answers that hold many files, written once.

Protobuf copies every file into a message and again out of it, each time into memory that is new: 1.3 ms for 64 images
of 64 x 64 in colour, where one `join` takes 0.02 ms. So the fields around the files are serialised by protobuf, and the
files are put behind them as they are. The interceptor passes bytes on to gRPC.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from service.images.encode import File

_BYTES = 2  # the wire type of what has a length


def serialized(answer: Message, **files: Sequence[File]) -> bytes:
    """Serialise an answer together with the files of some of its `repeated bytes` fields, which it does not hold.

    In place of files a field may have messages that are serialised already.
    """
    parts: list[File] = [answer.SerializeToString()]
    for field, several in files.items():
        tag = _varint(answer.DESCRIPTOR.fields_by_name[field].number << 3 | _BYTES)
        for file in several:
            parts += (tag + _varint(len(file)), file)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; all but the last have the highest bit set."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
