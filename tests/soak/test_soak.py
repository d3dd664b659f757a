"""A short soak; `./mint test --soak 10m` is the long one."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.soak.__main__ import seconds_of, soak

SECONDS = 60.0
TURNS = 3  # now and then no fault of a minute meets a shard that is being made, on a busy machine where few are


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_minute_of_faults_breaks_no_promise(tmp_path: Path) -> None:
    for turn in range(TURNS):
        seed = secrets.randbits(32)
        print(f"again: ./mint test --soak {SECONDS:g}s --seed {seed}")
        outcome = soak(tmp_path / str(turn), seconds=SECONDS, seed=seed)
        print(outcome.text)
        assert outcome.broken == []
        assert sum(outcome.faults.values()) > 10 and outcome.jobs > 10
        if outcome.attempts > outcome.shards:
            return
    pytest.fail("no fault of any turn cost a shard of a job that is still there its attempt: they miss the work")


def test_times_are_read() -> None:
    assert [seconds_of(text) for text in ("5", "90s", "10m", "1.5h")] == [5, 90, 600, 5400]
    with pytest.raises(ValueError, match="no time"):
        seconds_of("soon")
