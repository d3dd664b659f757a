"""ModelService over gRPC: pages, loading, unloading, scaling, and what is told of a model in trouble."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from mintage.v1 import models_pb2, models_pb2_grpc

from tests.support.archives import write_archive
from tests.support.formula import put
from tests.support.world import World, failure_of, run, until, world

Model, Change = models_pb2.Model, models_pb2.ModelChange


@contextlib.asynccontextmanager
async def models_at(folder: Path) -> AsyncIterator[tuple[World, Any]]:
    async with world(folder) as at, grpc.aio.insecure_channel(at.address) as channel:
        yield at, models_pb2_grpc.ModelServiceStub(channel)


def test_a_model_is_shown_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub):
            model = (await stub.GetModel(models_pb2.GetModelRequest(name="models/judge"))).model
            record = at.api.registry.find("judge")
        assert (model.name, model.digest, model.archive) == ("models/judge", record.digest, "judge.mar")
        assert (model.kind, model.state, model.message) == (Model.KIND_CLASSIFIER, Model.STATE_READY, "")
        assert (model.shape.height, model.shape.width, model.shape.channels) == (8, 6, 1)
        assert list(model.classes) == ["nought", "one", "two"]
        assert (model.latent_size, model.micro_batch, model.workers) == (0, 4, 1)
        assert (model.device_class, model.torch_version, model.recipe) == ("cpu", "2.13.0", "improved-gan")
        assert (model.numerics, model.precision) == (1, "float32")

    run(test())


def test_pages_cover_every_model_once_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub):
            for number in range(5):
                put(at.settings.archives, f"more-{number}", "generator")
            names, token = [], ""
            while True:
                page = await stub.ListModels(models_pb2.ListModelsRequest(page_size=3, page_token=token))
                names += [model.name for model in page.models]
                token = page.next_page_token
                if not token:
                    break
            assert names == ["models/digits", "models/judge", *(f"models/more-{number}" for number in range(5))]
            everything = await stub.ListModels(models_pb2.ListModelsRequest(page_size=100_000))
            assert len(everything.models) == 7

    run(test())


@pytest.mark.parametrize("token", ["x", "====", "bW9kZWxzLw==", "\u00e4", "bm90aGluZw=="])
def test_a_strange_page_token_and_a_negative_size_are_refused(tmp_path: Path, token: str) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (_, stub):
            failure = await failure_of(stub.ListModels(models_pb2.ListModelsRequest(page_size=-1, page_token=token)))
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.fields == ["page_size", "page_token"]

    run(test())


def test_load_scale_and_unload(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub):
            write_archive(at.settings.archives / "new.mar", "classifier new")
            load = models_pb2.LoadModelRequest(name="models/new", archive="new.mar", workers=2)
            loaded = (await stub.LoadModel(load)).model
            assert (loaded.state, loaded.workers, loaded.archive) == (Model.STATE_READY, 2, "new.mar")
            assert loaded.load_time.seconds > 0
            scaled = (await stub.ScaleModel(models_pb2.ScaleModelRequest(name="models/new", workers=3))).model
            assert scaled.workers == 3
            assert scaled.load_time == loaded.load_time
            await stub.UnloadModel(models_pb2.UnloadModelRequest(name="models/new"))
            for call in (
                stub.GetModel(models_pb2.GetModelRequest(name="models/new")),
                stub.UnloadModel(models_pb2.UnloadModelRequest(name="models/new")),
                stub.ScaleModel(models_pb2.ScaleModelRequest(name="models/new", workers=1)),
            ):
                assert (await failure_of(call)).code is grpc.StatusCode.NOT_FOUND

    run(test())


def test_a_load_that_fails_says_why(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub):
            write_archive(at.settings.archives / "bad.mar", "broken")
            failed = await failure_of(stub.LoadModel(models_pb2.LoadModelRequest(name="models/bad", archive="bad.mar")))
            assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
            assert "its weights are damaged" in failed.message
            missing = await failure_of(stub.LoadModel(models_pb2.LoadModelRequest(name="models/x", archive="no.mar")))
            assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "ARCHIVE_NOT_FOUND")

    run(test())


@pytest.mark.parametrize(
    "archive", ["", "../x.mar", "/etc/x.mar", "a/b.mar", "x.zip", "x.mar\n", "x\x00.mar", ".x.mar"]
)
def test_every_wrong_field_of_a_load_is_named(tmp_path: Path, archive: str) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (_, stub):
            request = models_pb2.LoadModelRequest(name="models/X", archive=archive, workers=65)
            failure = await failure_of(stub.LoadModel(request))
            assert failure.fields == ["name", "archive", "workers"]
            scale = await failure_of(stub.ScaleModel(models_pb2.ScaleModelRequest(name="x", workers=0)))
            assert scale.fields == ["name", "workers"]

    run(test())


def test_a_damaged_record_is_shown_and_can_be_unloaded(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub):
            (at.settings.archives / "loaded" / "judge.json").write_text("{")
            model = (await stub.GetModel(models_pb2.GetModelRequest(name="models/judge"))).model
            assert model.state == Model.STATE_FAILED
            assert "damaged" in model.message
            await stub.UnloadModel(models_pb2.UnloadModelRequest(name="models/judge"))
            await at.api.reconciler.reconcile_once()
            await at.api.reconciler.join()
            assert [name for name in at.models.models if name.startswith("judge")] == []

    run(test())


async def watched(stub: Any, name: str) -> list[models_pb2.Model]:
    """What a watch says of a model."""
    return [answer.model async for answer in stub.WatchModel(models_pb2.WatchModelRequest(name=name))]


def test_a_load_that_began_is_found_watched_and_listed_by_anybody(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub), grpc.aio.insecure_channel(at.address) as another:
            other = models_pb2_grpc.ModelServiceStub(another)
            write_archive(at.settings.archives / "new.mar", "classifier new")
            at.models.proofs.clear()
            load = models_pb2.LoadModelRequest(name="models/new", archive="new.mar", return_immediately=True)
            begun = (await stub.LoadModel(load)).model
            assert (begun.state, begun.digest, begun.change.archive) == (Model.STATE_LOADING, "", "new.mar")
            watch = asyncio.create_task(watched(other, "models/new"))
            await until(lambda: len(at.models.models) == 3)
            listed = (await other.ListModels(models_pb2.ListModelsRequest())).models
            assert [model.name for model in listed] == ["models/digits", "models/judge", "models/new"]
            assert (await other.GetModel(models_pb2.GetModelRequest(name="models/new"))).model.name == "models/new"
            assert not watch.done()
            at.models.proofs.set()
            *_, last = await watch
            assert (last.state, last.change.stage) == (Model.STATE_READY, Change.STAGE_SUCCEEDED)
            assert last.change.end_time.seconds >= last.change.start_time.seconds > 0
            scale = models_pb2.ScaleModelRequest(name="models/new", workers=3, return_immediately=True)
            await stub.ScaleModel(scale)
            *_, last = await watched(other, "models/new")
            assert (last.workers, last.change.archive, last.change.workers) == (3, "", 3)

    run(test())


def test_a_caller_whose_deadline_passed_finds_the_load_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub):
            write_archive(at.settings.archives / "new.mar", "classifier new")
            at.models.proofs.clear()
            load = models_pb2.LoadModelRequest(name="models/new", archive="new.mar")
            assert (await failure_of(stub.LoadModel(load, timeout=0.5))).code is grpc.StatusCode.DEADLINE_EXCEEDED
            watch = asyncio.create_task(watched(stub, "models/new"))
            await until(lambda: len(at.models.models) == 3)
            at.models.proofs.set()
            assert (await watch)[-1].state == Model.STATE_READY

    run(test())


def test_a_watch_tells_why_a_first_load_failed_and_the_model_is_still_not_loaded(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (at, stub):
            write_archive(at.settings.archives / "bad.mar", "broken")
            load = models_pb2.LoadModelRequest(name="models/bad", archive="bad.mar", return_immediately=True)
            await stub.LoadModel(load)
            *_, last = await watched(stub, "models/bad")
            assert (last.state, last.message) == (Model.STATE_FAILED, "its weights are damaged")
            assert last.change.stage == Change.STAGE_FAILED
            assert last.change.error_code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
            assert (last.change.error_reason, last.change.error_message) == ("MODEL_REFUSED", last.message)
            for name, call in (
                ("bad", stub.GetModel(models_pb2.GetModelRequest(name="models/bad"))),
                ("nobody", watched(stub, "models/nobody")),
            ):
                failure = await failure_of(call)
                assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"), name
            names = [model.name for model in (await stub.ListModels(models_pb2.ListModelsRequest())).models]
            assert names == ["models/digits", "models/judge"]

    run(test())


def test_a_watch_of_a_model_that_nobody_changes_ends_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with models_at(tmp_path) as (_, stub):
            [model] = await watched(stub, "models/digits")
            assert model.state == Model.STATE_READY and not model.HasField("change")

    run(test())
