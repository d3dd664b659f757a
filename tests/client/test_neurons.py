"""Both clients ask an autoencoder; images of any size can be brought to the model's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mintage.client import AsyncClient, Client, Neuron
from mintage.errors import InputError, InvalidRequest, NotFound
from mintage.pictures import fitted
from PIL import Image

from tests.client.fakes import world_in_a_thread
from tests.support.formula import pixels, put
from tests.support.model_server import FakeModelServer
from tests.support.world import run, until, world

LEVELS = np.repeat(np.array([200, 10, 120], np.uint8), 48).reshape(3, 8, 6, 1)


def with_mind(models: FakeModelServer) -> None:
    put(models.archives, "mind", "neurons")


def check_answers(found: dict[str, Any]) -> None:
    assert [concept.name for concept in found["concepts"]] == ["dark", "light"]
    assert found["detections"].concepts == ("light",)
    assert found["detections"].activations.tolist() == [[200], [10], [120]]
    assert found["detections"].detected.tolist() == [[True], [False], [True]]
    assert found["top"].indices.tolist() == [1, 2]
    assert (found["best"].image == pixels(3, 1)).all()
    assert found["best"].activation == -5
    assert found["activations"].tolist() == [[204, 200], [14, 10], [124, 120]]
    assert (found["rebuilt"] == 255 - LEVELS).all()


def test_the_client_asks_neurons(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path, prepare=with_mind) as at, Client(at.address) as client:
        check_answers(
            {
                "concepts": client.list_concepts("mind"),
                "detections": client.detect("mind", LEVELS, concepts=["light"]),
                "top": client.top_stimuli("mind", "dark", LEVELS, count=2),
                "best": client.optimal_stimulus("mind", Neuron(2, 1, -1), seed=3, steps=5),
                "activations": client.activations("mind", LEVELS, stage=1, units=[4, 0]),
                "rebuilt": client.reconstruct("mind", LEVELS),
            }
        )
        with pytest.raises(NotFound, match="it has dark, light") as unknown:
            client.detect("mind", LEVELS, concepts=["cat"])
        assert unknown.value.metadata["concepts"] == "dark,light"
        with pytest.raises(InvalidRequest, match=r"neuron\.unit: must be from 0 to 9"):
            client.top_stimuli("mind", Neuron(2, 10), LEVELS)


def test_the_asynchronous_client_does_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path, prepare=with_mind) as at, AsyncClient(at.address) as client:
            await until(lambda: at.api.registry.entry("mind"))
            check_answers(
                {
                    "concepts": await client.list_concepts("mind"),
                    "detections": await client.detect("mind", LEVELS, concepts=["light"]),
                    "top": await client.top_stimuli("mind", "dark", LEVELS, count=2),
                    "best": await client.optimal_stimulus("mind", Neuron(2, 1, -1), seed=3, steps=5),
                    "activations": await client.activations("mind", LEVELS, stage=1, units=[4, 0]),
                    "rebuilt": await client.reconstruct("mind", LEVELS),
                }
            )

    run(test())


def test_a_photograph_is_cropped_at_its_centre_and_stood_upright(tmp_path: Path) -> None:
    photograph = Image.new("RGB", (300, 100), "red")
    photograph.paste((0, 0, 255), (100, 0, 200, 100))  # the centred square is blue
    photograph.save(tmp_path / "wide.png")
    found = fitted(tmp_path / "wide.png", 10, 10)
    assert (found.size, found.getpixel((5, 5))) == ((10, 10), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    half = Image.new("RGB", (64, 64), "red")
    half.paste((0, 0, 255), (0, 0, 32, 64))
    half.save(tmp_path / "turned.png", exif=exif)
    turned = np.asarray(fitted(tmp_path / "turned.png", 8, 8))
    assert (turned[0, 4].argmax(), turned[7, 4].argmax()) == (2, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_images_of_any_mode_are_fitted(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, (31, 17)).save(path)
    assert fitted(path, 8, 6).size == (6, 8)


def test_a_file_that_is_no_image_cannot_be_fitted(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(InputError, match="is no image that can be read"):
        fitted(tmp_path / "text.png", 8, 6)
