"""Two real processes that share every batch: they take the steps of one, and end together whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.compute import parallel_worker
from tests.training.compute.parallel_worker import FORMS, reported_at_every_step
from tests.training.fakes import blobs, small_autoencoder_recipe, small_recipe
from training.compute import parallel
from training.loop.loop import train
from training.runs import metrics
from training.runs.checkpoint import load_config, load_run, load_state

PROCESSES_S = 240.0


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes wrote."""
    folder = tmp_path_factory.mktemp("together")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "tests.training.compute.parallel_worker", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PROCESSES_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what one process wrote."""
    folder = tmp_path_factory.mktemp("alone")
    parallel_worker.train_all(folder)
    return folder


@pytest.mark.parametrize("name", FORMS)
def test_two_processes_have_the_losses_of_one_within_rounding(together: Path, alone: Path, name: str) -> None:
    theirs, ones = (metrics.read(folder / name) for folder in (together, alone))

    assert [line["images_seen"] for line in theirs] == [line["images_seen"] for line in ones]
    assert len(ones) == 5
    for their, one in zip(theirs, ones, strict=True):
        assert their["losses"] == pytest.approx(one["losses"], rel=1e-4, abs=1e-5)
        assert their["test_accuracy"] == one["test_accuracy"]


@pytest.mark.parametrize("name", FORMS)
def test_two_processes_write_the_run_folder_of_one(together: Path, alone: Path, name: str) -> None:
    theirs, one = together / name, alone / name

    assert {path.relative_to(theirs) for path in theirs.rglob("*")} == {
        path.relative_to(one) for path in one.rglob("*")
    }
    assert load_config(theirs) == load_config(one)
    weights, expected = load_run(theirs).weights, load_run(one).weights
    for key, weight in weights.items():
        assert torch.allclose(weight, expected[key], rtol=1e-3, atol=1e-4), key


def test_one_process_goes_on_where_two_were_stopped(together: Path, alone: Path) -> None:
    summary = train(reported_at_every_step(small_recipe()), blobs(), together / "stopped")

    assert summary.ended == "finished"
    last, expected = (metrics.read(folder)[-1] for folder in (together / "stopped", alone / "k-plus-one"))
    assert last["losses"] == pytest.approx(expected["losses"], rel=1e-4, abs=1e-5)


def test_a_sharded_run_goes_on_in_one_process_that_shards_nothing(together: Path, alone: Path) -> None:
    recipe = reported_at_every_step(small_autoencoder_recipe(schedule="jointly"))

    summary = train(recipe, blobs(side=12), together / "sharded first")

    assert summary.ended == "finished"
    must_be_alike(together / "sharded first", alone / "autoencoder")


def test_a_run_that_was_not_sharded_goes_on_sharded(together: Path, alone: Path) -> None:
    must_be_alike(together / "sharded last", alone / "autoencoder")


def must_be_alike(one: Path, other: Path) -> None:
    """Two runs end with the same losses, weights and moments, but for rounding."""
    last, expected = (metrics.read(folder)[-1] for folder in (one, other))
    assert last["losses"] == pytest.approx(expected["losses"], rel=1e-4, abs=1e-5)
    states = [load_state(folder, load_config(folder)) for folder in (one, other)]
    found, wanted = (state.tensors for state in states if state is not None)
    assert found.keys() == wanted.keys()
    for key, tensor in found.items():
        assert torch.allclose(tensor, wanted[key], rtol=1e-3, atol=1e-4), key


@pytest.mark.parametrize("process", [0, 1])
def test_a_process_has_its_share(together: Path, process: int) -> None:
    told = json.loads((together / f"outcomes-{process}.json").read_text())

    *held, rows = json.loads(told["sharded"])
    assert held == pytest.approx([0.5] * 3, abs=0.15)  # rows of places that cannot be halved go to the first
    assert rows == 0.5
    assert json.loads(told["whole"]) == [1, 1, 1, 0.5]


@pytest.mark.parametrize("process", [0, 1])
def test_processes_end_together(together: Path, process: int) -> None:
    told = json.loads((together / f"outcomes-{process}.json").read_text())

    assert (told["stopped"], told["out of time"]) == ("stopped", "out of time")
    assert told["uneven"].startswith("RecipeError: unlabelled_batch=9 cannot be shared by 2 processes: take a multiple")
    assert not (together / "uneven").exists()
    assert told["full disk"].startswith("RunError: the checkpoint of ")
    assert "after 40 images cannot be written (No space left on device)" in told["full disk"]
    assert told["diverged"].startswith("DivergedError: after 16 images a loss is no longer finite")
    assert told["other"] == "RunError: process 1 was given another training than the first (seed is 1, not 5)"


def test_a_single_process_is_left_alone() -> None:
    rows = torch.rand(4, 3)

    with parallel.shared_batches(), parallel.kinds([2, 2]):
        assert not parallel.is_sharing()
        assert parallel.own(rows) is rows
        assert parallel.global_rows(rows) is rows
        assert parallel.global_mean(rows) is rows
    assert (parallel.processes(), parallel.is_first()) == (1, True)
    assert parallel.first(lambda: 5) == 5
