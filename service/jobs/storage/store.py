"""Where jobs write: `open_store` returns the store that the setting `output_dir` names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from service.jobs.storage.local_store import LocalStore
from service.jobs.storage.output import Output
from service.settings import S3, Settings


class Store(Protocol):
    """The place below which every job has its folder. All methods block; call them from a thread."""

    def output(self, prefix: str, *, existing: bool = False) -> Output:
        """Name a job's folder; `prefix` has been validated: no empty, '.' or '..' segment.

        It is made by the first write, unless it must be an `existing` one: then writing to a deleted job raises
        FileNotFoundError, and the folder does not come back.
        """

    def plan_prefixes(self) -> Iterator[str]:
        """Return the prefixes of all folders that hold a plan, in order."""

    def check_writable(self, prefix: str) -> None:
        """Check, as far as that is possible without writing, that a job's folder can be written.

        Raises:
            OSError: if not.
        """

    def uri(self, prefix: str) -> str:
        """Return the path or URL of a job's folder, to be read by people."""


def open_store(settings: Settings) -> Store:
    """Return the store that jobs write to. It may be kept; opening it makes no request."""
    if settings.outputs.startswith(S3):
        from service.jobs.storage.bucket_store import open_object_store  # noqa: PLC0415 - only those who use it need it

        return open_object_store(settings)
    return LocalStore(Path(settings.outputs))
