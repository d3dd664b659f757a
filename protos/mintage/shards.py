"""The bytes of a shard on their way to the caller, checked against what the server said that they are."""

from __future__ import annotations

import hashlib

from mintage.errors import Damaged
from mintage.v1 import jobs_pb2


class ShardReader:
    """Takes the parts of a shard in order."""

    def __init__(self) -> None:
        self._header = jobs_pb2.ShardHeader()
        self._hash = hashlib.sha256()
        self._size = 0

    def take(self, part: jobs_pb2.ReadShardResponse) -> bytes:
        """Return the bytes of a part; none of the first."""
        if part.WhichOneof("part") == "header":
            self._header = part.header
            return b""
        self._hash.update(part.data)
        self._size += len(part.data)
        return part.data

    def check(self) -> None:
        """Check the whole.

        Raises:
            Damaged: if size or digest are not those that the server said first.
        """
        if (self._size, self._hash.hexdigest()) != (self._header.size_bytes, self._header.digest):
            name = self._header.file_name or "the shard"
            raise Damaged(f"{name} came with other bytes than its digest {self._header.digest} says; verify the output")
