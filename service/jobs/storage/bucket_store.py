"""Jobs in a bucket of an S3-compatible store: the keys `{base}/{prefix}/{name}` are what files are in a folder.

Only what sums up a job, and what is damaged, is ever overwritten: every other object is put with `If-None-Match: *`,
which the store must honour (S3 itself, MinIO, Ceph, R2, ...). After each put the sizes are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import S3Store

from service.jobs.plan import PLAN_FILE
from service.jobs.storage.bucket import Bucket
from service.jobs.storage.bucket_errors import explained
from service.jobs.storage.bucket_output import ObjectOutput
from service.jobs.storage.spool import Spool

if TYPE_CHECKING:
    from service.settings import Settings

LISTINGS_AT_ONCE = 16  # requests in flight hide the latency of each
MAX_DEPTH = 8  # segments of a prefix
MAX_RETRIES, RETRY_FOR_S = 4, 20  # of one call; after that the attempt, or the caller, tries again
CONNECT_S, CALL_S, UPLOAD_S = 5, 30, 1800  # limits; an upload may be 5 GiB over a slow line


class ObjectStore:
    """A bucket, or the part of it below `base`."""

    def __init__(self, bucket: Bucket, spool: Spool) -> None:
        self._bucket, self._spool = bucket, spool

    def output(self, prefix: str, *, existing: bool = False) -> ObjectOutput:
        """Name a job's folder."""
        return ObjectOutput(self._bucket, self._spool, prefix, existing=existing)

    def plan_prefixes(self) -> Iterator[str]:
        """Yield the prefixes that hold a plan; does not look below a job. Lists many folders at a time."""
        level = [""]
        with ThreadPoolExecutor(LISTINGS_AT_ONCE) as pool:
            for _ in range(MAX_DEPTH + 1):
                below: list[str] = []
                for prefix, (folders, files) in zip(level, pool.map(self._listed, level), strict=True):
                    if prefix and PLAN_FILE in files:
                        yield prefix
                    else:
                        below += [f"{prefix}/{name}".lstrip("/") for name in folders if not name.startswith(".")]
                level = sorted(below)

    def check_writable(self, prefix: str) -> None:
        """Check that the bucket exists and may be listed; only writing shows whether it may be written."""
        self._listed(prefix)

    def uri(self, prefix: str) -> str:
        """Return the URL of a job's folder."""
        return f"s3://{self._bucket.name}/{self._bucket.key(prefix)}"

    def _listed(self, prefix: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the objects in a folder."""
        key = self._bucket.key(prefix)
        with explained(self._bucket.name, prefix):
            found = self._bucket.calls.list_with_delimiter(key or None)
        folders, files = found["common_prefixes"], [entry["path"] for entry in found["objects"]]
        return [path.rpartition("/")[2] for path in folders], [path.rpartition("/")[2] for path in files]


def open_object_store(settings: Settings) -> ObjectStore:
    """Return the store that `s3://bucket/base` in `output_dir` names. Makes no request."""
    name, _, base = settings.outputs.removeprefix("s3://").partition("/")
    bucket = Bucket(name, base.strip("/"), _client(settings, name, CALL_S), _client(settings, name, UPLOAD_S))
    return ObjectStore(bucket, Spool(settings.spool))


def _client(settings: Settings, bucket: str, timeout_s: int) -> S3Store:
    """Return a client; without keys in the settings it uses those that AWS's own tools find."""
    config: dict[str, str | bool] = {"region": settings.s3_region}
    if settings.s3_endpoint:
        config["endpoint"] = settings.s3_endpoint
    if settings.s3_access_key_id.get_secret_value():
        config["access_key_id"] = settings.s3_access_key_id.get_secret_value()
        config["secret_access_key"] = settings.s3_secret_access_key.get_secret_value()
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]
        client_options={
            "allow_http": settings.s3_allow_http,
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "read_timeout": timedelta(seconds=timeout_s),  # runs while a request is sent, too
            "timeout": timedelta(seconds=timeout_s),
        },
        retry_config={
            "max_retries": MAX_RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_FOR_S),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=3),
                "base": 2,
            },
        },
    )
