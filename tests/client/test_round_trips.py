"""Both clients against the real API over fakes."""

import asyncio
import io
from pathlib import Path

import grpc
import numpy as np
import pytest
from mintage.client import AsyncClient, Client, to_pil
from mintage.errors import ApiError, InputError, InvalidRequest, NotFound, NotPossible
from mintage.pictures import Picture, Pictures
from PIL import Image

from tests.client.fakes import world_in_a_thread
from tests.support.archives import write_archive
from tests.support.formula import pixels
from tests.support.world import run, world

EXPECTED = np.stack([pixels(2**64 - 1, index) for index in range(3, 8)])
LEVELS = np.repeat(np.array([0, 100, 255], np.uint8), 48).reshape(3, 8, 6, 1)


def test_generate_gives_an_array_that_may_be_written(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        images = client.generate("digits", 5, seed=2**64 - 1, first_index=3)
        assert (images == EXPECTED).all()
        assert (str(images.dtype), images.shape) == ("uint8", (5, 8, 6, 1))
        images[:] = 0
        assert (client.generate("models/digits", 5, seed=2**64 - 1, first_index=3) == EXPECTED).all()
        pictures = client.generate_pil("digits", 2, seed=2**64 - 1, first_index=3)
        assert [picture.mode for picture in pictures] == ["L", "L"]
        assert (np.asarray(pictures[1]) == EXPECTED[1, :, :, 0]).all()


def test_classify_takes_arrays_pictures_paths_and_bytes(tmp_path: Path) -> None:
    pictures = to_pil(LEVELS)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    file = io.BytesIO()
    pictures[2].save(file, "PNG")
    mixed: list[Picture] = [pictures[0], str(paths[1]), file.getvalue()]

    with world_in_a_thread(tmp_path / "state") as at, Client(at.address) as client:
        several: list[Pictures] = [LEVELS, pictures, paths, mixed, iter(mixed)]
        for images in several:
            said = client.classify("judge", images)
            assert said.labels == ["nought", "one", "two"]
            assert said.best.tolist() == [0, 1, 2]
            assert said.probabilities.tolist() == np.eye(3).tolist()
            assert said.generated is not None
            assert said.generated.tolist() == pytest.approx([0, 100 / 255, 1])
            assert (said.model, said.classes, len(said.digest)) == ("models/judge", ("nought", "one", "two"), 64)
        assert client.classify("judge", paths[2]).labels == ["two"]
        assert client.classify("judge", pictures[2]).labels == ["two"]


def test_wrong_arguments_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(InputError, match=r"uint8 \[N, H, W, C\], not float64 \[2, 2\]"):
            client.classify("judge", np.zeros((2, 2)))
        with pytest.raises(InputError, match="not int"):
            client.classify("judge", [3])  # type: ignore[list-item]
        with pytest.raises(InputError):
            client.generate("digits", 1, seed=-1)
        with pytest.raises(InputError):
            client.generate("digits", 2**40)
        with pytest.raises(FileNotFoundError):
            client.classify("judge", tmp_path / "nothing.png")


def test_errors_say_everything_that_the_server_said(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        with pytest.raises(InvalidRequest) as wrong:
            client.generate("../x", 0)
        assert [violation.field for violation in wrong.value.violations] == ["model", "count"]
        assert wrong.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert (wrong.value.reason, wrong.value.retry_after_s) == ("INVALID_FIELDS", None)
        assert len(wrong.value.request_id) == 16
        with pytest.raises(InvalidRequest, match=r"encoded\.files\[1\]: is no PNG"):
            client.classify("judge", [Image.new("L", (6, 8)), b"text"])
        with pytest.raises(NotFound, match="models/nobody"):
            client.model("nobody")
        with pytest.raises(NotPossible, match="is of kind classifier"):
            client.generate("judge", 1)
        at.models.failure = RuntimeError("secret")
        with pytest.raises(ApiError, match="internal error, id=") as ours:
            client.generate("digits", 1)
        assert ours.value.metadata["id"] in str(ours.value)


def test_models_are_listed_loaded_scaled_and_unloaded(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        assert [model.name for model in client.models()] == ["models/digits", "models/judge"]
        write_archive(at.settings.archives / "new.mar", "generator new")
        assert client.load_model("new", "new.mar", workers=2).workers == 2
        assert client.scale_model("models/new", 1).workers == 1
        assert client.model("new").archive == "new.mar"
        assert client.health("models/new")
        client.unload_model("new")
        assert [model.name for model in client.models()] == ["models/digits", "models/judge"]
        with pytest.raises(NotFound):
            client.health("models/new")


def test_the_asynchronous_client_does_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, AsyncClient(at.address) as client:
            assert (await client.generate("digits", 5, seed=2**64 - 1, first_index=3) == EXPECTED).all()
            assert len(await client.generate_pil("digits", 2)) == 2
            assert (await client.classify("judge", LEVELS)).labels == ["nought", "one", "two"]
            assert [model.name for model in await client.models()] == ["models/digits", "models/judge"]
            assert (await client.model("digits")).name == "models/digits"
            write_archive(at.settings.archives / "new.mar", "generator new")
            await client.load_model("new", "new.mar")
            await client.scale_model("new", 2)
            assert await client.health("models/new")
            await client.unload_model("new")
            with pytest.raises(InvalidRequest) as wrong:
                await client.generate("../x", 0)
            assert [violation.field for violation in wrong.value.violations] == ["model", "count"]
            many = await asyncio.gather(*(client.generate("digits", 1, seed=seed) for seed in range(20)))
            assert [(image == pixels(seed, 0)).all() for seed, image in enumerate(many)] == [True] * 20

    run(test())


def test_a_client_that_was_never_used_closes(tmp_path: Path) -> None:
    async def test() -> None:
        async with AsyncClient("127.0.0.1:1"):
            pass

    run(test())
    with Client("127.0.0.1:1"):
        pass
