"""A scripted server, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mintage.client import Client

from tests.client.answers import QUICK
from tests.client.fakes import Script


@pytest.fixture
def script() -> Iterator[Script]:
    with Script().served() as script:
        yield script


@pytest.fixture
def client(script: Script) -> Iterator[Client]:
    with Client(script.address, retries=QUICK, timeout_s=60) as client:
        yield client
