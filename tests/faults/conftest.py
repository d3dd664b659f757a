"""An engine of real processes; its model server runs in the test's own process, on TorchServe's wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.engine import Engine, running_engine
from tests.support.model_server import FakeTorchServe, running_model_server
from tests.support.valkey import Valkey


@pytest.fixture
def models() -> Iterator[FakeTorchServe]:
    """The model server."""
    with running_model_server() as server:
        yield server


@pytest.fixture
def engine(tmp_path: Path, valkey: Valkey, models: FakeTorchServe) -> Iterator[Engine]:
    """An engine without processes yet."""
    with running_engine(tmp_path / "state", valkey, models) as engine:
        yield engine
