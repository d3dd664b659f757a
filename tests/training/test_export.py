"""An exported run serves as the run does, and holds nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.support.runs import CONCEPTS, tiny_autoencoder, tiny_run
from tests.training.fakes import blobs, small_dcgan_recipe
from training.batches import to_tensor
from training.errors import DataError, RunError
from training.export import export
from training.families import family_of
from training.loop.loop import train
from training.networks.dcgan import Discriminator
from training.neurons.concepts import read_concepts
from training.recipes import Kind
from training.runs.checkpoint import load_run, run_digest, served_weights


def test_an_exported_run_has_the_same_averaged_weights_and_nothing_that_only_training_needs(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run")

    exported = export(run, tmp_path / "exported")

    before, after = load_run(run), load_run(exported)
    kinds: tuple[Kind, ...] = ("generator", "classifier")
    for kind in kinds:
        own, copied = served_weights(before, kind), served_weights(after, kind)
        assert own.keys() == copied.keys()
        assert all(torch.equal(own[name], copied[name]) for name in copied)
    assert all("_average." in name for name in after.weights)
    assert sorted(path.name for path in exported.iterdir()) == ["card.md", "checkpoint.safetensors", "config.json"]


def test_one_network_can_be_exported_without_the_other(tmp_path: Path) -> None:
    exported = load_run(export(tiny_run(tmp_path / "run"), tmp_path / "exported", only="generator"))

    assert served_weights(exported, "generator")
    with pytest.raises(RunError, match="holds no discriminator_average weights"):
        served_weights(exported, "classifier")


def test_a_discriminator_is_exported_with_its_generator_and_belongs_to_the_same_run(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run")

    exported = load_run(export(run, tmp_path / "exported", only="discriminator"))

    before = served_weights(load_run(run), "discriminator")
    after = served_weights(exported, "discriminator")
    assert {name.partition(".")[0] for name in after} == {"generator", "discriminator"}
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert run_digest(exported) == run_digest(load_run(run))
    assert run_digest(load_run(export(run, tmp_path / "half", precision="float16"))) != run_digest(exported)


def test_a_discriminator_in_8_bits_is_read_back_within_half_a_step_of_each_unit(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run")

    small = export(run, tmp_path / "small", precision="float16", discriminator="int8")

    before, after = load_run(run).weights, load_run(small).weights
    stored = load_file(small / "checkpoint.safetensors")
    assert after.keys() == {name for name in before if "_average." in name}
    for name, tensor in after.items():
        in_8_bits = name.startswith("discriminator_average.") and tensor.ndim > 1
        assert stored[name].dtype == (torch.int8 if in_8_bits else torch.float16) or not tensor.is_floating_point()
        if in_8_bits:
            step = before[name].flatten(1).abs().amax(dim=1, keepdim=True) / 127
            assert bool(((tensor - before[name]).flatten(1).abs() <= 0.5001 * step).all())


def test_the_averaged_discriminator_has_the_statistics_of_real_images(tmp_path: Path) -> None:
    data = blobs(side=32)
    train(small_dcgan_recipe(conditional="yes"), data, tmp_path / "run")
    weights = served_weights(load_run(tmp_path / "run"), "classifier")
    network = family_of(load_run(tmp_path / "run").config).discriminator()
    assert isinstance(network, Discriminator)
    network.load_state_dict(weights)

    images, labels = to_tensor(data.images), torch.from_numpy(data.labels)  # fewer than are taken at most
    alone = network.eval()(images, labels)
    together = network.train()(images, labels)
    exported = load_run(export(tmp_path / "run", tmp_path / "exported", real=data))

    torch.testing.assert_close(alone, together, atol=1e-2, rtol=0)
    again = served_weights(exported, "classifier")
    for name, tensor in weights.items():
        torch.testing.assert_close(again[name], tensor)
    with pytest.raises(DataError, match="does not hold the images"):
        export(tmp_path / "run", tmp_path / "other", real=blobs(side=32, seed=1))


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


def test_an_autoencoder_is_exported_with_its_concepts(tmp_path: Path) -> None:
    run = tiny_autoencoder(tmp_path / "run")

    exported = export(run, tmp_path / "exported", only="neurons")

    before, after = served_weights(load_run(run), "neurons"), served_weights(load_run(exported), "neurons")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_concepts(exported) == CONCEPTS


def test_float16_halves_the_file_and_is_read_back_as_the_nearest_float32(tmp_path: Path) -> None:
    run = tiny_autoencoder(tmp_path / "run")

    half = export(run, tmp_path / "half", precision="float16")

    before, after = load_run(run).weights, load_run(half).weights
    assert all(torch.equal(after[name], before[name].half().float()) for name in before)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    full_bytes, half_bytes = ((folder / "checkpoint.safetensors").stat().st_size for folder in (run, half))
    assert half_bytes < 0.6 * full_bytes


def test_a_weight_that_float16_cannot_hold_is_named(tmp_path: Path) -> None:
    run = tiny_autoencoder(tmp_path / "run")
    weights = load_file(run / "checkpoint.safetensors")
    weights["autoencoder.stages.0.filters.weight"][0, 0, 0, 0] = 1e6
    with safe_open(run / "checkpoint.safetensors", "pt") as file:
        metadata = file.metadata()
    save_file(weights, run / "checkpoint.safetensors", metadata)

    with pytest.raises(RunError, match=r"autoencoder\.stages\.0\.filters\.weight holds a weight that float16"):
        export(run, tmp_path / "half", precision="float16")
    assert not (tmp_path / "half").exists()


def test_a_network_that_was_not_trained_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no neurons to export"):
        export(tiny_run(tmp_path / "run"), tmp_path / "exported", only="neurons")
