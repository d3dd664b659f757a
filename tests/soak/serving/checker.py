"""Whether a history keeps what serving promises. Pure: it reads events and names every promise that was broken.

S1  every call ends, within its deadline and a second of a machine that others leave alone
S2  no answer is wrong: it has the bytes that the same archive gave in calm
S3  no call ends with INTERNAL or UNKNOWN
S4  a model that should be served answers again within 30 s of whatever befell it, or longer by as much as
    other work took of the machine meanwhile: within 60 s where it took half
S5  in calm, before and after, every known question is answered
S6  nothing runs or lies about afterwards
S7  where models are only replaced, no call of theirs fails
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.soak.history import Event

GRACE_S, BACK_S = 1.0, 30.0
FORBIDDEN = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
UNKNOWN_YET = {"UNIMPLEMENTED", "INVALID_ARGUMENT"}  # in calm: of methods that this server does not have


@dataclass(frozen=True, slots=True)
class Back:
    """How long a model took to answer after a fault; None if it had not when the next one came, or the soak ended.

    `left` is the share of the machine that others left meanwhile.
    """

    fault: Event
    model: str
    seconds: float | None
    left: float = 1.0


def violations(events: Sequence[Event]) -> list[str]:
    """Name every broken promise; an empty list is what the soak wants."""
    checks = (in_time, right, no_faults_of_ours, back_soon, calm, tidy, none_lost)
    return [text for check in checks for text in check(events)]


def calls(events: Sequence[Event]) -> Iterator[tuple[Event, Event | None]]:
    """Each call, and its end if it has one."""
    ends = {event.facts["call"]: event for event in events if "call" in event.facts and event.kind != "invoke"}
    for event in events:
        if "call" in event.facts and event.kind == "invoke":
            yield event, ends.get(event.facts["call"])


def in_time(events: Sequence[Event]) -> Iterator[str]:
    """S1."""
    for begin, end in calls(events):
        if end is None:
            yield f"S1: {begin.operation} (line {begin.number}) never ended"
        elif (late_s := end.facts["took_s"] - begin.facts["deadline_s"]) > GRACE_S and (
            late_s * _left(events, begin.time_s - GRACE_S, end.time_s + GRACE_S) > GRACE_S
        ):
            yield (
                f"S1: {begin.operation} took {end.facts['took_s']:.1f} s, its deadline was "
                f"{begin.facts['deadline_s']:g} s (line {end.number})"
            )


def right(events: Sequence[Event]) -> Iterator[str]:
    """S2."""
    expected: dict[tuple[str, str], str] = {}
    for event in events:
        if "content" not in event.facts:
            continue
        key = event.facts["question"], event.facts["archive"]
        first = expected.setdefault(key, event.facts["content"])
        if event.facts["content"] != first:
            yield f"S2: {key[0]} of archive {key[1][:12]} had another answer before (line {event.number})"


def no_faults_of_ours(events: Sequence[Event]) -> Iterator[str]:
    """S3."""
    for event in events:
        if event.facts.get("code") in FORBIDDEN:
            yield f"S3: {event.operation} ended {event.facts['code']}: {event.facts['text']} (line {event.number})"


def backs(events: Sequence[Event]) -> list[Back]:
    """How long each model took to answer after each fault that may have hit it."""
    answered: dict[str, list[tuple[float, float]]] = defaultdict(list)  # by model: beginning and end of good probes
    for begin, end in calls(events):
        if begin.process.startswith("probe ") and end is not None and end.kind == "ok":
            answered[begin.process.removeprefix("probe ")].append((begin.time_s, end.time_s))
    faults = [event for event in events if "models" in event.facts and event.kind == "invoke"]
    ends = [event for event in events if "models" in event.facts and event.kind == "ok"]
    found = []
    for fault in faults:
        over = next((e.time_s for e in ends if e.operation == fault.operation and e.time_s >= fault.time_s), None)
        for model in fault.facts["models"]:
            good = next((end for begin, end in answered[model] if begin > fault.time_s), None)
            later = (f.time_s for f in faults if f.time_s > fault.time_s and model in f.facts["models"])
            hidden = good is None or any(time_s < good for time_s in later)
            since = fault.time_s if over is None else over
            if hidden or good is None:
                found.append(Back(fault, model, None))
            else:
                found.append(Back(fault, model, max(0.0, good - since), _left(events, since, good)))
    return found


def _left(events: Sequence[Event], begin_s: float, end_s: float) -> float:
    """The share of the machine that others left on average in some time; 1 if nobody noted it."""
    shares = [event.facts["share"] for event in events if "share" in event.facts and begin_s <= event.time_s <= end_s]
    return 1.0 - statistics.fmean(shares) if shares else 1.0


def late(back: Back) -> str:
    """Say how long a model took."""
    what = f"{back.fault.operation} (line {back.fault.number}), when others left {back.left:.0%} of the machine"
    return f"{back.model} was back {back.seconds:.1f} s after {what}"


def back_soon(events: Sequence[Event]) -> Iterator[str]:
    """S4."""
    for back in backs(events):
        if back.seconds is not None and back.seconds * back.left > BACK_S:
            yield f"S4: {late(back)}"


def calm(events: Sequence[Event]) -> Iterator[str]:
    """S5."""
    for event in events:
        code = event.facts.get("code", "OK")
        if event.process == "calm" and code != "OK" and code not in UNKNOWN_YET:
            yield f"S5: in calm, {event.operation} ended {code}: {event.facts['text']} (line {event.number})"


def tidy(events: Sequence[Event]) -> Iterator[str]:
    """S6."""
    for event in events:
        if event.operation == "left":
            yield from (f"S6: {text}" for text in event.facts["what"])


def none_lost(events: Sequence[Event]) -> Iterator[str]:
    """S7."""
    if not any(event.operation == "swaps only" for event in events):
        return
    for event in events:
        if event.process.startswith("caller ") and event.kind == "fail":
            yield f"S7: {event.operation} ended {event.facts['code']}: {event.facts['text']} (line {event.number})"
