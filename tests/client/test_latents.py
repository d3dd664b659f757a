"""Both clients draw formulas and walk through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mintage import latents
from mintage.client import AsyncClient, Client
from mintage.errors import InputError, InvalidRequest
from mintage.formulas import FormulaError, text_of

from tests.client.fakes import world_in_a_thread
from tests.support.formula import pixels
from tests.support.world import run, world


def test_draw_takes_texts_and_messages(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        images = client.draw("digits", ["#3", latents.sample(9, 4), "#5:6:2"], seed=7)
        assert (images == np.stack([pixels(*sample) for sample in ((7, 3), (9, 4), (7, 5), (7, 6))])).all()
        assert (client.draw("digits", "#3", seed=7) == images[:1]).all()
        assert (np.asarray(client.draw_pil("digits", latents.sample(9, 4))[0]) == images[1, :, :, 0]).all()


def test_walk_yields_frames_with_their_formulas_and_distances(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        parts = list(client.walk("digits", "7#0:2:3", frames_per_leg=50, linear=True))
        assert [(part.first_frame, part.total, len(part.images)) for part in parts] == [(0, 101, 64), (64, 101, 37)]
        whole = [latent for part in parts for latent in part.latents]
        assert text_of(whole[25]) == "lerp(7#0, 7#1, 0.5)" and text_of(whole[50]) == "7#1"
        assert (client.draw("digits", whole) == np.concatenate([part.images for part in parts])).all()
        assert parts[0].distances[0] == 0 and (np.concatenate([part.distances for part in parts])[1:] > 0).all()
        [closed] = client.walk("digits", ["#0", "#1"], frames_per_leg=2, closed=True)
        assert closed.total == 4


def test_what_is_wrong_is_told_by_column_and_by_path(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        with pytest.raises(FormulaError, match="column 4: expected"):
            client.draw("digits", "#1 #2")
        with pytest.raises(InputError):
            client.walk("digits", ["#1", "#2"], frames_per_leg=2**40)
        with pytest.raises(InvalidRequest) as failure:
            client.draw("digits", "#1 + turn")
        assert [violation.field for violation in failure.value.violations] == [
            "latents[0].sum.terms[1].latent.direction"
        ]


def test_the_asynchronous_client_does_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, AsyncClient(at.address) as client:
            images = await client.draw("digits", "#3", seed=7)
            assert (images[0] == pixels(7, 3)).all()
            parts = [part async for part in client.walk("digits", ["#3", "#4"], frames_per_leg=2, seed=7)]
            assert (parts[0].images[0] == images[0]).all() and len(parts[0].images) == 3

    run(test())
