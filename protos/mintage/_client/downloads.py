"""The bytes of a job's files on their way to the caller, checked against the digest that the server announced."""

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


class FileReader:
    """Takes the parts of a file beside the shards, in order."""

    def __init__(self) -> None:
        self._file = jobs_pb2.JobFile()
        self._hash = hashlib.sha256()
        self._digest = ""

    def take(self, part: jobs_pb2.ReadJobFileResponse) -> bytes:
        """Return the bytes of a part; none of the first and the last."""
        self._hash.update(part.data)
        self._file = part.file if part.WhichOneof("part") == "file" else self._file
        self._digest = part.digest or self._digest
        return part.data

    def check(self) -> None:
        """Check the whole.

        Raises:
            Damaged: if the bytes are not those that the server read, or the end is missing.
        """
        if self._hash.hexdigest() != self._digest:
            raise Damaged(f"{self._file.name or 'the file'} came damaged; read it again")
