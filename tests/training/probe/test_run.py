"""The probe of a run, from the run folder to the run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.fakes import blobs, small_dcgan_recipe, small_recipe
from training.batches import to_tensor
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import DataError, RunError
from training.export import export
from training.families import family_of
from training.loop.loop import train
from training.probe.outcome import ProbeOutcome
from training.probe.run import probe_run
from training.recipes import ProbeRecipe, Recipe, recipe_named
from training.runs import metrics
from training.runs.checkpoint import State, load_run, save_config, save_state, served_weights


def images(count: int = 90, *, seed: int = 0) -> LabelledImages:
    return blobs(count, side=32, seed=seed)


def probe_recipe(**fields: object) -> ProbeRecipe:
    recipe = recipe_named("probe").overridden({"validation_share": 0.2, **fields})
    assert isinstance(recipe, ProbeRecipe)
    return recipe


def untrained(run: Path, recipe: Recipe, data: LabelledImages) -> Path:
    """A run folder as training would leave it, of first weights."""
    config = RunConfig.of(recipe, data)
    weights = family_of(config).discriminator().state_dict()
    save_config(run, config)
    named = {f"discriminator_average.{name}": tensor for name, tensor in weights.items()}
    save_state(run, config, weights=named, state=State(named, 0, 0.0))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few steps of a small DCGAN."""
    folder = tmp_path_factory.mktemp("runs") / "dcgan"
    train(small_dcgan_recipe(images=32), images(), folder)
    return folder


@pytest.fixture(scope="module")
def probed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ProbeOutcome]:
    out = tmp_path_factory.mktemp("probes") / "all"
    return out, probe_run(run, images(), out, recipe=probe_recipe(), test=images(30, seed=1))


def test_the_folder_holds_a_classifier_of_unseen_images(probed: tuple[Path, ProbeOutcome]) -> None:
    out, outcome = probed
    opened, test = load_run(out), images(30, seed=1)

    classifier = family_of(opened.config).classifier()
    classifier.load_state_dict(served_weights(opened, "classifier"))
    with torch.no_grad():
        found = classifier.eval()(to_tensor(test.images)).argmax(1).numpy()

    assert (found == test.labels).mean() == pytest.approx(outcome.test_accuracy)
    assert outcome.test_accuracy is not None
    assert outcome.test_accuracy > 0.8
    assert opened.config.classes == test.classes


def test_it_judges_as_the_probed_run_s_discriminator_with_frozen_statistics(
    run: Path, probed: tuple[Path, ProbeOutcome]
) -> None:
    weights, before = served_weights(load_run(probed[0]), "classifier"), served_weights(load_run(run), "classifier")

    for name, tensor in before.items():
        if "running" in name or "tracked" in name:
            continue
        assert torch.equal(weights[f"discriminator.{name}"], tensor)
    assert not torch.equal(weights["discriminator.norms.1.running_mean"], before["norms.1.running_mean"])


def test_the_recipe_says_what_the_discriminator_was(probed: tuple[Path, ProbeOutcome]) -> None:
    settings = load_run(probed[0]).config.settings

    assert isinstance(settings, ProbeRecipe)
    assert (settings.discriminator_width, settings.layers, settings.images) == (4, "strided", 90)
    assert settings.classifies
    assert not settings.generates


def test_metrics_and_card_say_what_was_found(run: Path, probed: tuple[Path, ProbeOutcome]) -> None:
    out, outcome = probed
    text = (out / "card.md").read_text()

    assert metrics.read(out) == [dataclasses.asdict(outcome)]
    assert f"{100 * (outcome.test_accuracy or 0):.2f} % of 30 test images" in text
    assert f"mintage probe {run} --data blobs --run {out}" in text
    assert (outcome.features, outcome.labels, outcome.draws, outcome.validation_images) == (16 * 28, 90, 1, 18)
    assert outcome.validation_log_loss <= outcome.validation_log_loss_uncalibrated + 1e-9


def test_the_same_probe_is_the_same_again(run: Path, probed: tuple[Path, ProbeOutcome], tmp_path: Path) -> None:
    again = probe_run(run, images(), tmp_path / "again", recipe=probe_recipe(), test=images(30, seed=1))

    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(probed[1], seconds=0)
    weights = served_weights(load_run(tmp_path / "again"), "classifier")
    assert all(
        torch.equal(tensor, weights[name]) for name, tensor in served_weights(load_run(probed[0]), "classifier").items()
    )


def test_a_run_of_mirrored_images_is_probed_and_served_with_mirrored_ones(tmp_path: Path) -> None:
    seen, test = images(), images(30, seed=1)
    run = untrained(tmp_path / "run", small_dcgan_recipe(mirror="yes"), seen)

    outcome = probe_run(run, seen, tmp_path / "probe", recipe=probe_recipe(), test=test)

    opened = load_run(tmp_path / "probe")
    classifier = family_of(opened.config).classifier()
    classifier.load_state_dict(served_weights(opened, "classifier"))
    with torch.no_grad():
        pixels = to_tensor(test.images)
        found, mirrored = (classifier.eval()(each).softmax(1) for each in (pixels, pixels.flip(3)))
    torch.testing.assert_close(found, mirrored)
    assert (found.argmax(1).numpy() == test.labels).mean() == pytest.approx(outcome.test_accuracy)
    assert "means over an image and its mirror image" in (tmp_path / "probe" / "card.md").read_text()


def test_few_labels_are_drawn_many_times(run: Path, tmp_path: Path) -> None:
    recipe = probe_recipe(labels_per_class=4, choosing_draws=2, final_draws=3)
    stages: dict[str, int] = {}

    def begin(name: str, total: int) -> Callable[[int], None]:
        stages[name] = total
        return lambda more: None

    outcome = probe_run(run, images(), tmp_path / "few", recipe=recipe, test=images(30, seed=1), begin=begin)

    assert (outcome.labels, outcome.draws) == (12, 3)
    assert outcome.test_deviation is not None
    assert "3 draws" in (tmp_path / "few" / "card.md").read_text()
    assert "--labels-per-class 4 --draws 3" in (tmp_path / "few" / "card.md").read_text()
    assert stages == {"statistics": 90, "features": 90, "machines": 2 * 7 * 2 + 3, "test features": 30}


def test_without_test_images_the_accuracy_is_that_of_the_validation_part(run: Path, tmp_path: Path) -> None:
    outcome = probe_run(run, images(), tmp_path / "x", recipe=probe_recipe())

    assert outcome.test_accuracy is outcome.test_log_loss is None
    assert outcome.validation_accuracy > 0.8
    assert "not measured" in (tmp_path / "x" / "card.md").read_text()


def test_it_can_be_exported_as_any_run(probed: tuple[Path, ProbeOutcome], tmp_path: Path) -> None:
    exported = load_run(export(probed[0], tmp_path / "copy"))

    assert exported.weights.keys() == load_run(probed[0]).weights.keys()


def test_a_folder_with_something_in_it_is_not_written_to(run: Path, probed: tuple[Path, ProbeOutcome]) -> None:
    with pytest.raises(RunError, match="exists and is not empty"):
        probe_run(run, images(), probed[0], recipe=probe_recipe())


@pytest.mark.parametrize(
    ("recipe", "side", "message"),
    [
        (small_recipe(), 6, "run of ssgan-digits; a probe reads the convolutions of a DCGAN's run"),
        (small_dcgan_recipe(conditional="yes"), 32, "takes the class that a probe should predict"),
    ],
)
def test_runs_without_a_discriminator_to_probe_are_refused(
    recipe: Recipe, side: int, message: str, tmp_path: Path
) -> None:
    data = blobs(side=side)

    with pytest.raises(RunError, match=message):
        probe_run(untrained(tmp_path / "run", recipe, data), data, tmp_path / "out", recipe=probe_recipe())
    assert not (tmp_path / "out").exists()


def test_images_of_another_shape_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images of \[64, 64, 1\] \(H, W, C\), but .* was trained on \[32, 32, 1\]"):
        probe_run(run, blobs(side=64), tmp_path / "out", recipe=probe_recipe())


def test_test_images_of_other_classes_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="other classes"):
        probe_run(run, images(), tmp_path / "out", recipe=probe_recipe(), test=blobs(30, classes=2, side=32))


def test_images_without_labels_are_refused(run: Path, tmp_path: Path) -> None:
    bare = LabelledImages(images().images, np.full(90, -1), (), "bare")

    with pytest.raises(DataError, match="a probe needs labelled images"):
        probe_run(run, bare, tmp_path / "out", recipe=probe_recipe())


def test_more_labels_than_a_class_has_are_refused_before_the_work_begins(run: Path, tmp_path: Path) -> None:
    def begin(name: str, total: int) -> Callable[[int], None]:
        raise AssertionError("work began")

    with pytest.raises(DataError, match="class block-0 has 24 training images beside its validation part"):
        probe_run(run, images(), tmp_path / "out", recipe=probe_recipe(labels_per_class=25), begin=begin)
