"""The picture that import-linter holds is that of the whole house, not only of the folders that it happens to see."""

from __future__ import annotations

from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"service": "service", "handlers": "handlers", "training": "training", "mintage": "protos/mintage"}


def test_import_linter_sees_every_module() -> None:
    """It passes over folders without an `__init__.py` in silence."""
    seen = grimp.build_graph(*PACKAGES).modules
    there = {module(path, name, ROOT / folder) for name, folder in PACKAGES.items() for path in files(ROOT / folder)}

    assert sorted(there - seen) == []


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if "__pycache__" not in path.parts]


def module(path: Path, package: str, folder: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])
