"""Pages of jobs and of shards that match a filter, with bounded work per call."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView, ShardView, UnreadableJob

JOBS_PER_SCRIPT = 1000  # that one script looks at: a millisecond or two of Redis's time
MAX_SCRIPTS = 50  # per page, so that a filter that matches almost nothing ends a page early


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Jobs in one of these states, of this kind and client, with all of these labels; an empty field matches all."""

    states: frozenset[str] = frozenset()
    kind: str = ""
    client: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the filter as the script reads it."""
        wanted: dict[str, Any] = {
            "states": dict.fromkeys(sorted(self.states), True),
            "kind": self.kind,
            "client": self.client,
            "labels": dict(self.labels),
        }
        return json.dumps({name: value for name, value in wanted.items() if value})


async def page(
    ledger: Ledger, job_filter: JobFilter, *, after: str, size: int
) -> tuple[list[JobView | UnreadableJob], str]:
    """Return the next jobs that match, newest first, and the id where the next page begins, '' after the last one.

    A page may have fewer jobs than `size` though more follow: where few of very many match, it ends early.

    Args:
        ledger: the ledger.
        job_filter: which jobs.
        after: the id after which to begin; '' begins with the newest.
        size: most jobs.
    """
    ids: list[str] = []
    text, last = job_filter.to_json(), after
    for _ in range(MAX_SCRIPTS):
        reply = await ledger.run("page", last, size + 1 - len(ids), JOBS_PER_SCRIPT, text)
        ids += reply["jobs"]
        last = str(reply["last"])
        if not last or len(ids) > size:
            break
    if len(ids) > size:
        last = ids[size - 1]
    return await ledger.views(ids[:size]), last


async def shard_page(
    ledger: Ledger, job: str, states: Collection[str], *, first: int, size: int
) -> tuple[list[ShardView], int]:
    """Return the next shards in one of these states, in order, and the number of the shard where the next page begins.

    As with `page`, fewer than `size` may come though more follow.

    Args:
        ledger: the ledger.
        job: the job's id.
        states: of the shards; none means all.
        first: the shard to begin with.
        size: most shards.

    Raises:
        NotFound: if the job does not exist.
    """
    found: list[ShardView] = []
    for _ in range(MAX_SCRIPTS):
        shards = await ledger.shards(job, first=first, limit=JOBS_PER_SCRIPT if states else size)
        for shard in shards:
            if len(found) == size:
                return found, first
            first = shard.index + 1
            if not states or shard.state in states:
                found.append(shard)
        if len(found) == size or not shards:
            break
    return found, first
