"""The models that unfinished jobs need, according to the ledger."""

from __future__ import annotations

from redis.asyncio import Redis

from service.errors import MintageError
from service.jobs.ledger.scripts import Scripts


class LedgerPins:
    """`service.models.pins.Pins` over the ledger."""

    def __init__(self, client: Redis) -> None:
        self._scripts = Scripts(client)

    async def needed(self) -> frozenset[str] | None:
        """Backend names that unfinished jobs need; None if Redis does not answer, or has lost all jobs."""
        try:
            reply = await self._scripts.run("pins")
        except MintageError:
            return None
        return frozenset(reply["backends"]) if reply["known"] else None
