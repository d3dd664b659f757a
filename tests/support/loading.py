"""A loader of models to test."""

from __future__ import annotations

from pathlib import Path

from service.models.loader import Loader
from service.models.registry import Registry
from tests.support.archives import digest_of, write_archive
from tests.support.model_server import FakeModelServer


class Bench:
    """A loader over a fake model server and real files."""

    def __init__(self, folder: Path) -> None:
        self.archives = folder
        self.models = FakeModelServer(folder)
        self.registry = Registry(folder)
        self.loader = Loader(self.models, self.registry, response_timeout_s=1)

    def archive(self, name: str, text: str) -> str:
        write_archive(self.archives / name, text)
        return digest_of(text)
