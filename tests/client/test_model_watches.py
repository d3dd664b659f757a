"""Both clients follow a load that somebody began, across a server that goes away, and tell how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from mintage.client import AsyncClient, Client, change_error
from mintage.errors import NotPossible
from mintage.retries import Retries
from mintage.v1 import models_pb2

from tests.client.fakes import Script, Step, world_in_a_thread
from tests.support.archives import write_archive
from tests.support.world import run, world

Model, Change = models_pb2.Model, models_pb2.ModelChange
QUICK = Retries(attempts=3, first_pause_s=0.01, max_pause_s=0.02, restart_attempts=3)


def says(*stages: models_pb2.ModelChange.Stage.ValueType, breaks: bool = False) -> Step:
    """Stream a model in these stages of its load; then perhaps fail."""

    def step(_: Any, context: grpc.ServicerContext) -> Iterator[models_pb2.WatchModelResponse]:
        for stage in stages:
            change = Change(stage=stage)
            if stage == Change.STAGE_SUCCEEDED:
                change.end_time.seconds = 1
            state = Model.STATE_READY if change.HasField("end_time") else Model.STATE_LOADING
            yield models_pb2.WatchModelResponse(model=Model(name="models/new", state=state, change=change))
        if breaks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarts")

    return step


def test_a_watch_goes_on_where_the_server_went_away_and_ends_with_the_load() -> None:
    with Script().served() as script, Client(script.address, retries=QUICK) as client:
        script.then(
            says(Change.STAGE_COPYING, breaks=True),
            says(Change.STAGE_PROVING, breaks=True),
            says(Change.STAGE_ANSWERING, Change.STAGE_SUCCEEDED),
        )
        stages = [model.change.stage for model in client.watch_model("new")]
        assert stages == [Change.STAGE_COPYING, Change.STAGE_PROVING, Change.STAGE_ANSWERING, Change.STAGE_SUCCEEDED]
        assert [request.name for request in script.requests] == ["models/new"] * 3


def test_a_load_is_begun_and_watched(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        write_archive(at.settings.archives / "new.mar", "classifier new")
        assert client.begin_load("new", "new.mar", workers=2).change.archive == "new.mar"
        *_, model = client.watch_model("models/new")
        assert (model.state, model.workers, change_error(model.change)) == (Model.STATE_READY, 2, None)
        client.begin_scale("new", 3)
        *_, model = client.watch_model("new")
        assert model.workers == 3


def test_a_load_that_failed_is_told_as_load_model_tells_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, AsyncClient(at.address) as client:
            write_archive(at.settings.archives / "bad.mar", "broken")
            await client.begin_load("bad", "bad.mar")
            seen = [model async for model in client.watch_model("bad")]
            error = change_error(seen[-1].change)
            assert isinstance(error, NotPossible)
            assert (error.reason, error.message) == ("MODEL_REFUSED", "its weights are damaged")

    run(test())
