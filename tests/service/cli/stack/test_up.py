from __future__ import annotations

import pytest

from service.cli.stack import up


def test_settings_hold_for_the_stack_but_not_those_that_it_chooses_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "MINTAGE_QUOTA_JOBS": "7",
        "MINTAGE_OUTPUT_DIR": "s3://b",
        "MINTAGE_REDIS_URL": "x",
        "MINTAGE_ODD": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    inherited = up.inherited_settings()
    assert (inherited["MINTAGE_QUOTA_JOBS"], inherited["MINTAGE_OUTPUT_DIR"]) == ("7", "s3://b")
    assert "MINTAGE_REDIS_URL" not in inherited and "MINTAGE_ODD" not in inherited
