"""models, sample, classify, health and settings against the real API over fakes, in this process."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from mintage.client import to_pil
from PIL import Image

from service.cli import app
from service.errors import Unavailable
from service.images import png
from service.models.changes import Changes
from tests.client.fakes import world_in_a_thread
from tests.support.archives import write_archive
from tests.support.command_line import CliRunner
from tests.support.formula import pixels
from tests.support.world import World


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all the verbs."""
    with structlog.testing.capture_logs(), world_in_a_thread(tmp_path_factory.mktemp("state")) as at:
        yield at


@pytest.fixture
def mintage(at: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command against the world."""
    monkeypatch.setenv("MINTAGE_API_ADDRESS", at.address)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MINTAGE_STATE_DIR", raising=False)

    def run(*arguments: object, status: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


def read_lines(text: str) -> list[dict[str, Any]]:
    """Read one object per line."""
    return [json.loads(line) for line in text.splitlines()]


def test_models_are_listed_as_a_table_and_as_json(mintage: Any) -> None:
    table = mintage("models", "ls").stdout
    assert "digits" in table
    assert "classifier" in table
    found = read_lines(mintage("models", "ls", "--json").stdout)
    assert [(model["name"], model["state"]) for model in found] == [
        ("models/digits", "ready"),
        ("models/judge", "ready"),
    ]
    assert found[0]["shape"] == {"height": 8, "width": 6, "channels": 1}


def test_a_model_is_loaded_shown_scaled_and_unloaded(mintage: Any, at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    register = at.models.register

    async def slowly(*arguments: Any, **options: Any) -> None:
        await asyncio.sleep(0.5)  # long enough for a stage to be seen
        await register(*arguments, **options)

    monkeypatch.setattr(at.models, "register", slowly)
    write_archive(at.settings.archives / "new.mar", "classifier new")
    said = mintage("models", "load", "new", "new.mar", "--workers", 2).stderr
    assert said.splitlines()[-1] in ("copying the archive", "starting workers", "waiting for a first inference")
    assert "nought, one, two" in mintage("models", "show", "new").stdout
    assert json.loads(mintage("models", "scale", "models/new", 3, "--json").stdout)["workers"] == 3
    assert "nought, one, two" in mintage("models", "watch", "new").stdout
    mintage("models", "unload", "new")
    gone = "mintage: no model models/new is loaded; `mintage models load new new.mar` loads it\n"
    assert mintage("models", "show", "new", status=2).stderr == gone


@pytest.mark.parametrize(
    "words",
    [
        ("classify", "early", "photo.png"),
        ("classify", "early", "photo.png", "--fit"),
        ("neurons", "detect", "photo.png", "--model", "early"),
        ("explore", "explain", "early", "photo.png"),
        ("explore", "patches", "early", "photo.png"),
        ("explore", "invert", "early", "photo.png"),
        ("explore", "forget", "digits", "--detector", "early"),
        ("bench", "early"),
    ],
)
def test_a_model_whose_size_is_not_known_yet_is_said_to_be_not_ready(
    mintage: Any, at: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (12, 16)).save("photo.png")
    loading = Changes(at.settings.archives).begin("early", archive="early.mar", workers=1)
    loading.reached("starting")
    try:
        said = mintage(*words, status=1).stderr
    finally:
        loading.failed(Unavailable("given up"))
    assert said == (
        "mintage: models/early is not ready yet (starting workers); `mintage models watch early` shows when it is\n"
    )


def test_machines_are_told_of_a_model_in_one_object(mintage: Any, at: World) -> None:
    write_archive(at.settings.archives / "other.mar", "classifier other")
    for words in (("load", "other", "other.mar"), ("show", "other"), ("scale", "other", 2), ("watch", "other")):
        found = json.loads(mintage("models", *words, "--json").stdout)
        assert (found["name"], found["state"], found["kind"]) == ("models/other", "ready", "classifier")
    said = json.loads(mintage("models", "unload", "models/other", "--json").stdout)
    assert said == {"name": "models/other", "unloaded": True}


def test_a_load_that_fails_says_why(mintage: Any, at: World) -> None:
    write_archive(at.settings.archives / "bad.mar", "broken")
    said = mintage("models", "load", "bad", "bad.mar", status=1).stderr
    assert said.endswith("mintage: its weights are damaged\n")


def test_samples_become_a_grid_or_a_folder(mintage: Any, tmp_path: Path) -> None:
    mintage("sample", "digits", "-n", 4, "--seed", 7, "-o", tmp_path / "new" / "grid.png", "--scale", 1)
    with Image.open(tmp_path / "new" / "grid.png") as grid:
        assert grid.size == (2 * 6 + 3 * 2, 2 * 8 + 3 * 2)
    result = mintage("sample", "digits", "-n", 3, "--first-index", 5, "-o", tmp_path / "folder", "--json")
    said = json.loads(result.stdout)
    assert [Path(file).name for file in said["files"]] == ["000000005.png", "000000006.png", "000000007.png"]
    with Image.open(said["files"][1]) as image:
        assert (np.asarray(image) == pixels(0, 6)[:, :, 0]).all()
    mintage("sample", "digits", "-n", 150, "-o", tmp_path / "more")
    made = sorted((tmp_path / "more").iterdir())
    assert [file.read_bytes() for file in made] == list(png.encode(np.stack([pixels(0, i) for i in range(150)])))


def test_images_are_classified(mintage: Any, tmp_path: Path) -> None:
    paths = [tmp_path / f"{level}.png" for level in (0, 255)]
    levels = np.repeat(np.array([0, 255], np.uint8), 48).reshape(2, 8, 6, 1)
    for path, image in zip(paths, to_pil(levels), strict=True):
        image.save(path)
    table = mintage("classify", "judge", *paths).stdout
    assert "nought" in table
    assert "100.0% ████████████" in table
    found = read_lines(mintage("classify", "judge", *paths, "--top", 2, "--json").stdout)
    assert [len(one["classes"]) for one in found] == [2, 2]
    assert found[1]["classes"][0] == {"class": "two", "probability": 1.0}
    assert (found[1]["image"], found[1]["generated"]) == (str(paths[1]), 1.0)


def test_an_image_of_another_size_is_named_and_can_be_brought_to_the_models(mintage: Any, tmp_path: Path) -> None:
    path = tmp_path / "my-digit.png"
    Image.new("L", (400, 300)).save(path)
    said = mintage("classify", "judge", path, status=2).stderr
    assert said == f"mintage: {path} is 400x300, the model takes 6x8: --fit\n"
    assert json.loads(mintage("classify", "judge", path, "--fit", "--json").stdout)["image"] == str(path)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("sample", "nobody"), 2, "no model models/nobody is loaded"),
        (("sample", "digits", "-n", "0"), 2, "--count must be from 1 to 100,000, not 0"),
        (("sample", "digits", "-n", "1025"), 2, "at most 1,024 images; name a folder for more"),
        (("sample", "judge"), 1, "models/judge is of kind classifier, not generator"),
        (("sample", "digits", "-o", "x.gif"), 2, "must end in .png"),
        (("classify", "judge", "no/such.png"), 2, "no/such.png: No such file or directory"),
        (("classify", "judge", __file__), 2, "test_verbs.py is no image that can be read"),
        (("models", "load", "x", "no.mar"), 2, "the archive folder has no no.mar"),
        (("models", "unload", "\x1b[31m"), 2, "MODEL must be models/{model}"),
        (("health", "--service", "nothing"), 2, "no such service or model"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    mintage: Any, arguments: tuple[str, ...], status: int, expected: str
) -> None:
    errors = mintage(*arguments, status=status).stderr
    assert expected in errors
    assert errors.startswith("mintage: ")
    assert errors.count("\n") == 1
    assert errors.strip().isprintable()


def test_health_tells_by_its_exit_status(mintage: Any, at: World) -> None:
    assert mintage("health", "--service", "mintage.v1.JobService").stdout == "SERVING\n"
    at.redis.dead = True
    try:
        _eventually(lambda: mintage("health", "--json", status=1))
    finally:
        at.redis.dead = False
    assert json.loads(mintage("health", "--service", "models/digits", "--json").stdout)["status"] == "SERVING"


def _eventually(check: Any) -> None:
    """The API asks Redis once a second."""
    end = time.monotonic() + 60
    while True:
        try:
            check()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_an_api_that_is_not_there_says_what_to_do(mintage: Any) -> None:
    errors = mintage("health", "--api", "127.0.0.1:1", status=1).stderr
    assert "no Mintage API answers; start one with `mintage up`" in errors


def test_every_setting_is_listed_and_secrets_are_masked(mintage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_REDIS_URL", "redis://:swordfish@host/0")
    monkeypatch.setenv("MINTAGE_MAX_CALLS", "17")
    from service.settings import Settings

    found = {one["variable"]: one for one in read_lines(mintage("settings", "--json").stdout)}
    assert set(found) == {f"MINTAGE_{name.upper()}" for name in Settings.model_fields}
    assert (found["MINTAGE_MAX_CALLS"]["value"], found["MINTAGE_MAX_CALLS"]["default"]) == (17, 1024)
    assert all(one["meaning"] for one in found.values())
    table = mintage("settings").stdout
    assert "MINTAGE_MAX_CALLS" in table
    assert "swordfish" not in table + str(found["MINTAGE_REDIS_URL"])
    monkeypatch.setenv("MINTAGE_MAX_CALLS", "many")
    assert mintage("settings", status=2).stderr.startswith("mintage: MINTAGE_MAX_CALLS: ")


def test_settings_that_do_not_fit_together_are_named_and_no_secret_is(
    mintage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINTAGE_S3_SECRET_ACCESS_KEY", "swordfish")
    errors = mintage("settings", status=2).stderr
    assert errors.startswith("mintage: s3_access_key_id and s3_secret_access_key are given together")
    assert "swordfish" not in errors
