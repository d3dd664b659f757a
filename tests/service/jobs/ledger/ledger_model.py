"""A job and its shards in the plainest Python: what the ledger must show."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.plans import sample_plan

PLAN = sample_plan(count=18, ttl_ms=3_600_000, client="lab")
SHARDS = range(PLAN.shards)
MAX_ATTEMPTS = 2


@dataclass
class Shard:
    """What the model knows of a shard."""

    state: str = "READY"
    attempt: int = 0
    failures: int = 0
    progress: int = 0
    digest: str = ""


@dataclass
class Model:
    """A job, in the plainest Python."""

    state: str = "QUEUED"
    shards: list[Shard] = field(default_factory=lambda: [Shard() for _ in SHARDS])
    high: int = 0
    round: int = 0
    created: bool = False
    most_failed: int | None = None

    @property
    def waiting(self) -> str:
        """The state of a job whose shards may be claimed."""
        return "RUNNING" if any(shard.attempt for shard in self.shards) else "QUEUED"

    @property
    def gone(self) -> bool:
        """Whether it has ended, and may be deleted or is being."""
        return self.state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "DELETING")

    def images(self) -> int:
        """Images done now."""
        done = sum(len(PLAN.span(k)) for k in SHARDS if self.shards[k].state == "DONE")
        return done + sum(shard.progress for shard in self.shards if shard.state == "LEASED")

    def count(self, state: str) -> int:
        """Shards in a state."""
        return sum(shard.state == state for shard in self.shards)

    def settle(self) -> None:
        """What follows from any change."""
        self.high = max(self.high, self.images())
        if self.state in ("RUNNING", "PAUSED") and self.count("DONE") + self.count("FAILED") == PLAN.shards:
            self.state = "FINALIZING"
        failing_job = self.most_failed is not None and self.count("FAILED") > self.most_failed
        if self.state in ("QUEUED", "RUNNING", "PAUSED") and failing_job:
            self.state = "FINALIZING"

    def fail(self, k: int) -> None:
        """End an attempt that failed."""
        shard = self.shards[k]
        shard.failures += 1
        shard.state = "READY" if shard.failures < MAX_ATTEMPTS else "FAILED"
