"""TorchServe's own loader finds the one class of a handler file, and what it returns answers requests."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handlers.entry_points.handler import Handler
from service.backend.protocol import messages
from service.errors import FailedPrecondition
from training.recipes import Kind

FOLDERS: dict[Kind, str] = {
    "generator": "generator_folder",
    "classifier": "classifier_folder",
    "neurons": "neurons_folder",
}
SIZES: dict[Kind, tuple[int, int]] = {"generator": (6, 5), "classifier": (6, 5), "neurons": (12, 12)}


@pytest.fixture(scope="module")
def torchserve() -> Any:
    """TorchServe's loader; its package reads a file that it does not close."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return importlib.import_module("ts.model_loader")


@pytest.fixture
def folder(kind: Kind, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An unpacked archive, on the path of modules as in a worker of TorchServe."""
    path: Path = request.getfixturevalue(FOLDERS[kind])
    monkeypatch.syspath_prepend(path)
    yield path
    sys.modules.pop(kind, None)


@pytest.mark.parametrize("kind", FOLDERS)
def test_torchserve_loads_an_archive_and_its_handler_answers(kind: Kind, folder: Path, torchserve: Any) -> None:
    service = torchserve.TsModelLoader().load("tiny", str(folder), handler=f"{kind}.py", batch_size=2)

    answers = service._entry_point([messages.describe_request(), messages.canary_request()], service.context)

    described = messages.read_description(answers[0])
    assert (described.kind, described.height, described.width) == (kind, *SIZES[kind])
    messages.read_canary(answers[1])


@pytest.mark.parametrize("kind", FOLDERS)
def test_an_imported_class_is_not_mistaken_for_the_handler(kind: Kind, folder: Path, torchserve: Any) -> None:
    module = importlib.import_module(kind)

    classes = torchserve.list_classes_from_module(module)

    assert [each.__name__ for each in classes] == [f"{kind.capitalize()}Handler"]
    assert issubclass(classes[0], Handler)
    assert vars(module)["Handler"] is Handler


@pytest.mark.parametrize("kind", ["generator"])
def test_a_process_that_was_not_started_to_compute_the_same_bits_refuses_to_serve(
    kind: Kind, folder: Path, torchserve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    service = torchserve.TsModelLoader().load("tiny", str(folder), handler=f"{kind}.py", batch_size=2)
    [answer] = service._entry_point([messages.describe_request()], service.context)
    with pytest.raises(FailedPrecondition, match="started with MKL_CBWR=AUTO,STRICT"):
        messages.read_description(answer)
