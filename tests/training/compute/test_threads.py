"""`threads=auto` becomes a number when a run starts, and the run keeps it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.training.fakes import blobs, small_dcgan_recipe, small_recipe
from training.compute.threads import MOST, resolved
from training.errors import RecipeError
from training.loop.loop import train
from training.recipes import RECIPES
from training.runs.checkpoint import load_config


@pytest.fixture(autouse=True)
def _one_thread_again() -> object:
    yield
    torch.set_num_threads(1)


def with_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)


def test_auto_is_the_default_and_takes_every_core_for_convolutions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 6)

    chosen = {name: resolved(recipe).threads for name, recipe in RECIPES.items()}

    assert {name for name, threads in chosen.items() if threads == 6} == {
        "dcgan-digits",
        "dcgan-mnist",
        "dcgan32",
        "dcgan64",
        "encoder",
        "ssgan-conv32",
        "student",
    }
    assert set(chosen.values()) == {1, 6}


def test_auto_is_bounded_and_shared_among_the_processes_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 4 * MOST)
    assert resolved(small_dcgan_recipe()).threads == MOST

    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert resolved(small_dcgan_recipe()).threads == MOST // 2


def test_a_number_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 6)

    assert resolved(small_dcgan_recipe(threads=3), small_dcgan_recipe(threads=2)).threads == 3
    with pytest.raises(RecipeError, match="auto or a whole number"):
        small_recipe(threads="many")


def test_a_run_keeps_its_threads_on_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_cores(monkeypatch, 2)
    train(small_dcgan_recipe(), blobs(side=32), tmp_path / "run", should_stop=lambda: True)
    with_cores(monkeypatch, 4)

    summary = train(small_dcgan_recipe(), blobs(side=32), tmp_path / "run")

    assert (load_config(tmp_path / "run").settings.threads, summary.ended) == (2, "finished")
