"""Whether jobs can be written is found by writing, and what is in the way is told with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import FailedPrecondition, Unavailable
from service.jobs.storage.store import open_store
from service.jobs.storage.trial import try_out
from service.processes.stack import Stack
from service.processes.supervisor import ProcessFailedError
from service.settings import Settings
from tests.support.s3 import KEY, SECRET, S3Server
from tests.support.valkey import free_port


def settings_of(s3: S3Server, tmp_path: Path, **changes: str) -> Settings:
    return Settings.model_validate({"state_dir": str(tmp_path), **s3.settings("base"), **changes})


def test_a_trial_leaves_nothing(s3: S3Server, tmp_path: Path) -> None:
    try_out(open_store(settings_of(s3, tmp_path)))
    assert s3.objects() == {} and any(request.startswith("PUT") for request in s3.faults.requests)
    try_out(open_store(Settings.model_validate({"state_dir": str(tmp_path)})))
    assert list((tmp_path / "outputs").iterdir()) == []


@pytest.mark.parametrize(
    ("method", "status", "code", "said"),
    [
        ("PUT", 403, "AccessDenied", "refuses access to the bucket mint .*must allow"),
        ("POST", 403, "AccessDenied", "refuses access to the bucket mint"),
        ("", 403, "InvalidAccessKeyId", "does not accept the credentials .*S3_SECRET_ACCESS_KEY"),
        ("", 403, "SignatureDoesNotMatch", "does not accept the credentials"),
        ("", 401, "", "does not accept the credentials"),
        ("", 404, "NoSuchBucket", "has no bucket mint; create it"),
    ],
)
def test_each_cause_has_its_hint(s3: S3Server, tmp_path: Path, method: str, status: int, code: str, said: str) -> None:
    s3.faults.method, s3.faults.refused_status, s3.faults.code = method, status, code
    with pytest.raises(FailedPrecondition, match=said) as caught:
        try_out(open_store(settings_of(s3, tmp_path)))
    assert caught.value.reason == "OUTPUT_UNAVAILABLE"
    assert KEY not in str(caught.value) and SECRET not in str(caught.value)


def test_a_store_without_a_route_is_told_from_one_that_refuses(s3: S3Server, tmp_path: Path) -> None:
    nowhere = settings_of(s3, tmp_path, s3_endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=r"no connection.*S3_ENDPOINT, and whether this machine reaches it"):
        try_out(open_store(nowhere))


def test_a_folder_that_cannot_be_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="cannot be written"):
        try_out(open_store(Settings.model_validate({"output_dir": str(tmp_path / "file" / "outputs")})))


def test_a_stack_whose_bucket_may_not_be_written_does_not_start(s3: S3Server, tmp_path: Path) -> None:
    s3.faults.method, s3.faults.refused_status = "PUT", 403
    overrides = {f"MINTAGE_{name.upper()}": value for name, value in s3.settings().items()}
    with (
        Stack(tmp_path, overrides=overrides) as stack,
        pytest.raises(ProcessFailedError, match="must allow these credentials"),
    ):
        stack.start()
    assert not (tmp_path / "logs").exists()
