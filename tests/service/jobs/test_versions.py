"""The version of what is stored about jobs rises with its fields, so that an older Mintage leaves newer jobs alone."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from importlib import resources
from typing import Any

from service.jobs.manifest import ListedFailure, ListedShard, Manifest
from service.jobs.plan import VERSION, PassedOver, Plan, Sampling, ScoredConcept, Scoring
from service.jobs.shards.marker import Marker

STORED: tuple[Any, ...] = (
    Plan,
    Sampling,
    Scoring,
    ScoredConcept,
    PassedOver,
    Marker,
    Manifest,
    ListedShard,
    ListedFailure,
)
FIELDS = {VERSION: "6421e7e763d09963"}  # replaced whenever VERSION rises; an entry is never edited otherwise


def stored_fields() -> list[str]:
    """Every field of the stored files with its type, and every key and letter of a record in Redis."""
    fields = [f"{kind.__name__}.{field.name}: {field.type}" for kind in STORED for field in dataclasses.fields(kind)]
    prelude = (resources.files("service.jobs.ledger") / "lua" / "prelude.lua").read_text()
    keys = re.findall(r"^--   ([a-z]\S*)  ", prelude, re.M)
    record = re.findall(r"\b([a-z]) [a-z]", re.findall(r"-- A record: (.*?)Counters:", prelude, re.S)[0])
    counters = re.findall(r"`(\w+)`", re.findall(r"Counters: (.*?)Times are", prelude, re.S)[0])
    return [*fields, *keys, *record, *counters]


def test_the_version_rises_with_the_fields() -> None:
    found = hashlib.sha256("\n".join(stored_fields()).encode()).hexdigest()[:16]
    assert FIELDS[VERSION] == found, (
        f"what is stored about jobs has other fields now: raise VERSION in service/jobs/plan.py, and put "
        f"{found} in the place of {FIELDS[VERSION]}"
    )


def test_plans_markers_and_the_ledger_have_that_version() -> None:
    defaults = {kind: kind.__dataclass_fields__["version"].default for kind in (Plan, Marker)}
    assert set(defaults.values()) == {VERSION}
