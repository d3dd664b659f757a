"""What requests about jobs have in common: names, labels, job options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from google.protobuf.duration_pb2 import Duration
from mintage.v1 import jobs_pb2

from service.jobs.plan import MAX_PRIORITY, MAX_SHARDS
from service.validation import LABEL_NAME, MAX_LABEL_VALUE, OUTPUT_PREFIX, REQUEST_ID, Violations, shown

RESERVED_PREFIX = "jobs"
MAX_LABELS = 32  # some kilobytes beside each job in Redis, at most
MIN_TTL_MS, MAX_TTL_MS = 1000, 3653 * 86_400_000  # a second, ten years

FORMATS: dict[jobs_pb2.OutputFormat.ValueType, Literal["webdataset-png", "png-folder", "parquet", "npz"]] = {
    jobs_pb2.OUTPUT_FORMAT_WEBDATASET: "webdataset-png",
    jobs_pb2.OUTPUT_FORMAT_PNG: "png-folder",
    jobs_pb2.OUTPUT_FORMAT_PARQUET: "parquet",
    jobs_pb2.OUTPUT_FORMAT_NPZ: "npz",
}
FORMAT_NUMBERS: dict[str, jobs_pb2.OutputFormat.ValueType] = {name: number for number, name in FORMATS.items()}

Creation = jobs_pb2.CreateSampleJobRequest | jobs_pb2.CreateScoreJobRequest


def checked_name(name: str) -> str:
    """Return the id in `jobs/{job}`.

    Raises:
        InvalidArgument: if it is not.
    """
    violations = Violations()
    job = violations.job_name("name", name)
    violations.check()
    return job


def check_common(request: Creation, violations: Violations) -> None:
    """Note every wrong field that requests of all kinds have."""
    if request.output_prefix:
        expected = "up to 8 segments of a-z, A-Z, 0-9, '.', '_' and '-' joined by '/', none beginning with a dot"
        violations.matches("output_prefix", request.output_prefix, OUTPUT_PREFIX, expected)
    violations.in_range("priority", request.priority, -MAX_PRIORITY, MAX_PRIORITY)
    if request.output_prefix == RESERVED_PREFIX:
        violations.add("output_prefix", "must not be 'jobs', which holds the jobs without a prefix")
    if request.request_id:
        violations.matches("request_id", request.request_id, REQUEST_ID, "1 to 128 printable ASCII characters")
    check_labels(request.labels, violations)
    if request.HasField("ttl"):
        _check_ttl(request.ttl, violations)
    if request.HasField("max_failed_shards"):
        violations.in_range("max_failed_shards", request.max_failed_shards, 0, MAX_SHARDS)


def check_labels(labels: Mapping[str, str], violations: Violations) -> None:
    """Note `labels` for each one that is wrong."""
    if len(labels) > MAX_LABELS:
        violations.add("labels", f"must be at most {MAX_LABELS}, not {len(labels):,}")
        return
    for name, value in sorted(labels.items()):
        expected = "1 to 63 of a-z, 0-9, '.', '_' and '-' after a letter"
        violations.matches("labels", name, LABEL_NAME, f"named by {expected}")
        if len(value) > MAX_LABEL_VALUE or not value.isprintable():
            text = f"{shown(name)} must be at most {MAX_LABEL_VALUE} printable characters, not {shown(value)}"
            violations.add("labels", text)


def job_options(request: Creation) -> dict[str, Any]:
    """Return the options of a job that decide no image, by their names in its plan; unset ones are left out.

    They too tell two requests with the same request id apart.
    """
    options: dict[str, Any] = {}
    if request.priority:
        options["priority"] = request.priority
    if request.labels:
        options["labels"] = dict(request.labels)
    if request.HasField("ttl"):
        options["ttl_ms"] = request.ttl.ToMilliseconds()
    if request.HasField("max_failed_shards"):
        options["max_failed_shards"] = request.max_failed_shards
    return options


def _check_ttl(ttl: Duration, violations: Violations) -> None:
    sound = 0 <= ttl.nanos < 1_000_000_000
    if not sound or not MIN_TTL_MS <= ttl.ToMilliseconds() <= MAX_TTL_MS:
        violations.add("ttl", f"must be from 1 second to 10 years, not {ttl.seconds:,} s and {ttl.nanos:,} ns")
