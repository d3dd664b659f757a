"""What a load did not read: every reader tells this one object what it passed over, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = 3  # names that are kept per reason


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Things that were not read for one reason.

    Attributes:
        reason: a noun phrase in the plural, such as "files that are no images".
        count: how many there were.
        first: the names of the first ones, printable, each once.
    """

    reason: str
    count: int
    first: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """Counts what was passed over, by reason, in the order in which the reasons came up."""

    _counts: dict[str, int] = field(default_factory=dict)
    _first: dict[str, list[str]] = field(default_factory=dict)

    def pass_over(self, reason: str, *names: str, count: int | None = None) -> None:
        """Note things by name; `count` is their number where not all are named."""
        self._counts[reason] = self._counts.get(reason, 0) + (len(names) if count is None else count)
        first = self._first.setdefault(reason, [])
        first.extend([name for name in dict.fromkeys(map(printable, names)) if name not in first][: SHOWN - len(first)])

    def extend(self, passed_over: Iterable[PassedOver]) -> None:
        """Add what another report has counted."""
        for each in passed_over:
            self.pass_over(each.reason, *each.first, count=each.count)

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """What was passed over so far."""
        return tuple(PassedOver(reason, n, tuple(self._first[reason])) for reason, n in self._counts.items() if n)


def printable(name: str) -> str:
    """Return a name as it can be printed and written anywhere: other characters and stray bytes become escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
