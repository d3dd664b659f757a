"""Which models should be loaded, and whether they answer. The record of each is a file beside its archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["generator", "classifier", "neurons"]


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
    recipe: str
    load_time: float

    @property
    def backend_name(self) -> str:
        """Name under which TorchServe holds exactly this digest."""
        return backend_name(self.name, self.digest)


def backend_name(model: str, digest: str) -> str:
    """Name that TorchServe knows a model by: it pins the digest, so a plan can never meet another archive."""
    return f"{model}-{digest[:12]}"
