"""The soak of serving, ./mint test --soak-serving 10m [--seed 7]: calls keep their promises whatever happens to models.

Clients ask every method of every service, while models are loaded, replaced, scaled and unloaded, workers are frozen
and killed, TorchServe and the API are killed, and the disk is filled. `--swaps 100` replaces a model so often under
load instead, and no call may fail. Exit status 1, and the path of the history, if a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from service.cli.console import table
from service.models.archives.keeping import kept
from service.models.registry import Registry
from service.models.retired import RetiredModels
from tests.soak.__main__ import seconds_of
from tests.soak.history import Event, History, read
from tests.soak.serving.callers import Callers
from tests.soak.serving.chaos import Chaos
from tests.soak.serving.checker import BACK_S, backs, calls, late, violations
from tests.soak.serving.house import SERVED, House, leftovers, open_house
from tests.soak.serving.machine import Machine

SETTLE_S = 90.0  # for every model to answer after the last fault, on a machine that others leave alone
JOIN_S = 70.0  # for calls to end: as long as the longest deadline
SHOWN = 40  # broken promises that are printed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a soak found."""

    history: Path
    events: Sequence[Event]
    broken: list[str]


def main() -> int:
    """Run a soak; returns the exit status."""
    parser = argparse.ArgumentParser(prog="./mint test", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--soak-serving", type=seconds_of, nargs="?", const=600.0, default=600.0, help="how long, such as 90s or 10m"
    )
    parser.add_argument("--swaps", type=int, default=0, help="replace a model so often under load, and nothing else")
    parser.add_argument("--seed", type=int, help="of all that is drawn; printed, and chosen if not given")
    parser.add_argument("--keep", type=Path, help="folder for history and logs; else one in /tmp")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    folder = options.keep or Path(tempfile.mkdtemp(prefix="mintage-soak-"))
    outcome = soak(folder, seconds=options.soak_serving, seed=seed, swaps=options.swaps)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for each in summary(outcome.events):
        console.print(each)
    shares = [event.facts["share"] for event in outcome.events if "share" in event.facts]
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"load of the machine: {load} (1, 5, 15 minutes) on {len(os.sched_getaffinity(0))} cores", flush=True)
    print(f"other work took {statistics.fmean(shares or [0.0]):.0%} of it", flush=True)
    for back in backs(outcome.events):
        if back.seconds is not None and back.seconds > BACK_S >= back.seconds * back.left:
            print(f"excused: {late(back)}", flush=True)
    for text in outcome.broken[:SHOWN]:
        print(f"BROKEN {text}", flush=True)
    if outcome.broken:
        print(f"{len(outcome.broken)} promises broken; history: {outcome.history}; seed {seed}", flush=True)
    else:
        print("every promise was kept", flush=True)
    return bool(outcome.broken)


def soak(folder: Path, *, seconds: float, seed: int, swaps: int = 0) -> Outcome:
    """Run a soak below a folder and check its history."""
    folder.mkdir(parents=True, exist_ok=True)
    history = History(folder / "history.jsonl")
    errors: list[str] = []
    with open_house(folder) as house, Machine(history) as machine:
        print(f"soak of serving: seed {seed}, everything in {folder}; the disk is {house.disk.means}", flush=True)
        callers = Callers(house, history, seed)
        chaos = Chaos(house, callers, history, seed)
        _learn(callers, chaos)
        callers.start(swaps_only=swaps > 0)
        if swaps:
            history.add("soak", "swaps only", "ok", count=swaps)
            for number in range(swaps):
                chaos.swap()
                _tell(f"swap {number + 1}, {callers.made} calls", last=number + 1 == swaps)
        else:
            trouble = threading.Thread(target=chaos.run, daemon=True)
            trouble.start()
            _live(seconds, callers, chaos)
            chaos.stop()
            trouble.join()
            errors += _settle(house, machine)
        errors += [f"S1: {name} still waits for an answer" for name in callers.stop(JOIN_S)]
        errors += [f"the soak itself: {text}" for text in callers.errors]
        callers.ask_known("calm")
        history.add("soak", "left", "ok", what=_copies_left(house))
    history.add("soak", "left", "ok", what=[f"still running: {text}" for text in leftovers(folder)])
    history.close()
    events = read(history.path)
    return Outcome(history.path, events, errors + violations(events))


def _learn(callers: Callers, chaos: Chaos) -> None:
    """Ask all that is known of every archive, before anything happens."""
    callers.ask_known("calm")
    for _ in range(2):
        chaos.swap()
        callers.ask_known("calm")


def _live(seconds: float, callers: Callers, chaos: Chaos) -> None:
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        _tell(f"{now:5.0f} s  {callers.made} calls, {sum(chaos.counts.values())} events, now: {chaos.last}", last=False)
        time.sleep(min(10.0, max(0.0, seconds - now)))


def _tell(line: str, *, last: bool) -> None:
    terminal = sys.stdout.isatty()
    print(f"\r{line[:110]:<110}" if terminal else line, end="" if terminal and not last else "\n", flush=True)


def _settle(house: House, machine: Machine) -> list[str]:
    """Wait until every model is ready in calm; returns what is not."""
    from mintage.client import Client
    from mintage.errors import ClientError
    from mintage.v1 import models_pb2

    begin, missing = time.monotonic(), set(SERVED)
    with Client(house.address, timeout_s=5.0) as client:
        while missing and (time.monotonic() - begin) * machine.left < SETTLE_S:
            time.sleep(0.2)
            try:
                ready = {m.name for m in client.models() if m.state == models_pb2.Model.STATE_READY}
            except ClientError:
                continue
            missing = {name for name in SERVED if f"models/{name}" not in ready}
    return [f"S4: models/{name} never answered again" for name in sorted(missing)]


def _copies_left(house: House) -> list[str]:
    """Copies of archives that no record names."""
    archives = house.stack.settings.archives
    entries = [entry.record for entry in Registry(archives).entries()] + list(RetiredModels(archives).records())
    named = {kept(archives, record.digest).name for record in entries if record is not None}
    return [
        f"a copy that nobody needs: {path.name}" for path in archives.glob("?" * 64 + ".mar") if path.name not in named
    ]


def summary(events: Sequence[Event]) -> Iterator[object]:
    """Tables for people: every method, and every kind of fault."""
    methods: dict[str, list[tuple[Event, Event]]] = defaultdict(list)
    for begin, end in calls(events):
        if end is not None:
            methods[begin.operation.removeprefix("/").removeprefix("mintage.v1.")].append((begin, end))
    rows = []
    for method, made in sorted(methods.items()):
        codes = Counter(end.facts["code"] for _, end in made)
        late = max(end.facts["took_s"] - begin.facts["deadline_s"] for begin, end in made)
        others = ", ".join(f"{count} {code}" for code, count in codes.most_common() if code != "OK")
        rows.append((method, len(made), codes["OK"], f"{late:+.1f}" if late > 0 else "", others))
    yield table(("method", "calls", "OK", "latest s", "others"), rows, right=("calls", "OK", "latest s"))
    times: dict[str, list[float]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for back in backs(events):
        counts[back.fault.operation] += back.model == back.fault.facts["models"][0]
        if back.seconds is not None:
            times[back.fault.operation].append(back.seconds)
    faults = [
        (
            name,
            count,
            len(times[name]),
            *(f"{f(times[name]):.1f}" if times[name] else "" for f in (statistics.median, max)),
        )
        for name, count in sorted(counts.items())
    ]
    numbers = ("faults", "models seen back", "median s", "longest s")
    yield table(("what befell models", *numbers), faults, right=numbers)


if __name__ == "__main__":
    raise SystemExit(main())
