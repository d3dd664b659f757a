"""Whether a history keeps what jobs promise. Pure: it reads events and names every promise that was broken.

I1  every sample exactly once: a job's shards hold the indices of a clean run's
I2  every shard's digest is that of a clean run and the manifest's, and verification finds nothing
I3  counters add up, and no watch saw progress fall
I4  what has ended stays as it ended, unless failed shards were retried or it was deleted
I5  nobody changed a file of a job that had succeeded, not even a worker that woke up
I6  no shard is claimed after a cancel was acknowledged
I7  one request id is one job; with other parameters it is refused
I8  no temporary file is left
I9  every watch ends with the job's end
I10 no job is lost, and none comes back: what was created is listed and ends, what was deleted is gone
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from tests.soak.history import Event

TERMINAL = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED"}
RETRIED_FROM = {"PARTIALLY_SUCCEEDED", "FAILED"}
UNSURE_S = 3.0  # writes that Redis acknowledged so shortly before it was killed may be lost


def violations(events: Sequence[Event]) -> list[str]:
    """Name every broken promise; an empty list is what the soak wants."""
    story = Story(events)
    checks = (exactly_once, same_bytes, counters, endings, untouched, cancels, requests, tidy, watches, none_lost)
    return [text for check in checks for text in check(story)]


class Story:
    """A history by what the checks ask for."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.clean = {str(e.facts["recipe"]): e for e in self.answers("clean")}
        self.final = {str(e.facts["job"]): e for e in self.answers("final")}
        self.recipe = {str(e.facts["job"]): str(e.facts["recipe"]) for e in self.answers("create")}
        self.kills = [e.time_s for e in events if e.operation == "kill valkey" and e.kind == "invoke"]

    def answers(self, operation: str) -> list[Event]:
        """The events that say that an operation took effect."""
        return [e for e in self.events if e.operation == operation and e.kind == "ok"]

    def begun(self, operation: str, job: str) -> list[Event]:
        """The calls of an operation on a job, whatever became of them."""
        return [e for e in self.events if e.operation == operation and e.kind == "invoke" and e.facts["job"] == job]

    def sure(self, event: Event) -> bool:
        """Whether Redis lived long enough after an answer for it to be on disk."""
        return not any(event.time_s - 1 <= kill <= event.time_s + UNSURE_S for kill in self.kills)

    def looks(self) -> dict[str, list[tuple[float, Event]]]:
        """What was seen of each job outside watches, with the time at which the question was sent."""
        looks: dict[str, list[tuple[float, Event]]] = defaultdict(list)
        for event in self.answers("get"):
            looks[event.facts["job"]].append((event.facts["asked_s"], event))
        for job, event in self.final.items():
            looks[job].append((event.time_s, event))
        return looks

    def streams(self) -> dict[str, list[Event]]:
        """What each watch said, in order."""
        streams: dict[str, list[Event]] = defaultdict(list)
        for event in self.answers("seen"):
            streams[event.facts["watch"]].append(event)
        return streams


def exactly_once(story: Story) -> Iterator[str]:
    """I1."""
    for recipe, clean in story.clean.items():
        indices = [index for shard in _ordered(clean.facts["indices"]) for index in shard]
        if indices != list(range(len(indices))):
            yield f"I1: the clean run of {recipe} does not hold each index once"
    for job, clean, final in _compared(story):
        for shard, indices in final.facts["indices"].items():
            if indices != clean.facts["indices"].get(shard):
                yield f"I1: {job} shard {shard} holds {indices}, not {clean.facts['indices'].get(shard)}"
        if final.facts["state"] == "SUCCEEDED" and set(final.facts["digests"]) != set(clean.facts["digests"]):
            missing = sorted(set(clean.facts["digests"]) ^ set(final.facts["digests"]), key=int)
            yield f"I1: {job} succeeded, but its shards {missing} are not those of a clean run"


def same_bytes(story: Story) -> Iterator[str]:
    """I2."""
    for job, clean, final in _compared(story):
        for shard, digest in final.facts["digests"].items():
            if digest != clean.facts["digests"].get(shard):
                yield f"I2: {job} shard {shard} is {digest[:12]}, a clean run's is another"
        if not final.facts["sound"]:
            yield f"I2: {job} is not what its manifest and markers say: {final.facts['findings']}"


def counters(story: Story) -> Iterator[str]:
    """I3."""
    for event in (*story.answers("get"), *story.answers("seen"), *story.final.values()):
        done, failed, total = (event.facts[name] for name in ("shards_done", "shards_failed", "shards_total"))
        full = event.facts["state"] == "SUCCEEDED" and done != total
        if done + failed > total or full:
            yield f"I3: {event.facts['job']} is {event.facts['state']} with {done} + {failed} of {total} shards"
    for watch, stream in story.streams().items():
        for before, after in pairwise(stream):
            for name in ("images_done", "shards_done", "images_committed"):
                if after.facts[name] < before.facts[name]:
                    fall = f"{before.facts[name]} to {after.facts[name]}"
                    yield f"I3: {watch} of {after.facts['job']} saw {name} fall from {fall} (line {after.number})"


def endings(story: Story) -> Iterator[str]:
    """I4."""
    for job, looks in story.looks().items():
        reopened = [e.time_s for op in ("retry", "delete") for e in story.begun(op, job)]
        for _, ended in looks:
            state = ended.facts["state"]
            if state not in TERMINAL or not story.sure(ended):
                continue
            for asked_s, later in looks:
                excused = any(time_s <= later.time_s for time_s in reopened)
                if asked_s > ended.time_s and later.facts["state"] != state and not excused:
                    yield f"I4: {job} had ended {state}, then was {later.facts['state']} (line {later.number})"
    for watch, stream in story.streams().items():
        for before, after in pairwise(stream):
            if before.facts["state"] in TERMINAL:
                yield f"I4: {watch} of {after.facts['job']} went on after its end (line {after.number})"


def untouched(story: Story) -> Iterator[str]:
    """I5."""
    for sealed in story.answers("sealed"):
        final = story.final.get(sealed.facts["job"])
        if final is not None and final.facts["files"] != sealed.facts["files"]:
            before, after = (set(map(str, e.facts["files"].items())) for e in (sealed, final))
            yield f"I5: files of {sealed.facts['job']} were changed after its end: {sorted(before ^ after)}"


def cancels(story: Story) -> Iterator[str]:
    """I6."""
    looks = story.looks()
    for cancel in story.answers("cancel"):
        job = cancel.facts["job"]
        if not story.sure(cancel) or story.begun("retry", job):
            continue
        after = [event for asked_s, event in looks[job] if asked_s > cancel.time_s]
        attempts = {event.facts["attempts"] for event in after}
        if len(attempts) > 1:
            yield f"I6: {job} was cancelled (line {cancel.number}), then its attempts were {sorted(attempts)}"
        for event in after:
            if event.facts["state"] in ("QUEUED", "RUNNING", "PAUSED"):
                yield f"I6: {job} was cancelled (line {cancel.number}), then it was {event.facts['state']}"


def requests(story: Story) -> Iterator[str]:
    """I7."""
    made: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for event in story.answers("create"):
        made[event.facts["request_id"]].add((event.facts["job"], event.facts["recipe"]))
    for request_id, jobs in made.items():
        if len(jobs) > 1:
            yield f"I7: request {request_id} is {len(jobs)} jobs: {sorted(jobs)}"
    owners: dict[str, set[str]] = defaultdict(set)
    for request_id, jobs in made.items():
        for job, _ in jobs:
            owners[job].add(request_id)
    yield from (f"I7: {job} is of {len(ids)} requests" for job, ids in owners.items() if len(ids) > 1)
    for event in story.events:
        if event.operation == "create" and event.kind == "fail":
            winners = {recipe for _, recipe in made[event.facts["request_id"]]}
            if event.facts["code"] != "ALREADY_EXISTS" or event.facts["recipe"] in winners:
                yield f"I7: line {event.number} was refused with {event.facts['code']}: {event.facts}"


def tidy(story: Story) -> Iterator[str]:
    """I8."""
    for job, final in story.final.items():
        if final.facts["temporaries"]:
            yield f"I8: {job} has left {final.facts['temporaries']}"


def watches(story: Story) -> Iterator[str]:
    """I9."""
    ended = {e.facts["watch"]: e for e in story.events if e.operation == "watch" and e.kind != "invoke"}
    streams = story.streams()
    for event in story.events:
        if event.operation != "watch" or event.kind != "invoke":
            continue
        watch, job = event.facts["watch"], event.facts["job"]
        end, stream = ended.get(watch), streams.get(watch, [])
        if end is None:
            yield f"I9: {watch} of {job} never ended"
        elif end.kind == "ok" and (not stream or stream[-1].facts["state"] not in TERMINAL):
            yield f"I9: {watch} of {job} ended before the job did"
        elif end.kind != "ok" and not story.begun("delete", job):
            yield f"I9: {watch} of {job} was broken off: {end.facts['error']}"


def none_lost(story: Story) -> Iterator[str]:
    """I10."""
    listed = {job for event in story.answers("list") for job in event.facts["jobs"]}
    folders = {job for event in story.answers("list") for job in event.facts["folders"]}
    deleted = {e.facts["job"] for e in story.answers("delete")}
    perhaps = {e.facts["job"] for e in story.events if e.operation == "delete" and e.kind == "info"}
    for job in story.recipe:
        if job in deleted and (job in listed or job in folders):
            yield f"I10: {job} was deleted and is there again"
        if job not in deleted | perhaps and not (job in listed and job in folders and job in story.final):
            yield f"I10: {job} was created and is lost"
    for job in listed ^ folders:
        yield f"I10: {job} is {'listed, but has no folder' if job in listed else 'on disk, but nobody knows it'}"
    for job, final in story.final.items():
        if final.facts["state"] not in TERMINAL:
            yield f"I10: {job} never ended: it is {final.facts['state']}"


def _compared(story: Story) -> Iterator[tuple[str, Event, Event]]:
    """Each job that is there at the end, beside a clean run of the same recipe."""
    for job, final in story.final.items():
        clean = story.clean.get(final.facts["recipe"])
        if clean is not None:
            yield job, clean, final


def _ordered(shards: dict[str, list[int]]) -> Iterable[list[int]]:
    return (shards[shard] for shard in sorted(shards, key=int))
