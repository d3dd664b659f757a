"""What the ledger returns: a job, a shard, a lease, work for the dispatcher."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from service.jobs.ledger.eta import MIN_SHARDS, Eta, eta
from service.jobs.plan import Plan, PlanError, check_version, read_plan
from service.jobs.steps import Step

RATE_WINDOW_S = 10.0  # TAU_MS in lua/prelude.lua

JobState = Literal[
    "QUEUED",
    "RUNNING",
    "PAUSED",
    "FINALIZING",
    "CANCELLING",
    "SUCCEEDED",
    "PARTIALLY_SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "DELETING",
    "UNREADABLE",
]
ShardState = Literal["READY", "LEASED", "DONE", "FAILED"]
TERMINAL: frozenset[str] = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"})
_SHARD_STATES: dict[str, ShardState] = {"R": "READY", "L": "LEASED", "D": "DONE", "F": "FAILED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as the ledger has it. Times are milliseconds since 1970, 0 if not yet.

    `round` says how often failed shards were given fresh attempts, `mends` how often in this round damaged ones were
    made again before the end, `wait_reason` why an unfinished job makes no progress, `step` what is being done to end
    it, once that has taken a moment.
    """

    plan: Plan
    state: JobState
    revision: int
    images_done: int
    images_committed: int
    bytes_committed: int
    shards_running: int
    shards_done: int
    shards_failed: int
    attempts: int
    round: int
    mends: int
    images_per_second: float
    eta: Eta | None
    start_time_ms: int
    end_time_ms: int
    error: str
    wait_reason: str
    step: Step | None
    root_digest: str
    result: dict[str, Any] | None

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableJob:
    """A job whose plan this version cannot read: it is damaged, or made by a newer Mintage. `error` says which.

    What it is listed by is empty where that is not known. Nobody works on it.
    """

    job: str
    error: str
    prefix: str
    create_time_ms: int
    client: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardView:
    """A shard as the ledger has it. `recorded` is the digest of one that was done and must be made again."""

    index: int
    state: ShardState
    attempt: int
    worker: str
    digest: str
    error: str
    recorded: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one shard until it is not renewed; `attempt` is the fencing token.

    `recorded` is the digest that the shard must have, if it was done before and is made again; `plan` the job's plan as
    JSON, where the lease was just given.
    """

    job: str
    shard: int
    attempt: int
    recorded: str = ""
    plan: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Work for the dispatcher: hints to send, and whether it should poll again soon."""

    hints: list[tuple[str, int]]
    busy: bool
    slots: int


def view_of(fields: dict[str, str], now_ms: int) -> JobView | UnreadableJob:
    """Read the fields of a job's hash at a time of Redis's clock, whatever its plan is like."""
    try:
        check_version(json.dumps({"version": int(fields.get("version", "0"))}))
        if fields["state"] != "UNREADABLE":
            return job_view(fields, now_ms)
        error = fields.get("error", "")
    except PlanError as unread:
        error = f"{unread.reason}: {unread}"
    return UnreadableJob(
        job=fields["job"],
        error=error,
        prefix=fields.get("prefix", ""),
        create_time_ms=int(fields.get("created", "0")),
        client=fields.get("client", ""),
        labels=json.loads(fields.get("labels", "{}")),
    )


def job_view(fields: dict[str, str], now_ms: int) -> JobView:
    """Read the fields of a job's hash at a time of Redis's clock."""

    def number(name: str) -> int:
        return int(float(fields.get(name, "0")))

    plan = read_plan(fields["plan"])
    return JobView(
        plan=plan,
        state=fields["state"],  # type: ignore[arg-type]
        revision=number("rev"),
        images_done=number("high"),
        images_committed=number("committed"),
        bytes_committed=number("bytes"),
        shards_running=number("running"),
        shards_done=number("done"),
        shards_failed=number("failed"),
        attempts=number("attempts"),
        round=number("round"),
        mends=number("mends"),
        images_per_second=_rate(fields, now_ms),
        eta=_eta(fields, plan, now_ms),
        start_time_ms=number("started"),
        end_time_ms=number("ended"),
        error=fields.get("error", ""),
        wait_reason=fields.get("wait", ""),
        step=Step(*json.loads(fields["step"])) if "step" in fields else None,
        root_digest=fields.get("root", ""),
        result=json.loads(fields["result"]) if fields.get("result") else None,
    )


def _rate(fields: dict[str, str], now_ms: int) -> float:
    """Recent images per second: an exponentially fading mean, corrected while the job is younger than the window."""
    started, ended = float(fields.get("started", 0)), float(fields.get("ended", 0))
    if ended > started > 0:
        return float(fields.get("high", 0)) * 1000 / (ended - started)
    if not started or now_ms <= started:
        return 0.0
    faded = float(fields.get("rate", 0)) * math.exp((float(fields.get("rate_at", 0)) - now_ms) / 1000 / RATE_WINDOW_S)
    return faded / -math.expm1((started - now_ms) / 1000 / RATE_WINDOW_S)


def _eta(fields: dict[str, str], plan: Plan, now_ms: int) -> Eta | None:
    """The time left of a running job that has finished enough shards to judge by."""
    high, finished = int(fields.get("high", 0)), int(fields.get("done", 0))
    left = plan.count - high
    if fields["state"] != "RUNNING" or finished < MIN_SHARDS or left <= 0 or "trail" not in fields:
        return None
    _, *trail = json.loads(fields["trail"])
    points = [(at / 1000, images) for at, images in zip(trail[::2], trail[1::2], strict=True)]
    took_s, squares = int(fields.get("took", 0)) / 1000, float(fields.get("took2", 0)) / 1e6
    mean_s = took_s / finished
    return eta(
        [*points, (max(now_ms / 1000, points[-1][0]), high)],
        left=left,
        shard_size=plan.shard_size,
        running=int(fields.get("running", 0)),
        shard_s=mean_s,
        shard_deviation_s=math.sqrt(max(squares / finished - mean_s**2, 0.0)),
    )


def shard_view(index: int, record: dict[str, Any]) -> ShardView:
    """Read a shard's record."""
    return ShardView(
        index=index,
        state=_SHARD_STATES[record["s"]],
        attempt=int(record["a"]),
        worker=str(record.get("w", "")),
        digest=str(record.get("d", "")),
        error=str(record.get("e", "")),
        recorded=str(record.get("x", "")),
    )


def leases_of(reply: Mapping[str, Any]) -> list[Lease]:
    """Read the leases that were taken back."""
    return [Lease(each["job"], int(each["shard"]), int(each["attempt"])) for each in reply["ended"]]


def dispatch_of(reply: Mapping[str, Any]) -> Dispatch:
    """Read what the dispatcher has to send."""
    hints = [(str(job), int(shard)) for job, shard in reply["hints"]]
    return Dispatch(hints, bool(reply["busy"]), int(reply["slots"]))
