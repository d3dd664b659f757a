"""Every test has a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where decoded images go; outside the folder that the test fills."""
    folder = tmp_path_factory.mktemp("cache") / "mintage"
    monkeypatch.setenv("MINTAGE_CACHE_DIR", str(folder))
    return folder
