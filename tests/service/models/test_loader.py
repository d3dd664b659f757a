"""Loading: proven before it is recorded, replaced only by what works, nothing half-loaded left."""

import asyncio
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import FailedPrecondition, Internal, NotFound, Unavailable
from service.models.loader import Loader
from service.models.registry import Registry
from tests.support.archives import text_of
from tests.support.loading import Bench
from tests.support.model_server import FakeModelServer
from tests.support.world import run, until


def test_a_load_registers_proves_and_records(bench: Bench) -> None:
    digest = bench.archive("a.mar", "generator 1")
    record = run(bench.loader.load("digits", "a.mar", 2))
    assert record.digest == digest
    assert bench.models.workers == {f"digits-{digest[:12]}": 2}
    assert Registry(bench.archives).find("digits") == record
    assert bench.registry.ready("digits", "generator") == record


def test_loading_the_same_digest_again_changes_nothing(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        first = await bench.loader.load("digits", "a.mar", 1)
        assert await bench.loader.load("digits", "a.mar", 3) == first
        bench.models.restart()
        assert await bench.loader.load("digits", "a.mar", 3) == first
        assert list(bench.models.models) == [first.backend_name]

    run(test())


@pytest.mark.parametrize(
    "serving", ['{"kind": "generator", "micro_batch": 64}', '{"format": 3}', '{"format": 3, "numerics": 2}', "[2]"]
)
def test_an_archive_of_another_version_is_refused_with_what_to_do(bench: Bench, serving: str) -> None:
    with zipfile.ZipFile(bench.archives / "old.mar", "w") as archive:
        archive.writestr("serving.json", serving)
    with pytest.raises(FailedPrecondition, match="pack it again with `mintage pack`") as caught:
        run(bench.loader.load("digits", "old.mar", 1))
    assert caught.value.reason == "ARCHIVE_FORMAT"
    assert not bench.models.models and not list(bench.archives.glob("?" * 64 + ".mar"))


def test_another_digest_replaces_the_old_one_after_it_has_proven_itself(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")
    bench.archive("b.mar", "generator 2")

    async def test() -> None:
        old = await bench.loader.load("digits", "a.mar", 1)
        bench.models.proofs.clear()
        loading = asyncio.create_task(bench.loader.load("digits", "b.mar", 1))
        await until(lambda: len(bench.models.models) == 2)
        assert bench.registry.ready("digits", "generator") == old
        bench.models.proofs.set()
        new = await loading
        assert bench.registry.ready("digits", "generator") == new
        assert list(bench.models.models) == [new.backend_name]

    run(test())


def test_a_broken_archive_leaves_the_old_model_and_nothing_else(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")
    bench.archive("b.mar", "broken")

    async def test() -> None:
        old = await bench.loader.load("digits", "a.mar", 1)
        with pytest.raises(FailedPrecondition, match="its weights are damaged"):
            await bench.loader.load("digits", "b.mar", 1)
        assert bench.registry.ready("digits", "generator") == old
        assert list(bench.models.models) == [old.backend_name]

    run(test())


def test_an_archive_whose_forward_pass_is_unsound_is_refused(bench: Bench) -> None:
    bench.archive("a.mar", "generator")
    bench.models.failure = Internal("the result is not finite")
    with pytest.raises(FailedPrecondition, match=r"a\.mar cannot be served: the result is not finite"):
        run(bench.loader.load("digits", "a.mar", 1))
    assert (bench.models.models, bench.registry.names()) == ({}, [])


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with a little space, which a file of 1 MB does not find."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine allows no mounts")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("reserves", [True, False], ids=["reserving", "without fallocate"])
def test_a_load_on_a_full_disk_says_so_and_leaves_no_file(
    full_disk: Path, reserves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reserves:  # as on macOS
        monkeypatch.delattr("os.posix_fallocate", raising=False)
    bench = Bench(full_disk)
    digest = bench.archive("a.mar", "generator 1")
    left = shutil.disk_usage(full_disk).free
    (full_disk / "ballast").write_bytes(bytes(left))
    before = sorted(full_disk.rglob("*"))
    with pytest.raises(OSError, match="No space left on device"):
        run(bench.loader.load("digits", "a.mar", 1))
    change = bench.loader.changes.last("digits")
    assert change is not None and (change.stage, change.error_reason) == ("failed", "NO_SPACE")
    assert [path for path in sorted(full_disk.rglob("*")) if path.is_file()] == [p for p in before if p.is_file()]
    (full_disk / "ballast").unlink()
    assert run(bench.loader.load("digits", "a.mar", 1)).digest == digest


def test_a_worker_that_dies_with_its_first_request_is_the_archives_fault(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")
    bench.models.failure = Unavailable("a worker died with this request", reason="WORKER_DIED")
    with pytest.raises(FailedPrecondition, match=r"a\.mar cannot be served: its worker died") as caught:
        run(bench.loader.load("digits", "a.mar", 1))
    assert caught.value.reason == "ARCHIVE_UNFIT"
    assert not bench.models.models
    bench.models.failure = Unavailable("no worker now", reason="NO_WORKER")
    with pytest.raises(Unavailable):
        run(bench.loader.load("digits", "a.mar", 1))


def test_a_handler_that_fails_at_its_first_request_is_the_archives_fault(bench: Bench) -> None:
    bench.archive("a.mar", "failing")
    with pytest.raises(FailedPrecondition, match=r"a\.mar cannot be served: its handler failed") as caught:
        run(bench.loader.load("digits", "a.mar", 1))
    assert caught.value.reason == "ARCHIVE_UNFIT"
    assert not bench.models.models


def test_a_dead_model_server_is_unavailable_and_an_unknown_archive_is_not_found(bench: Bench) -> None:
    bench.archive("a.mar", "generator")
    bench.models.dead = True
    with pytest.raises(Unavailable):
        run(bench.loader.load("digits", "a.mar", 1))
    with pytest.raises(NotFound):
        run(bench.loader.load("digits", "b.mar", 1))


def test_an_archive_that_changes_while_it_is_loaded_changes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = bench.archive("a.mar", "generator 1")
    register = FakeModelServer.register

    async def swap(server: FakeModelServer, archive: str, *args: object, **kwargs: object) -> None:
        bench.archive("a.mar", "generator 2")
        await register(server, archive, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeModelServer, "register", swap)
    record = run(bench.loader.load("digits", "a.mar", 1))
    assert (record.archive, record.digest) == ("a.mar", digest)
    assert text_of(bench.archives / f"{digest}.mar") == "generator 1"


def test_a_load_whose_record_cannot_be_written_is_undone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.archive("a.mar", "generator 1")

    def full(_: object) -> None:
        raise FailedPrecondition("the record cannot be written")

    monkeypatch.setattr(bench.registry, "write", full)
    with pytest.raises(FailedPrecondition, match="cannot be written"):
        run(bench.loader.load("digits", "a.mar", 1))
    assert bench.models.models == {}


def test_a_load_goes_on_when_its_caller_leaves(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        bench.models.proofs.clear()
        task = asyncio.create_task(bench.loader.load("digits", "a.mar", 1))
        await until(lambda: bench.models.models)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        bench.models.proofs.set()
        await until(lambda: bench.registry.names() == ["digits"])

    run(test())


def test_a_load_that_is_broken_off_by_the_end_of_the_process_leaves_nothing(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")

    async def test() -> None:
        bench.models.proofs.clear()
        task = asyncio.create_task(bench.loader.load("digits", "a.mar", 1))
        await until(lambda: bench.models.models)
        await bench.loader.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (bench.models.models, bench.registry.names()) == ({}, [])

    run(test())


def test_two_processes_that_load_at_once_do_no_harm(bench: Bench) -> None:
    bench.archive("a.mar", "generator 1")
    bench.archive("b.mar", "generator 2")
    other = Loader(bench.models, Registry(bench.archives), response_timeout_s=1)

    async def test() -> None:
        loaded = await asyncio.gather(
            bench.loader.load("digits", "a.mar", 1),
            other.load("digits", "b.mar", 1),
            bench.loader.load("digits", "b.mar", 1),
            other.load("digits", "a.mar", 1),
        )
        assert len(loaded) == 4
        assert list(bench.models.models) == [bench.registry.find("digits").backend_name]

    run(test())
