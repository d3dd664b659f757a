"""Models that jobs need stay in the model server when they are replaced or unloaded, and are let go of afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from service.errors import NotFound
from service.models.loader import Loader
from service.models.reconciler import Reconciler
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.models.retired import RetiredModels
from tests.support.archives import write_archive
from tests.support.model_server import FakeModelServer
from tests.support.world import run


class FakePins:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.names: frozenset[str] | None = frozenset()

    async def needed(self) -> frozenset[str] | None:
        """Backend names that jobs need."""
        return self.names

    def pin(self, *records: ModelRecord) -> None:
        """Let jobs need these, and no others."""
        self.names = frozenset(record.backend_name for record in records)


class Bench:
    """Loader and reconciler over a fake model server and real files, which reconcile when told to."""

    def __init__(self, folder: Path, *, release_after_s: float = 0.0) -> None:
        self.folder, self.models, self.pins = folder, FakeModelServer(folder), FakePins()
        self.registry = Registry(folder)
        self.loader = Loader(self.models, self.registry, response_timeout_s=1, pins=self.pins)
        self.reconciler = Reconciler(
            self.models,
            self.registry,
            self.loader,
            canary_period_s=0.0,
            pins=self.pins,
            release_after_s=release_after_s,
        )

    async def reconcile_once(self) -> None:
        """Reconcile once."""
        await self.reconciler.reconcile_once()
        await self.reconciler.join()

    async def load(self, text: str) -> ModelRecord:
        """Load an archive that holds this text under the name `digits`."""
        write_archive(self.folder / "a.mar", text)
        return await self.loader.load("digits", "a.mar", 1)

    @property
    def loaded(self) -> set[str]:
        """What the model server holds."""
        return set(self.models.models)

    def copies(self) -> set[str]:
        """Digests of the archives that are kept."""
        return {path.stem for path in self.folder.glob("*.mar") if len(path.stem) == 64}


def test_a_replaced_model_stays_while_jobs_need_it(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        old = await bench.load("generator 1")
        bench.pins.pin(old)
        new = await bench.load("generator 2")
        assert bench.registry.ready("digits", "generator") == new
        for _ in range(3):
            await bench.reconcile_once()
            assert bench.loaded == {old.backend_name, new.backend_name}
        bench.models.restart()
        await bench.reconcile_once()
        await bench.reconcile_once()  # one model of a name at a time
        assert bench.loaded == {old.backend_name, new.backend_name}
        assert bench.copies() == {old.digest, new.digest}
        bench.pins.pin()
        await bench.reconcile_once()
        assert bench.loaded == {new.backend_name} and bench.copies() == {new.digest}
        assert RetiredModels(tmp_path).records() == []

    run(test())


def test_an_unloaded_model_is_gone_for_callers_but_not_for_jobs(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        old = await bench.load("generator 1")
        bench.pins.pin(old)
        await bench.loader.unload("digits")
        with pytest.raises(NotFound):
            bench.registry.ready("digits", "generator")
        await bench.reconcile_once()
        assert bench.loaded == {old.backend_name} and bench.registry.entries() == []
        bench.pins.pin()
        await bench.reconcile_once()
        assert bench.loaded == set() == bench.copies()

    run(test())


def test_what_is_not_known_to_be_unneeded_is_kept(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        old = await bench.load("generator 1")
        bench.pins.names = None
        new = await bench.load("generator 2")
        await bench.reconcile_once()
        assert bench.loaded == {old.backend_name, new.backend_name}
        bench.pins.pin()
        await bench.reconcile_once()
        assert bench.loaded == {new.backend_name}

    run(test())


def test_a_model_is_released_only_some_time_after_it_was_needed(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path, release_after_s=3600)
        old = await bench.load("generator 1")
        bench.pins.pin(old)
        new = await bench.load("generator 2")
        bench.pins.pin()
        await bench.reconcile_once()
        assert bench.loaded == {old.backend_name, new.backend_name}

    run(test())


def test_a_retired_model_that_is_loaded_again_goes_on_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        old = await bench.load("generator 1")
        bench.pins.pin(old)
        await bench.load("generator 2")

        async def unregister(server: FakeModelServer, backend_name: str) -> None:
            assert backend_name != old.backend_name, "jobs need it"
            del server.models[backend_name]

        monkeypatch.setattr(FakeModelServer, "unregister", unregister)
        again = await bench.load("generator 1")
        assert again.digest == old.digest and bench.loaded == {old.backend_name}
        assert RetiredModels(tmp_path).records() == [] and bench.copies() == {old.digest}
        bench.pins.pin()
        await bench.reconcile_once()
        assert bench.loaded == {old.backend_name}

    run(test())


def test_a_crash_between_retiring_and_replacing_does_no_harm(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        old = await bench.load("generator 1")
        RetiredModels(tmp_path).write(old)  # and then the server died
        await bench.reconcile_once()
        assert bench.loaded == {old.backend_name} and RetiredModels(tmp_path).records() == []
        assert bench.registry.find("digits") == old

    run(test())


def test_a_damaged_record_is_not_kept(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        old = await bench.load("generator 1")
        RetiredModels(tmp_path).write(old)
        (path,) = (tmp_path / "retired").glob("*.json")
        path.write_text(path.read_text().replace(old.digest, hashlib.sha256(b"other").hexdigest()))
        assert RetiredModels(tmp_path).records() == []

    run(test())
