"""Both clients explain units, find feature maps, and draw without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mintage.client import AsyncClient, Box, Client, FeatureMap, Neuron
from mintage.errors import InputError, InvalidRequest, NotPossible

from tests.client.fakes import world_in_a_thread
from tests.support.formula import pixels, put
from tests.support.model_server import FakeModelServer
from tests.support.world import run, until, world

LEVELS = np.repeat(np.array([200, 10, 120], np.uint8), 48).reshape(3, 8, 6, 1)
BOXES = [Box(index, 2, 0, 2, 8) for index in range(10)]


def with_explained(models: FakeModelServer) -> None:
    put(models.archives, "mind", "neurons")
    put(models.archives, "critic", "discriminator")


def check_answers(found: dict[str, Any]) -> None:
    assert np.array_equal(found["real"].gradients, LEVELS.astype(np.float32))
    assert found["real"].activations.tolist() == [200, 10, 120]
    assert np.array_equal(found["random"].gradients, -LEVELS.astype(np.float32))
    assert found["neuron"].gradients.shape == LEVELS.shape
    [(each, strongest)] = found["patches"].items()
    assert each == FeatureMap(2, 3)
    assert [patch.activation for patch in strongest] == [600, 360]
    assert strongest[0].box == Box(0, 3, 0, 2, 8)
    assert (found["maps"].layer, found["maps"].drawing, found["maps"].accuracy) == (2, [1], 1.0)
    assert np.array_equal(found["without"], 255 - pixels(0, 3)[None])


def test_the_client_explains(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path, prepare=with_explained) as at, Client(at.address) as client:
        check_answers(
            {
                "real": client.guided_backprop("critic", LEVELS),
                "random": client.guided_backprop("judge", LEVELS, class_name="two", random_weights=True),
                "neuron": client.guided_backprop("mind", LEVELS, unit=Neuron(1, 3, -1)),
                "patches": client.top_patches("critic", LEVELS, layer=2, maps=[3], count=2),
                "maps": client.find_feature_maps("digits", "#0:9:10", BOXES),
                "without": client.draw("digits", "#3", drop={2: [1]}),
            }
        )
        with pytest.raises(InvalidRequest, match=r"feature_map\.layer: must be from 1 to 2"):
            client.guided_backprop("critic", LEVELS, unit=FeatureMap(3, 0))
        with pytest.raises(NotPossible, match="is of kind generator"):
            client.guided_backprop("digits", LEVELS)
        with pytest.raises(InputError, match="a class or a unit"):
            client.guided_backprop("judge", LEVELS, class_name="two", unit="dark")


def test_the_asynchronous_client_does_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path, prepare=with_explained) as at, AsyncClient(at.address) as client:
            await until(lambda: at.api.registry.entry("critic"))
            check_answers(
                {
                    "real": await client.guided_backprop("critic", LEVELS),
                    "random": await client.guided_backprop("judge", LEVELS, class_name="two", random_weights=True),
                    "neuron": await client.guided_backprop("mind", LEVELS, unit="dark"),
                    "patches": await client.top_patches("critic", LEVELS, layer=2, maps=[3], count=2),
                    "maps": await client.find_feature_maps("digits", "#0:9:10", BOXES),
                    "without": await client.draw("digits", "#3", keep={2: [0, 2]}),
                }
            )

    run(test())
