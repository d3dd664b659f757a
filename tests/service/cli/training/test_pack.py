"""`mintage pack`: archives, their digests, and one line for what is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from mintage.v1.models_pb2 import Archive, Model

from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.runs import tiny_autoencoder, tiny_run
from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe, small_encoder_recipe
from training.encoding import of_generator
from training.loop.loop import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "Tiny_Run")


def test_both_networks_are_packed_under_the_name_and_their_digests_are_told(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pack", str(run), "--name", "digits", "-o", str(tmp_path), "--json"])
    assert result.exit_code == 0
    archives = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(archive["path"]).name for archive in archives] == ["digits-generator.mar", "digits-classifier.mar"]
    for archive in archives:
        content = Path(archive["path"]).read_bytes()
        assert archive["digest"] == hashlib.sha256(content).hexdigest()
        assert archive["bytes"] == len(content)


def test_a_run_without_a_classifier_becomes_a_generator_and_a_discriminator(tmp_path: Path) -> None:
    train(small_adversarial_recipe(), blobs(), tmp_path / "nets")

    result = CliRunner().invoke(app, ["pack", str(tmp_path / "nets"), "-o", str(tmp_path), "--json"])

    assert [Path(archive["path"]).name for archive in map(json.loads, result.stdout.splitlines())] == [
        "nets-generator.mar",
        "nets-discriminator.mar",
    ]


def test_an_autoencoder_becomes_one_archive_of_neurons(tmp_path: Path) -> None:
    run = tiny_autoencoder(tmp_path / "mind")

    result = CliRunner().invoke(app, ["pack", str(run), "-o", str(tmp_path), "--json"])

    assert [Path(archive["path"]).name for archive in map(json.loads, result.stdout.splitlines())] == [
        "mind-neurons.mar"
    ]


def test_the_name_is_the_run_folders_own_and_people_get_a_line_an_archive(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pack", str(run), "--kind", "generator", "-o", str(tmp_path)])
    assert result.exit_code == 0
    [line] = result.stdout.splitlines()
    archive = tmp_path / "tiny-run-generator.mar"
    assert line.startswith(str(archive)) and "sha256" in line
    assert (
        f"a stack whose archive folder is {tmp_path} loads it by `mintage models load tiny-run-generator"
        in result.stderr
    )
    assert f"any other by `mintage models push {archive} --load tiny-run-generator`" in result.stderr


def test_every_archive_is_told_how_it_is_loaded(run: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["pack", str(run), "-o", str(tmp_path)]).stderr
    assert "loads them by `mintage models load tiny-run-generator tiny-run-generator.mar` and" in told
    assert "`mintage models load tiny-run-classifier tiny-run-classifier.mar`; any other by" in told
    assert f"`mintage models push {tmp_path / 'tiny-run-classifier.mar'} --load tiny-run-classifier`" in told


def test_the_archive_folder_of_the_settings_is_the_default(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.settings import settings

    monkeypatch.setenv("MINTAGE_ARCHIVE_DIR", str(tmp_path / "archives"))
    settings.cache_clear()
    try:
        assert CliRunner().invoke(app, ["pack", str(run), "--kind", "classifier"]).exit_code == 0
    finally:
        settings.cache_clear()
    assert [file.name for file in (tmp_path / "archives").iterdir()] == ["tiny-run-classifier.mar"]


@pytest.mark.parametrize("arguments", [["--name", "Not/A/Name"], ["--name", "-x"]])
def test_a_bad_name_is_bad_input(run: Path, tmp_path: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["pack", str(run), "-o", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1 and "--name must be" in result.stderr


def test_a_folder_that_is_no_run_is_bad_input_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pack", str(tmp_path), "--name", "x", "-o", str(tmp_path / "out")])
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("mintage: ") and "not a run folder" in line


def test_the_precision_is_written_into_the_archive_and_is_part_of_its_digest(run: Path, tmp_path: Path) -> None:
    digests = set()
    for precision in ("auto", "float32", "bfloat16"):
        options = ["--kind", "generator", "--precision", precision, "-o", str(tmp_path / precision), "--json"]
        archive = json.loads(CliRunner().invoke(app, ["pack", str(run), *options]).stdout)
        with zipfile.ZipFile(archive["path"]) as packed:
            assert json.loads(packed.read("serving.json"))["precision"] == precision
        digests.add(archive["digest"])
    assert len(digests) == 3


def test_an_autoencoder_in_bfloat16_is_refused_in_a_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pack", str(tiny_autoencoder(tmp_path / "mind")), "--precision", "bfloat16"])
    assert result.exit_code != 0
    assert "an autoencoder or a discriminator is computed in float32" in " ".join(result.output.split())


def test_a_name_that_is_not_the_folders_own_is_said(run: Path, tmp_path: Path) -> None:
    odd = tmp_path / "My Run_1"
    shutil.copytree(run, odd)
    result = CliRunner().invoke(app, ["pack", str(odd), "--kind", "generator", "-o", str(tmp_path)])
    assert "my-run-1-generator.mar" in result.stdout
    said = result.stderr.splitlines()
    assert said[0] == "mintage: the archives are called my-run-1-*.mar; --name chooses another name"
    assert len(said) == 2 and "mintage models load my-run-1-generator my-run-1-generator.mar" in said[1]


class Server:
    """Takes archives, and loads them at once."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None: ...

    def push_archive(self, file: Path, *, name: str, replace: bool) -> Archive:
        """Take an archive."""
        assert replace and not name
        self.calls.append(("push", file.name))
        return Archive(name=file.name)

    def begin_load(self, name: str, archive: str) -> None:
        """Begin to load an archive."""
        self.calls.append(("load", name, archive))

    def watch_model(self, name: str) -> list[Model]:
        """Tell that it is ready."""
        return [Model(name=f"models/{name}", state=Model.STATE_READY)]


def test_with_load_the_archives_go_to_the_running_server(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    monkeypatch.setattr("service.cli.training.pack.connect", lambda _: server)
    options = ["--kind", "generator", "--name", "digits", "-o", str(tmp_path), "--load", "--json"]
    packed = json.loads(CliRunner().invoke(app, ["pack", str(run), *options]).stdout)
    assert packed["model"] == "models/digits-generator"
    assert server.calls == [("push", "digits-generator.mar"), ("load", "digits-generator", "digits-generator.mar")]


def test_an_encoder_is_packed_beside_a_discriminator_alone(run: Path, tmp_path: Path) -> None:
    recipe, data = of_generator(small_encoder_recipe(images=16), trained_dcgan(tmp_path))
    train(recipe, data, tmp_path / "led")
    alone = CliRunner().invoke(app, ["pack", str(tmp_path / "led"), "-o", str(tmp_path / "out")])
    assert alone.exit_code == 2 and "--encoder" in alone.stderr
    options = ["--encoder", str(tmp_path / "led"), "-o", str(tmp_path / "out"), "--json"]
    without = CliRunner().invoke(app, ["pack", str(run), *options])
    assert without.exit_code == 2 and "discriminator" in without.stderr
    packed = CliRunner().invoke(app, ["pack", str(tmp_path / "dcgan"), *options])
    assert packed.exit_code == 0, packed.stderr
    holding = []
    for line in packed.stdout.splitlines():
        path = Path(json.loads(line)["path"])
        with zipfile.ZipFile(path) as archive:
            if "encoder.safetensors" in archive.namelist():
                holding.append(path.name)
    assert holding == ["dcgan-discriminator.mar"]


def trained_dcgan(folder: Path) -> Path:
    train(small_dcgan_recipe(), blobs(side=32), folder / "dcgan")
    return folder / "dcgan"
