"""What the benchmark of serving measured: cells of a table, and how we stand to the best of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.cli.load.measurement import Measurement

SATURATED = ("64 images x 2 clients", "16 x 4", "1 x 32")


ALONE, OPEN, ONE_RATE = "1 x 1", "half of 1 x 32, open loop", "one rate, open loop"
NO_PEERS = ("in process", "TorchServe", "Mintage")


@dataclass(frozen=True, slots=True)
class Case:
    """What clients ask: images per call, calls at once.

    An open loop has a rate of calls per second; 0 is half of what the same server reached before.
    """

    name: str
    images: int
    clients: int
    open_loop: bool = False
    rate: float = 0.0


@dataclass(slots=True)
class Cell:
    """One case of one server with one form of the network: a measurement per round."""

    name: str
    form: str
    case: Case
    measurements: list[Measurement] = field(default_factory=list)

    def values(self, quantity: str) -> list[float]:
        """One quantity of every round."""
        return [getattr(one, quantity) for one in self.measurements]

    def mean(self, quantity: str) -> float:
        """Mean of the rounds."""
        return sum(self.values(quantity)) / len(self.measurements)

    @property
    def errors(self) -> int:
        """Failed calls of all rounds."""
        return sum(sum(one.errors.values()) for one in self.measurements)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measure with a target: its mean, and the least and the greatest of the rounds."""

    measure: str
    mean: float
    least: float
    greatest: float
    target: str

    def __str__(self) -> str:
        """Such as 0.93 (0.91 to 0.95)."""
        return f"{self.mean:.2f} ({self.least:.2f} to {self.greatest:.2f})"


class Cells:
    """All cells, by server, form and case."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = {(cell.name, cell.form, cell.case.name): cell for cell in cells}
        self.ways = list(dict.fromkeys((cell.name, cell.form) for cell in cells))

    def get(self, name: str, form: str, case: str) -> Cell | None:
        """The cell, if it was measured."""
        return self._cells.get((name, form, case))

    def of(self, name: str, form: str) -> list[Cell]:
        """The cells of one server."""
        return [cell for cell in self._cells.values() if (cell.name, cell.form) == (name, form)]

    def values(self, name: str, form: str, case: str, quantity: str) -> list[float]:
        """One quantity of every round; nothing if it was not measured."""
        cell = self.get(name, form, case)
        return cell.values(quantity) if cell else []

    def best_peer(self, case: str, quantity: str, choose: Callable[..., float]) -> list[float]:
        """The best peer with our module, round by round."""
        peers = [name for name, form in self.ways if form == "ours" and name not in NO_PEERS]
        each = [values for name in peers if (values := self.values(name, "ours", case, quantity))]
        return [choose(values) for values in zip(*each, strict=True)]


def ratios(cells: Cells) -> list[Ratio]:
    """Compare round by round, so that what the machine does to both falls out."""

    def mintage(case: str, quantity: str) -> list[float]:
        return cells.values("Mintage", "ours", case, quantity)

    rate, full = "images_per_second", SATURATED[0]
    inside = cells.values("in process", "ours", full, rate)
    alone = cells.values("in process", "ours", ALONE, "p50_ms")
    found = [
        _ratio("images/s, 64 x 2, against in process", mintage(full, rate), inside, "at least 0.90"),
        *(
            _ratio(f"images/s, {case}, against the best peer", mintage(case, rate), best, "at least 1.0")
            for case in SATURATED
            if (best := cells.best_peer(case, rate, max))
        ),
        _ratio("images/s, 1 x 32 against 64 x 2", mintage(SATURATED[2], rate), mintage(full, rate), "at least 0.7"),
        _difference("p50 of a lone image, ms above in process", mintage(ALONE, "p50_ms"), alone, "at most 4"),
        _ratio(
            "p50 of a lone image, against the best peer",
            mintage(ALONE, "p50_ms"),
            cells.best_peer(ALONE, "p50_ms", min),
            "below 1",
        ),
        _ratio(
            "our module against plain bfloat16, channels-last, folded, 64 in process",
            inside,
            cells.values("in process", "folded", full, rate),
            "at least 1.5",
        ),
        _ratio(
            "p99, open loop at half of saturation, against the best peer",
            mintage(OPEN, "p99_ms"),
            cells.best_peer(OPEN, "p99_ms", min),
            "below 1",
        ),
        _ratio(
            "p99, open loop at one rate, against the best peer",
            mintage(ONE_RATE, "p99_ms"),
            cells.best_peer(ONE_RATE, "p99_ms", min),
            "below 1",
        ),
    ]
    return [one for one in found if one]


def _ratio(measure: str, ours: Sequence[float], theirs: Sequence[float], target: str) -> Ratio | None:
    each = [one / other for one, other in zip(ours, theirs, strict=False)]
    return Ratio(measure, sum(each) / len(each), min(each), max(each), target) if each else None


def _difference(measure: str, ours: Sequence[float], theirs: Sequence[float], target: str) -> Ratio | None:
    each = [one - other for one, other in zip(ours, theirs, strict=False)]
    return Ratio(measure, sum(each) / len(each), min(each), max(each), target) if each else None
