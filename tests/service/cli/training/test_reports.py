"""How a training tells how far it is."""

from __future__ import annotations

import dataclasses
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
    report = reports._plain_lines(recipe_named("dcgan32"))
    report(Progress(images_seen=128, images=64, images_per_second=3.0, seconds=43.0, losses=None, test_accuracy=None))
    assert "128 of 64 images, 3 images/s, 0 s left" in capsys.readouterr().out


def test_a_run_whose_time_is_up_before_it_is_finished_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Progress(
        images_seen=1_000, images=250_000, images_per_second=49.0, seconds=20.0, losses=None, test_accuracy=None
    )
    fast = dataclasses.replace(slow, images_per_second=5_000.0)
    now_s = 1_000.0
    monkeypatch.setattr("service.cli.training.reports.time.monotonic", lambda: now_s)
    report = reports._plain_lines(recipe_named("ssgan-digits").overridden({"max_seconds": 110}))
    for progress in (slow, fast):
        now_s += 20
        report(progress)
    first, second = capsys.readouterr().out.splitlines()
    assert "49 images/s, its time is up in 90 s" in first and "5,000 images/s, 50 s left" in second


def test_the_bar_counts_down_to_the_moment_when_the_time_of_a_run_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr("rich.progress.get_console", lambda: screen)
    now_s = 1_000.0
    monkeypatch.setattr("service.cli.training.reports.time.monotonic", lambda: now_s)
    limited = recipe_named("ssgan-digits").overridden({"max_seconds": 7_200})
    with screen.capture() as shown, reports._bar(limited) as report:
        now_s += 60
        report(
            Progress(
                images_seen=1_000, images=10**9, images_per_second=9.0, seconds=60.0, losses=None, test_accuracy=None
            )
        )
    assert "1:59:00" in shown.get()
