"""Families of models: one file per family builds its networks and begins its training."""

from __future__ import annotations

import importlib
from typing import Any

from training.config import RunConfig
from training.families.family import Family

__all__ = ["Family", "family_of"]


def family_of(config: RunConfig) -> Family[Any]:
    """Return what builds the networks of a run: the `FAMILY` of the module that its recipe names.

    Only that family's module is imported, so that loading one model does not load the code of all others.
    """
    module = importlib.import_module(f"{__name__}.{config.settings.FAMILY}")
    family: type[Family[Any]] = module.FAMILY
    return family(config)
