"""`mintage train` and `mintage recipes`, as a person types them."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from service.cli import interrupts
from service.cli.training import recipes
from service.cli.training.train import register
from tests.support.command_line import CliRunner
from training.runs.checkpoint import load_run

TINY = (
    *("--set", "images=200", "--set", "discriminator_widths=8", "--set", "generator_widths=8"),
    *("--set", "checkpoint_images=100", "--set", "report_images=100", "--set", "initialise_images=20"),
)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    recipes.register(app)
    return app


def test_recipes_are_listed_with_cost_and_expected_result(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["recipes", "--json"])

    listed = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"ssgan-digits", "ssgan-mnist", "gan-mnist", "dcgan64"} <= {recipe["name"] for recipe in listed}
    assert all(recipe["source"] and recipe["cost"] and recipe["expected"] for recipe in listed)


def test_a_probe_is_not_trained_by_this_verb(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["train", "probe", "--data", "digits"])

    assert result.exit_code == 2
    assert "made by `mintage probe RUN --data SOURCE`" in result.stderr


def test_one_recipe_is_shown_with_the_meaning_of_its_fields(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["recipes", "ssgan-digits"])

    assert result.exit_code == 0
    assert "average_share" in result.stdout


def test_training_writes_a_run_folder_and_says_where_to_look(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "--run", str(tmp_path / "run"), *TINY])

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == "training ssgan-digits: 200 images"
    assert result.stdout.splitlines()[-1].startswith(f"finished {tmp_path / 'run'}: 200 of 200 images")
    assert (tmp_path / "run" / "samples" / "latest.png").exists()


def test_several_sources_are_one_training(app: typer.Typer, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.effect_noise((28, 28), 50).save(tmp_path / name / f"{number}.png")
    sources = ["--data", str(tmp_path / "one"), "--data", str(tmp_path / "two"), "--jpeg", "80"]

    result = CliRunner().invoke(app, ["train", *sources, "--run", str(tmp_path / "run"), "--labels", "0", *TINY])

    assert result.exit_code == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["name"] == f"{tmp_path / 'one'} + {tmp_path / 'two'}"
    assert (config["data"]["images"], config["data"]["jpeg_quality"], config["classes"]) == (24, 80, [])
    card = (tmp_path / "run" / "card.md").read_text()
    assert f"--data {tmp_path / 'one'} --data {tmp_path / 'two'} --jpeg 80 --run" in card


@pytest.mark.parametrize(
    "options",
    [
        ("--size", "28", "--channels", "1", "--limit", "15", "--jpeg", "60", "--max-damaged", "3", "--seed", "4"),
        ("--set", "discriminator_widths=8,7", "--set", "threads=1", "--max-seconds", "600", "--set", "decay_from=0.5"),
    ],
)
def test_the_command_on_the_card_makes_the_run_again(
    app: typer.Typer, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    sources = []
    for name in ("it's one", "two $HOME & more"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.fromarray(noise.integers(0, 256, (28, 28, 3), np.uint8)).save(tmp_path / name / f"{number}.png")
        sources += ["--data", name]
    run, elsewhere = Path("my runs/a run"), tmp_path / "elsewhere"
    small = ("--set", "images=48", "--set", "labels=0", "--set", "unlabelled_batch=12", "--set", "generator_widths=8")
    typed = [*sources, *options, *small, "--set", "initialise_images=12"]
    assert CliRunner().invoke(app, ["train", "ssgan-digits", *typed, "--run", str(run)]).exit_code == 0

    command = (run / "card.md").read_text().split("```")[1].strip()
    shell = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    program, *words = shell.stdout.splitlines()
    assert (program, words[words.index("--run") + 1]) == ("mintage", str(run))
    run.rename(elsewhere)
    result = CliRunner().invoke(app, words)

    assert result.exit_code == 0, result.stderr
    one, again = (load_run(folder) for folder in (elsewhere, run))
    assert one.weights.keys() == again.weights.keys()
    assert all(torch.equal(tensor, again.weights[name]) for name, tensor in one.weights.items())
    settings = dataclasses.replace(one.config.settings, max_seconds=again.config.settings.max_seconds)
    assert dataclasses.replace(one.config, settings=settings) == again.config


def test_an_autoencoder_takes_sources_of_other_classes_without_their_labels(app: typer.Typer, tmp_path: Path) -> None:
    for name in ("here/cat", "there/dog"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(4):
            Image.effect_noise((20, 16), 50).save(tmp_path / name / f"{number}.png")
    sources = ["--data", str(tmp_path / "here"), "--data", str(tmp_path / "there")]
    length = ["--images", "16", "--set", "batch=8"]

    result = CliRunner().invoke(app, ["train", "face-neuron", *sources, *length, "--run", str(tmp_path / "run")])

    assert result.exit_code == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["data"]["images"], config["classes"], config["image"]["channels"]) == (8, [], 3)


def test_sources_of_other_classes_are_refused_where_labels_are_needed(app: typer.Typer, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("L", (28, 28)).save(tmp_path / name / "1.png")

    result = CliRunner().invoke(
        app, ["train", "--data", "digits", "--data", str(tmp_path), "--run", str(tmp_path / "x")]
    )

    assert result.exit_code == 2
    assert f"digits has 0, 1, 2 and 7 more; {tmp_path} has cat, dog" in result.stderr


def test_json_lines_end_with_the_summary(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "--json", "--seed", "4", "--run", str(tmp_path / "run"), *TINY])

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["images_seen"] for line in lines] == [100, 200, 200]
    assert lines[-1]["ended"] == "finished"
    assert {split: said["images"] for split, said in lines[-1]["data"].items()} == {"train": 10_000, "test": 2_000}
    assert lines[-1]["data"]["train"]["classes"] == list("0123456789")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["seed"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stylegan"], "no recipe is called 'stylegan'"),
        (["--set", "imges=5"], "no field 'imges'"),
        (["--set", "images"], "expected FIELD=VALUE"),
        (["--labels", "15"], "labels=15 cannot be shared by 10 classes"),
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--size", "big"], "--size big: expected one number of pixels"),
        (["--channels", "2"], "--channels 2 must be 1 (grey) or 3 (colour)"),
        (["ssgan-mnist"], "ssgan-mnist needs --data"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_two(
    app: typer.Typer, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["train", *arguments, "--json", "--run", str(tmp_path / "run")])

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("mintage: ")] == [
        result.stderr.splitlines()[-1]
    ]
    assert not (tmp_path / "run").exists()


def test_event_files_are_written_where_they_are_asked_for(app: typer.Typer, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")

    result = CliRunner().invoke(app, ["train", "--tensorboard", "--run", str(tmp_path / "run"), *TINY])

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("finished")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_event_files_without_the_library_are_bad_input(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    result = CliRunner().invoke(app, ["train", "--tensorboard", "--run", str(tmp_path / "run"), *TINY])

    assert result.exit_code == 2
    assert "get it with: ./mint extra tensorboard" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_several_processes_the_first_alone_speaks(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.setenv("RANK", rank)

    result = CliRunner().invoke(app, ["train", "--run", str(tmp_path / "run"), *TINY])

    assert result.exit_code == 0, result.stderr
    assert bool(result.stdout) == (rank == "0")


def test_under_torchrun_an_interrupt_may_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")

    with interrupts.collected() as caught:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert caught == [signal.SIGINT, signal.SIGINT]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_saves_and_the_exit_status_names_it(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    from training.families.gan import GanTraining

    advance = GanTraining.advance

    def interrupted(training: GanTraining) -> object:
        signal.raise_signal(number)
        return advance(training)

    monkeypatch.setattr(GanTraining, "advance", interrupted)
    result = CliRunner().invoke(app, ["train", "--run", str(tmp_path / "run"), *TINY])

    assert result.exit_code == status
    assert result.stdout.splitlines()[-1].startswith(f"stopped and saved {tmp_path / 'run'}: ")
    assert (tmp_path / "run" / "state.safetensors").exists()


def test_a_second_interrupt_is_not_held_back() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.collected() as caught:
            signal.raise_signal(signal.SIGINT)
            assert caught == [signal.SIGINT]
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_photographs_without_labels_train_at_the_size_that_was_asked_for(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    (tmp_path / "photos").mkdir()
    for number in range(31):
        noise = np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{number:02d}.png")
    (tmp_path / "photos" / "30.png").write_bytes(b"no image")
    small = ("images=40", "batch=10", "generator_widths=8", "discriminator_widths=8", "checkpoint_images=40")
    settings = [word for setting in small for word in ("--set", setting)]
    shape = ("--size", "8x10", "--channels", "1", "--limit", "31", "--max-damaged", "1")

    result = CliRunner().invoke(
        app,
        ["train", "gan-faces48", "--data", str(tmp_path / "photos"), *shape, "--run", str(tmp_path / "run"), *settings],
    )

    assert result.exit_code == 0, result.stderr
    assert "passed over damaged images: 1 (30.png is not a PNG, JPEG" in result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["image"] == {"height": 8, "width": 10, "channels": 1}
    assert (config["data"]["images"], config["classes"]) == (30, [])


def test_the_help_names_the_sources_of_data(app: typer.Typer) -> None:
    words = " ".join(CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).stdout.split())

    for name in ("--size", "--channels", "--limit", "--max-damaged", "Parquet", "WebDataset", "hf:OWNER/NAME"):
        assert name in words
