from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.jobs.storage.store import open_store
from service.processes import torchserve
from service.settings import Settings

SECRET = "a-secret-that-no-text-may-show"
STORE = {
    "output_dir": "s3://bucket/some/prefix",
    "s3_endpoint": "https://minio.example:9000",
    "s3_access_key_id": "test-key",
    "s3_secret_access_key": SECRET,
}


def settings_of(**changes: Any) -> Settings:
    return Settings.model_validate({**STORE, **changes})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"output_dir": "gs://bucket"}, "s3://bucket/prefix"),
        ({"output_dir": "s3://"}, "s3://bucket/prefix"),
        ({"output_dir": "s3://my bucket/x"}, "s3://bucket/prefix"),
        ({"output_dir": "s3://bucket/a//b"}, "s3://bucket/prefix"),
        ({"output_dir": "s3://bucket/../b"}, "s3://bucket/prefix"),
        ({"output_dir": "s3://bucket?x/b"}, "s3://bucket/prefix"),
        ({"s3_endpoint": "http://minio.example:9000"}, "s3_allow_http"),
        ({"s3_endpoint": "HTTP://minio.example:9000"}, "https://host"),
        ({"s3_endpoint": "minio.example:9000"}, "https://host"),
        ({"s3_endpoint": "https://"}, "https://host"),
        ({"s3_endpoint": "https://:9000"}, "https://host"),
        ({"s3_endpoint": "https://minio.example:90000"}, "https://host"),
        ({"s3_endpoint": "https://minio.example:port"}, "https://host"),
        ({"s3_endpoint": "https://[::"}, "https://host"),
        ({"s3_endpoint": "https://me:password@minio.example"}, "https://host"),
        ({"s3_region": "eu\nwest"}, "region"),
        ({"s3_region": ""}, "region"),
        ({"s3_access_key_id": "key\n"}, "line break"),
        ({"s3_secret_access_key": "sec ret"}, "line break"),
        ({"s3_secret_access_key": ""}, "together"),
    ],
)
def test_an_object_store_that_cannot_be_reached_is_refused_at_once(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what) as caught:
        settings_of(**changes)
    assert SECRET not in str(caught.value) and "password" not in str(caught.value).replace("a password", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"output_dir": "s3://bucket"},
        {"output_dir": "s3://My_bucket.example/a/b-c_d.e/"},
        {"s3_endpoint": ""},
        {"s3_endpoint": "https://[::1]:9000"},
        {"s3_endpoint": "https://gateway.example/storage/v1/s3"},
        {"s3_endpoint": "http://minio:9000", "s3_allow_http": True},
        {"s3_access_key_id": "", "s3_secret_access_key": ""},
    ],
)
def test_any_other_is_opened(tmp_path: Path, changes: dict[str, Any]) -> None:
    store = open_store(settings_of(state_dir=tmp_path, **changes))
    assert store.uri("jobs/x").startswith("s3://") and store.uri("jobs/x").endswith("/jobs/x")


def test_secrets_are_in_no_text() -> None:
    assert SECRET not in repr(settings_of()) and "test-key" not in repr(settings_of())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"api_address": "foo"}, "must be host:port"),
        ({"api_address": "127.0.0.1:99999"}, "a port from 0 to 65535"),
        ({"torchserve_inference": "127.0.0.1:0"}, "a port from 1 to 65535"),
        ({"torchserve_management": "::1:7071"}, "must stand in brackets"),
        ({"redis_url": "foo"}, "must be redis://"),
        ({"redis_url": "redis://127.0.0.1:99999/0"}, "must be redis://"),
        ({"redis_url": "redis://127.0.0.1:6379/zero"}, "must be redis://"),
        ({"metrics_port": -1}, "greater than or equal to 0"),
        ({"state_dir": "/a\nb"}, "a path in UTF-8"),
        ({"archive_dir": "/a\udcff"}, "a path in UTF-8"),
    ],
)
def test_an_address_or_a_folder_that_can_be_none_is_refused_at_once(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        settings_of(**changes)


@pytest.mark.parametrize("url", ["redis://h", "redis://:p%40ss@[::1]:6379/15", "rediss://user:p@h.example:1?x=y"])
def test_every_redis_is_taken(url: str) -> None:
    assert settings_of(redis_url=url).redis_url.get_secret_value() == url


NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_range(name: str) -> None:
    for value in ("inf", "1e300", "-1e300", "nan"):
        with pytest.raises(ValidationError, match=name):
            settings_of(**{name: value})


def test_the_largest_times_are_ones_that_every_part_can_count() -> None:
    found = settings_of(max_deadline_s=3600, lease_s=86_400, job_ttl_s=10 * 365 * 86_400, max_message_bytes=2**30)
    text = torchserve.properties(found, Path("/state"))
    numbers = [int(value) for value in (line.partition("=")[2] for line in text.splitlines()) if value.isdecimal()]
    assert max(numbers) < 2**31
