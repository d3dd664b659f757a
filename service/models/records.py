"""What is recorded of a model that should be loaded, and the file that it is read from and written to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from service.backend.protocol.description import Kind
from service.backend.protocol.neurons import Concept, UnitShape
from service.errors import NO_SPACE, FailedPrecondition, ResourceExhausted
from service.models.durable_files import write_whole
from service.validation import ARCHIVE

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model that should be loaded, as it described itself when it was.

    `digest` is the sha256 of the archive in hexadecimal; `load_time` counts seconds since 1970.
    """

    name: str
    digest: str
    archive: str
    workers: int
    kind: Kind
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    latent_size: int
    micro_batch: int
    device_class: str
    torch_version: str
    numerics: int
    precision: str
    recipe: str
    load_time: float
    stages: tuple[UnitShape, ...] = ()
    concepts: tuple[Concept, ...] = ()
    features: int = 0  # of an image; 0 if there are none, and in records of versions that did not ask
    batch_sizes: tuple[int, ...] = ()  # proven; none if an image's bits depend on others
    run_digest: str = ""  # of the run that it was packed from: a generator and its discriminator have the same
    layers: tuple[UnitShape, ...] = ()

    @property
    def backend_name(self) -> str:
        """Name under which TorchServe holds exactly this digest."""
        return backend_name(self.name, self.digest)


def backend_name(model: str, digest: str) -> str:
    """Name that TorchServe knows a model by: it pins the digest, so a plan can never meet another archive."""
    return f"{model}-{digest[:12]}"


_RECORD = TypeAdapter(ModelRecord)


def write_record(path: Path, record: ModelRecord) -> None:
    """Write a record whole, durably, over the one that was there.

    Raises:
        FailedPrecondition: if the file cannot be written.
    """
    try:
        write_whole(path, _RECORD.dump_json(record, indent=2))
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ResourceExhausted(f"no space for the record of models/{record.name}", reason="NO_SPACE") from error
        text = f"the record of models/{record.name} cannot be written: {error.strerror}"
        raise FailedPrecondition(text, reason="RECORD_NOT_WRITTEN") from error


def read_record(name: str, path: Path) -> ModelRecord | None:
    """Read a record; one that cannot be read counts as damaged."""
    try:
        return parse_record(name, path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        log.error("damaged model record", model=name, problems=[str(error)])
        return None


def parse_record(name: str, text: bytes) -> ModelRecord | None:
    """Read a record; anything that is not exactly a record of that name counts as damaged, and gives None."""
    try:
        record = _RECORD.validate_json(text, strict=True)
    except ValidationError as error:
        log.error("damaged model record", model=name, problems=[problem["msg"] for problem in error.errors()])
        return None
    numbers = (record.workers, record.height, record.width, record.channels, record.micro_batch)
    sound = record.name == name and _DIGEST.fullmatch(record.digest) and ARCHIVE.fullmatch(record.archive)
    if not sound or min(numbers) < 1 or min(record.latent_size, record.features) < 0:
        log.error("damaged model record", model=name, problems=["a field has an impossible value"])
        return None
    return record
