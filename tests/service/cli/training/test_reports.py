"""How a training tells how far it is."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from service.cli.training import reports
from training.loop.progress import Progress
from training.recipes import recipe_named


def test_in_80_columns_the_bar_keeps_count_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr("rich.progress.get_console", lambda: screen)
    losses = {"discriminator": 1.234, "generator": 2.345, "classifier": 0.123, "gradient_penalty": 0.456}
    with screen.capture() as shown, reports._bar(recipe_named("dcgan32")) as report:
        report(
            Progress(
                images_seen=300_000,
                images=1_250_000,
                images_per_second=12_345.6,
                seconds=24.3,
                losses=losses,
                test_accuracy=0.9,
            )
        )
    frames = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.get()).replace("\r", "\n").splitlines()
    assert max(map(len, frames)) <= 80
    last = [line for line in frames if "300,000/1,250,000" in line][-1]
    assert "12,346 images/s" in last and re.search(r"\d?-?-?:\d\d|--:--", last), last
    assert "discriminator 1.234, generator 2.345" in "\n".join(frames)


def test_no_time_is_left_of_a_run_whose_last_batch_goes_beyond_its_length(capsys: pytest.CaptureFixture[str]) -> None:
    report = reports._plain_lines()
    report(Progress(images_seen=128, images=64, images_per_second=3.0, seconds=43.0, losses=None, test_accuracy=None))
    assert "128 of 64 images, 3 images/s, 0 s left" in capsys.readouterr().out
