"""Answers that hold many files, written once.

Protobuf copies every file into a message and again out of it, each time into memory that is new: 1.3 ms for 64 images
of 64 x 64 in colour, where one `join` takes 0.02 ms. So the fields around the files are serialised by protobuf, and the
files are put behind them as they are. The interceptor passes bytes on to gRPC.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from service.images.encode import File

_BYTES = 2  # the wire type of what has a length


def serialized(answer: Message, before: bytes = b"", **files: Sequence[File]) -> bytes:
    """Serialise an answer together with the files of some of its `repeated bytes` fields, which it does not hold.

    In place of files a field may have messages that are serialised already. `before` are further fields of the answer,
    serialised: two serialised messages, one behind the other, are one.
    """
    parts: list[File] = [before, answer.SerializeToString()]
    for field, several in files.items():
        tag = _tag(answer.DESCRIPTOR, field)
        for file in several:
            parts += (tag + _varint(len(file)), file)
    return b"".join(parts)


@functools.cache
def _tag(message: Descriptor, field: str) -> bytes:
    return _varint(message.fields_by_name[field].number << 3 | _BYTES)


def _varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; all but the last have the highest bit set."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
