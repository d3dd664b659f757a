"""Clients say who they are, by a name that the server takes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from mintage.client import AsyncClient, Client
from mintage.errors import InputError
from mintage.v1 import models_pb2

from tests.client.answers import MODEL
from tests.client.fakes import Script
from tests.support.world import run


def test_a_client_says_who_it_is_if_it_has_a_name(script: Script) -> None:
    names: list[str] = []

    def note(_: Any, context: grpc.ServicerContext) -> models_pb2.GetModelResponse:
        names.append(dict(context.invocation_metadata()).get("mintage-client", ""))
        return MODEL

    script.then(note, note, note)
    with Client(script.address, name="ci@lab-1") as client:
        client.model("a")
    with Client(script.address) as client:
        client.model("a")

    async def test() -> None:
        async with AsyncClient(script.address, name="other") as client:
            await client.model("a")

    run(test())
    assert names == ["ci@lab-1", "", "other"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", ["a b", "ä", "x" * 65, "a\n"])
def test_a_name_that_the_server_would_not_take_is_refused_at_once(kind: Any, name: str) -> None:
    with pytest.raises(InputError):
        kind("127.0.0.1:1", name=name)
