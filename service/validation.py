"""Checks of request fields: collect every violation, then fail once."""

from __future__ import annotations

import re

from service.errors import FieldViolation, InvalidArgument

MODEL_NAME = re.compile(r"models/([a-z0-9-]{1,63})", re.ASCII)
CONCEPT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
CONCEPT_NAME = re.compile(rf"concepts/({CONCEPT.pattern})", re.ASCII)
DIRECTION = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
DIRECTION_NAME = re.compile(rf"directions/({DIRECTION.pattern})", re.ASCII)
JOB_NAME = re.compile(r"jobs/([a-z0-9]{1,40})", re.ASCII)
OUTPUT_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,7}", re.ASCII)
JOB_FILE = re.compile(
    r"\.mintage/contact-sheet\.png|data/train/metadata\.jsonl|[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", re.ASCII
)
ARCHIVE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.mar", re.ASCII)
ARCHIVE_RULE = "the name of a .mar file without any folder, of A-Z, a-z, 0-9, _, - and dots (not first)"
MODEL_RULE = "1 to 63 of a-z, 0-9 and -"
LABEL_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}", re.ASCII)
MAX_LABEL_VALUE = 63  # characters, as of a name: a label is no place for data
REQUEST_ID = re.compile(r"[!-~]{1,128}", re.ASCII)


class Violations:
    """Collects the wrong fields of one request; `check` raises InvalidArgument if there are any."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        """Note one wrong field."""
        self._found.append(FieldViolation(field, description))

    def in_range(self, field: str, value: float, low: float, high: float) -> None:
        """Note `field` unless low <= value <= high (NaN is outside every range)."""
        if not low <= value <= high:
            self.add(field, f"must be from {low:,} to {high:,}, not {value:,}")

    def matches(self, field: str, value: str, pattern: re.Pattern[str], expected: str) -> str:
        """Note `field` unless the whole value matches; returns the first group, or the value, or ''."""
        match = pattern.fullmatch(value)
        if match is None:
            self.add(field, f"must be {expected}, not {shown(value)}")
            return ""
        return match.group(1) if pattern.groups and match.group(1) is not None else value

    def model_name(self, field: str, value: str) -> str:
        """Note `field` unless it is `models/{model}`; returns {model}."""
        return self.matches(field, value, MODEL_NAME, f"models/{{model}} with {MODEL_RULE}")

    def job_name(self, field: str, value: str) -> str:
        """Note `field` unless it is `jobs/{job}`; returns {job}."""
        return self.matches(field, value, JOB_NAME, "jobs/{job}")

    def check(self) -> None:
        """Raise InvalidArgument if any field was wrong."""
        if self._found:
            raise InvalidArgument(self._found)


def shown(value: str) -> str:
    """Quote untrusted text for a message: escaped, at most 80 characters."""
    return ascii(value if len(value) <= 80 else value[:77] + "...")
