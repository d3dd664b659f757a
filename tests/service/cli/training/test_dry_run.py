"""`mintage train RECIPE --dry-run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from service.cli.training import dry_run as module
from service.cli.training.train import register
from tests.support.command_line import CliRunner

SMALL = (
    *("train", "face-neuron", "--dry-run", "--size", "12", "--channels", "1", "--set", "batch=4"),
    *("--set", "maps=2,2", "--set", "receptive_fields=4,2", "--set", "strides=2,1", "--set", "pools=2,2"),
    *("--set", "pool_strides=1,1", "--set", "sparsity=1,1"),
)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    app.command("other")(lambda: None)
    return app


def test_it_says_what_a_training_takes_without_any_images(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, SMALL)

    assert result.exit_code == 0, result.stderr
    assert "face-neuron: images of 1x12x12 (C, H, W), 4 per step" in result.stdout
    for word in ("stage 1", "stage 2", "moments", "activations", "FLOP", "time of a step, 1 measured", "peak memory"):
        assert word in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_machines_get_every_number(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, [*SMALL, "--steps", "2", "--images", "1000", "--json"])

    values = json.loads(result.stdout)
    assert (values["image_shape"], values["batch"], values["images"]) == ([1, 12, 12], 4, 1000)
    assert values["weights"] == sum(part["weights"] for part in values["parts"]) == values["weight_bytes"] // 4
    assert values["flop"] == 1000 * values["flop_per_image"]
    assert values["measured"]["steps"] == 2
    assert values["seconds"] == pytest.approx(250 * values["measured"]["seconds_per_step"])


def test_counting_alone_takes_no_step(app: typer.Typer) -> None:
    values = json.loads(CliRunner().invoke(app, [*SMALL, "--steps", "0", "--json"]).stdout)

    assert (values["measured"], values["seconds"]) == (None, None)
    assert values["flop_per_image"] > 0


def test_what_is_too_large_is_counted_and_not_tried(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.dry_run.free_bytes", lambda _: 1000)

    result = CliRunner().invoke(app, SMALL)

    assert result.exit_code == 0
    assert "no step was taken: " in result.stdout
    assert "are needed and 1 kB free" in " ".join(result.stdout.split())
    assert "measured" not in result.stdout


def test_a_gan_is_measured_on_its_own_images(app: typer.Typer) -> None:
    values = json.loads(CliRunner().invoke(app, ["train", "ssgan-digits", "--dry-run", "--json"]).stdout)

    assert [part["name"] for part in values["parts"]] == ["generator", "discriminator"]
    assert values["flop_per_image"] > values["weights"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "gan-mnist", "--dry-run"], "gan-mnist needs --data"),
        ([*SMALL, "--set", "receptive_fields=13,2"], "stage 1 on 12x12 places"),
        (["train", "--steps", "3"], "--steps goes with --dry-run"),
    ],
)
def test_bad_input_is_told_in_one_line(app: typer.Typer, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1.6e9, "1.6 GB"), (1.43e18, "1.43 EB")]
)
def test_amounts_have_decimal_prefixes(number: float, text: str) -> None:
    assert module.amount(number, "B") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "90 s"), (600, "10 min"), (3 * 3600, "3 h"), (86400 * 9, "9 days"), (1e9, "31.7 years")]
)
def test_durations_are_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert module.duration(seconds) == text
