"""Lists of jobs: by state, kind, client and labels, page by page, with bounded work a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.jobs.ledger import Ledger
from service.jobs.views import JobView

LOOKS = 1000  # jobs that one script looks at: a millisecond or two of Redis's time
SCRIPTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs: in one of these states, of this kind and client, with all of these labels. Empty is any."""

    states: frozenset[str] = frozenset()
    kind: str = ""
    client: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """What the script reads."""
        wanted: dict[str, Any] = {
            "states": dict.fromkeys(sorted(self.states), True),
            "kind": self.kind,
            "client": self.client,
            "labels": dict(self.labels),
        }
        return json.dumps({name: value for name, value in wanted.items() if value})


async def page(ledger: Ledger, wanted: Wanted, *, after: str, size: int) -> tuple[list[JobView], str]:
    """Return the next jobs that are as wanted, the newest first, and where to go on: an id, '' after the last one.

    A page may have fewer jobs than `size` though there are more: where few of very many are wanted, it ends early.

    Args:
        ledger: the ledger.
        wanted: which.
        after: the id after which to begin; '' begins with the newest.
        size: at most this many.
    """
    ids: list[str] = []
    text, last = wanted.to_json(), after
    for _ in range(SCRIPTS):
        reply = await ledger.run("page", last, size + 1 - len(ids), LOOKS, text)
        ids += reply["jobs"]
        last = str(reply["last"])
        if not last or len(ids) > size:
            break
    if len(ids) > size:
        last = ids[size - 1]
    return await ledger.views(ids[:size]), last
