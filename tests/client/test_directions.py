"""Both clients save and find directions, and invert images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mintage.client import AsyncClient, Client, Inversion
from mintage.errors import AlreadyExists, InputError, InvalidRequest, NotFound
from mintage.v1.latents_pb2 import Direction

from handlers.compute.model import Model, from_run
from tests.client.fakes import in_a_thread
from tests.support.real_models import real_world
from tests.support.world import run
from tests.training.fakes import blobs, small_dcgan_recipe, small_recipe
from training.loop.loop import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A generator, its discriminator, and a classifier of another size."""
    folder = tmp_path_factory.mktemp("runs")
    train(small_dcgan_recipe(), blobs(side=32), folder / "dcgan")
    train(small_recipe(), blobs(side=8), folder / "ssgan")
    torch.set_num_threads(1)
    return {
        "faces": from_run(folder / "dcgan", "generator", CPU, micro_batch=4),
        "critic": from_run(folder / "dcgan", "discriminator", CPU, micro_batch=4),
        "judge": from_run(folder / "ssgan", "classifier", CPU, micro_batch=4),
    }


def check_found(found: dict[str, Any]) -> None:
    assert found["turn"].description == "2 latents against 1" and len(found["turn"].values) == 5
    assert [each.strength for each in found["weights"]] == sorted([e.strength for e in found["weights"]], reverse=True)
    assert len(found["weights"]) == 3
    assert 0.5 < found["towards"].accuracy <= 1
    assert [each.name for each in found["listed"]] == ["me", "turn"]
    assert found["listed"][1].values == found["turn"].values
    last = found["steps"][-1]
    assert last.done and last.step == 160 and not any(each.done for each in found["steps"][:-1])
    assert (last.image == found["image"]).all() and last.image.shape == (32, 32, 1)
    assert last.pixel_error < 2


def test_the_client_finds_saves_and_inverts(tmp_path: Path, networks: dict[str, Model]) -> None:
    with in_a_thread(lambda: real_world(tmp_path, networks)) as at, Client(at.address) as client:
        turn = client.direction_between("faces", ["#1"], ["#2", "#3"], seed=7)
        assert isinstance(client.save_direction("faces", "turn", turn), Direction)
        steps: list[Inversion] = list(client.invert("faces", client.draw("faces", "11#4")[0], starts=2, steps=160))
        client.save_direction("faces", "me", steps[-1].values)
        check_found(
            {
                "turn": turn,
                "weights": client.directions_of_weights("faces", count=3),
                "towards": client.direction_towards("faces", "judge", class_name="block-1", samples=200),
                "listed": client.list_directions("faces"),
                "steps": steps,
                "image": client.draw("faces", "me")[0],
            }
        )
        with pytest.raises(AlreadyExists, match="turn already"):
            client.save_direction("faces", "turn", [0.0] * 5)
        client.save_direction("faces", "turn", [0.0] * 5, replace=True)
        client.delete_direction("faces", "turn")
        with pytest.raises(NotFound, match="no direction turn"):
            client.delete_direction("faces", "turn")
        with pytest.raises(InvalidRequest, match="5 numbers"):
            client.save_direction("faces", "turn", [0.0])
        with pytest.raises(InputError):
            client.invert("faces", [], starts=2**40)


def test_the_asynchronous_client_does_the_same(tmp_path: Path, networks: dict[str, Model]) -> None:
    async def test() -> None:
        async with real_world(tmp_path, networks) as at, AsyncClient(at.address) as client:
            turn = await client.direction_between("faces", ["#1"], ["#2", "#3"], seed=7)
            await client.save_direction("faces", "turn", turn)
            image = await client.draw("faces", "11#4")
            steps = [step async for step in client.invert("faces", image, starts=2, steps=160)]
            await client.save_direction("faces", "me", steps[-1].values)
            check_found(
                {
                    "turn": turn,
                    "weights": await client.directions_of_weights("faces", count=3),
                    "towards": await client.direction_towards("faces", "judge", class_name="block-1", samples=200),
                    "listed": await client.list_directions("faces"),
                    "steps": steps,
                    "image": (await client.draw("faces", "me"))[0],
                }
            )
            await client.delete_direction("faces", "turn")

    run(test())
