"""A turn of the dispatcher: all that it asks of Redis, in one round trip."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import Dispatch, Lease, dispatch_of, leases_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a turn goes by; `Ledger.lead`, `expire` and `dispatch` say what each means. Times are in seconds."""

    lease_s: float
    max_attempts: int
    pause_s: float
    queue_key: str
    per_slot: int
    lost_after_s: float
    dead_after_s: float
    most_ended: int = 100

    @property
    def arguments(self) -> list[int]:
        """What expire.lua and dispatch.lua take."""
        pause, lost, dead = (round(seconds * 1000) for seconds in (self.pause_s, self.lost_after_s, self.dead_after_s))
        return [self.most_ended, self.max_attempts, pause, self.per_slot, lost, dead]


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the dispatcher.

    Attributes:
        leads: whether it leads.
        incarnation: a value that changes when Redis restarts, perhaps without the last second's writes, or is emptied.
        ended: leases that were taken back.
        dispatch: what to send; None if it does not lead, or the incarnation is not the one that is indexed.
        ending: jobs that can be finished.
    """

    leads: bool
    incarnation: str = ""
    ended: list[Lease] = field(default_factory=list)
    dispatch: Dispatch | None = None
    ending: list[str] = field(default_factory=list)


async def take_turn(ledger: Ledger, name: str, indexed: str, rules: Rules) -> Turn:
    """Do what `Ledger.lead`, `expire`, `dispatch` and `ending` do.

    Args:
        ledger: the ledger.
        name: of the dispatcher.
        indexed: the incarnation of Redis whose jobs are all indexed; in another one nothing is done but to lead.
        rules: what to go by.
    """
    lease_ms = round(rules.lease_s * 1000)
    reply = await ledger.run("turn", name, lease_ms, indexed, *rules.arguments, keys=[rules.queue_key])
    if "hints" not in reply:
        return Turn(bool(reply["leads"]), str(reply.get("incarnation", "")))
    return Turn(True, str(reply["incarnation"]), leases_of(reply), dispatch_of(reply), list(reply["jobs"]))
