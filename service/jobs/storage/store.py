"""Where jobs write: `open_store` gives what the setting `output_dir` names."""

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

        It is made when something is written, unless it must be an `existing` one: then whoever writes to a job that was
        deleted gets FileNotFoundError, and nothing comes back.
        """

    def plan_prefixes(self) -> Iterator[str]:
        """Return the prefixes of all folders that hold a plan, in order."""

    def check_writable(self, prefix: str) -> None:
        """Find out, as far as it can be without writing, whether a job's folder could be written.

        Raises:
            OSError: if not.
        """

    def uri(self, prefix: str) -> str:
        """Return where a job's folder is, for people: a path or URL."""


def open_store(settings: Settings) -> Store:
    """Return the store that jobs write to. It may be kept; opening it asks nobody anything."""
    if settings.outputs.startswith(S3):
        from service.jobs.storage.bucket_store import open_object_store  # noqa: PLC0415 - only those who use it need it

        return open_object_store(settings)
    return LocalStore(Path(settings.outputs))
