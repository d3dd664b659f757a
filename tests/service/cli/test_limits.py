"""The limits that the command line states are those that the service checks."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.main import get_command

from service.api.servicers.jobs.creating.score_requests import MAX_SPLITS
from service.api.servicers.jobs.verification import MAX_RECOMPUTED
from service.api.servicers.models import MAX_WORKERS
from service.cli import app
from service.cli.serving.sample import MAX_GRID
from service.jobs.plan import MAX_COUNT, MAX_PRIORITY, MAX_SHARD_SIZE, default_shard_size
from service.processes import stack
from service.settings import Settings

SEED = 2**64 - 1


def option(*path: str) -> Any:
    """A parameter of a verb, by the verb's words and the parameter's name."""
    command: Any = get_command(app)
    for word in path[:-1]:
        command = command.commands[word]
    return next(parameter for parameter in command.params if parameter.name == path[-1])


@pytest.mark.parametrize(
    ("path", "limits"),
    [
        (("jobs", "sample", "shard_size"), (0, MAX_SHARD_SIZE)),
        (("jobs", "score", "shard_size"), (0, MAX_SHARD_SIZE)),
        (("jobs", "score", "splits"), (0, MAX_SPLITS)),
        (("jobs", "sample", "priority"), (-MAX_PRIORITY, MAX_PRIORITY)),
        (("jobs", "verify", "recompute"), (0, MAX_RECOMPUTED)),
        (("jobs", "verify", "seed"), (0, SEED)),
        (("jobs", "sample", "seed"), (0, SEED)),
        (("models", "load", "workers"), (1, MAX_WORKERS)),
        (("models", "scale", "workers"), (1, MAX_WORKERS)),
    ],
)
def test_a_range_is_the_services(path: tuple[str, ...], limits: tuple[int, int]) -> None:
    found = option(*path)
    assert (found.min, found.max) == limits


def numbers(*path: str) -> list[int]:
    """The numbers in a parameter's help."""
    return [int(text.replace(",", "")) for text in re.findall(r"\d[\d,]*", option(*path).help)]


def test_the_numbers_in_the_help_are_the_services() -> None:
    chosen = {default_shard_size(count) for count in (1, MAX_COUNT)}
    assert numbers("jobs", "sample", "shard_size") == [0, min(chosen), max(chosen)]
    assert numbers("jobs", "score", "shard_size") == [0, min(chosen), max(chosen)]
    assert numbers("jobs", "sample", "count") == [1, MAX_COUNT]
    assert numbers("sample", "count") == [1, Settings.model_fields["max_stream_images"].default]
    assert numbers("sample", "output") == [MAX_GRID]
    assert numbers("up", "workers") == [0, stack.MAX_WORKERS]
