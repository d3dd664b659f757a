"""An exported run serves as the run does, and holds nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.handlers.runs import tiny_run
from training.checkpoint import classifier_weights, generator_weights, load_run
from training.errors import RunError
from training.export import export


def test_an_exported_run_has_the_same_averaged_weights_and_nothing_that_only_training_needs(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run")

    exported = export(run, tmp_path / "exported")

    before, after = load_run(run), load_run(exported)
    for weights in (generator_weights, classifier_weights):
        assert weights(before).keys() == weights(after).keys()
        assert all(torch.equal(weights(before)[name], weights(after)[name]) for name in weights(after))
    assert all("_average." in name for name in after.weights)
    assert sorted(path.name for path in exported.iterdir()) == ["card.md", "checkpoint.safetensors", "config.json"]


def test_one_network_can_be_exported_without_the_other(tmp_path: Path) -> None:
    exported = load_run(export(tiny_run(tmp_path / "run"), tmp_path / "exported", only="generator"))

    assert generator_weights(exported)
    with pytest.raises(RunError, match="holds no discriminator_average weights"):
        classifier_weights(exported)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run")

    with pytest.raises(RunError, match="not empty"):
        export(run, run)


def test_a_run_without_weights_is_not_exported(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run")
    (run / "checkpoint.safetensors").unlink()

    with pytest.raises(RunError, match="has no checkpoint"):
        export(run, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
