from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.jobs.storage.store import open_store
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
