"""The records of retired models: replaced or unloaded, but still needed by unfinished jobs."""

from __future__ import annotations

from pathlib import Path

from service.models.durable_files import sync_folder
from service.models.records import ModelRecord, parse_record, write_record


class RetiredModels:
    """The records below one archive folder, shared by every API process."""

    def __init__(self, archives: Path) -> None:
        self._folder = archives / "retired"

    def records(self) -> list[ModelRecord]:
        """All records in order of the backend names, without damaged ones."""
        found = (self._read(path) for path in sorted(self._folder.glob("*.json")))
        return [record for record in found if record is not None]

    def find(self, backend_name: str) -> ModelRecord | None:
        """The record of a backend name, if there is one."""
        return self._read(self._folder / f"{backend_name}.json")

    def write(self, record: ModelRecord) -> None:
        """Keep a record, durably.

        Raises:
            FailedPrecondition: if the file cannot be written.
        """
        write_record(self._folder / f"{record.backend_name}.json", record)

    def remove(self, record: ModelRecord) -> None:
        """Remove a record, if it is there."""
        path = self._folder / f"{record.backend_name}.json"
        if path.exists():
            path.unlink(missing_ok=True)
            sync_folder(self._folder)

    def _read(self, path: Path) -> ModelRecord | None:
        try:
            text = path.read_bytes()
        except OSError:  # there is none, or it cannot be read
            return None
        record = parse_record(path.stem.rpartition("-")[0], text)
        return record if record is not None and record.backend_name == path.stem else None
