"""Fixtures of the handlers' tests."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from handlers.archive import pack
from handlers.compute.model import Model, load
from tests.support.runs import tiny_autoencoder, tiny_run
from training.recipes import Kind

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def process_settings() -> Iterator[None]:
    """Put back what a handler sets for its whole process."""
    threads, level = torch.get_num_threads(), logging.getLogger().level
    deterministic = torch.get_deterministic_debug_mode()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(deterministic)
    logging.getLogger().setLevel(level)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run folder with tiny networks."""
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


def unpacked(run: Path, kind: Kind, folder: Path) -> Path:
    """Pack one network of a run with micro-batches of 8 and unpack it, as TorchServe would."""
    packed = pack(run, kind, folder / f"{kind}.mar", micro_batch=8)
    with zipfile.ZipFile(packed.path) as archive:
        archive.extractall(folder / kind)
    return folder / kind


@pytest.fixture(scope="session")
def generator_folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked archive of the generator."""
    return unpacked(run, "generator", tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def classifier_folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked archive of the classifier."""
    return unpacked(run, "classifier", tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def neurons_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked archive of an autoencoder with two concepts."""
    run = tiny_autoencoder(tmp_path_factory.mktemp("runs") / "autoencoder")
    return unpacked(run, "neurons", tmp_path_factory.mktemp("archive"))


@pytest.fixture
def neurons(neurons_folder: Path) -> Model:
    """The autoencoder, loaded."""
    return load(neurons_folder, "neurons", CPU)


@pytest.fixture
def generator(generator_folder: Path) -> Model:
    """The generator, loaded."""
    return load(generator_folder, "generator", CPU)


@pytest.fixture
def classifier(classifier_folder: Path) -> Model:
    """The classifier, loaded."""
    return load(classifier_folder, "classifier", CPU)
