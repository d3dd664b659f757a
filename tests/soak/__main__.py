"""The soak, ./mint test --soak 10m [--seed 7]: jobs keep their promises whatever dies.

Everything is killed, frozen, cut off and brought back at random while three clients work; then all is calm, every job
must end, each recipe is made once more undisturbed, and the history is checked. Exit status 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mintage.client import Client
from mintage.v1 import jobs_pb2

from tests.faults.engine import wait_until
from tests.soak.chaos import Chaos
from tests.soak.checker import TERMINAL, violations
from tests.soak.history import History, read
from tests.soak.house import House, file_facts, open_house, shard_facts
from tests.soak.workload import SAMPLES, Recipe, Workload, job_facts, state_name

SETTLE_S = 180.0
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a soak found, and its figures."""

    seed: int
    history: Path
    broken: list[str]
    faults: Counter[str]
    jobs: int = 0
    deleted: int = 0
    images: int = 0
    attempts: int = 0
    shards: int = 0
    states: Counter[str] = field(default_factory=Counter)

    @property
    def text(self) -> str:
        """The figures for people."""
        made = ", ".join(f"{count} {what}" for what, count in sorted(self.faults.items(), key=lambda each: -each[1]))
        states = ", ".join(f"{count} {state.lower()}" for state, count in self.states.items())
        return (
            f"{sum(self.faults.values())} faults ({made})\n"
            f"{self.jobs} jobs ({states}; {self.deleted} deleted), {self.images:,} images in {self.shards} shards, "
            f"{self.attempts} attempts"
        )


def main() -> int:
    """Run a soak; returns the exit status."""
    parser = argparse.ArgumentParser(prog="./mint test", description=__doc__.splitlines()[0])
    parser.add_argument("--soak", type=seconds_of, default="10m", help="how long faults are made, such as 90s or 10m")
    parser.add_argument("--seed", type=int, help="of all that is drawn; printed, and chosen if not given")
    parser.add_argument("--keep", type=Path, help="folder for history, logs and outputs; else one in /tmp")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    folder = options.keep or Path(tempfile.mkdtemp(prefix="mintage-soak-"))
    print(f"soak: {options.soak:g} s, seed {seed}, everything in {folder}", flush=True)
    outcome = soak(folder, seconds=options.soak, seed=seed)
    print(outcome.text, flush=True)
    for text in outcome.broken:
        print(f"BROKEN {text}", flush=True)
    if outcome.broken:
        print(f"history: {outcome.history}\nagain: ./mint test --soak {options.soak:g}s --seed {seed}", flush=True)
    else:
        print("every promise was kept", flush=True)
    return bool(outcome.broken)


def seconds_of(text: str) -> float:
    """Read `600`, `90s`, `10m` or `1h`.

    Raises:
        ValueError: if it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is no time such as 90s or 10m")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def soak(folder: Path, *, seconds: float, seed: int) -> Outcome:
    """Run a soak below a folder and check its history."""
    folder.mkdir(parents=True, exist_ok=True)
    history = History(folder / "history.jsonl")
    with open_house(folder) as house:
        chaos, workload = Chaos(house, history, seed), Workload(house, history, seed)
        trouble = threading.Thread(target=chaos.run, daemon=True)
        workload.start()
        trouble.start()
        _live(seconds, workload, chaos)
        workload.stop()
        chaos.stop()
        trouble.join()
        errors = [f"the soak itself: {text}" for text in _settle(house, workload, history)]
        errors += [f"the soak itself: {text}" for text in workload.errors]
    history.close()
    events = read(history.path)
    finals = [event.facts for event in events if event.operation == "final"]
    return Outcome(
        seed=seed,
        history=history.path,
        broken=errors + violations(events),
        faults=chaos.counts,
        jobs=len({event.facts["job"] for event in events if event.operation == "create" and event.kind == "ok"}),
        deleted=sum(event.operation == "delete" and event.kind == "ok" for event in events),
        images=sum(facts["images_committed"] for facts in finals),
        attempts=sum(facts["attempts"] for facts in finals),
        shards=sum(facts["shards_done"] for facts in finals),
        states=Counter(facts["state"] for facts in finals),
    )


def _live(seconds: float, workload: Workload, chaos: Chaos) -> None:
    """Say what happens, on one line of a terminal or every ten seconds."""
    begin, terminal = time.monotonic(), sys.stdout.isatty()
    last = 0.0
    while (now := time.monotonic() - begin) < seconds:
        line = f"{now:5.0f} s  {len(workload.jobs.named())} jobs, {workload.jobs.open()} open"
        line += f"  {sum(chaos.counts.values())} faults, now: {chaos.last}"
        if terminal or now - last >= 10:
            print(f"\r{line[:110]:<110}" if terminal else line, end="" if terminal else "\n", flush=True)
            last = now
        time.sleep(min(0.5, max(0.0, seconds - now)))
    if terminal:
        print()


def _settle(house: House, workload: Workload, history: History) -> list[str]:
    """In calm: every job ends, what failed is retried, each recipe is made undisturbed, and all is written down."""
    try:
        house.ready()
        with workload.client() as client:
            for _ in range(ROUNDS):
                for job in list(client.jobs()):
                    if state_name(job) == "PAUSED":
                        workload.steer("soak", "resume", job.name, client.resume)
                    if state_name(job) in ("FAILED", "PARTIALLY_SUCCEEDED"):
                        workload.steer("soak", "retry", job.name, client.retry)
                wait_until(lambda: _all_ended(client), "the end of every job", SETTLE_S)
            workload.join(30.0)
            _write_down(house, client, history)
    except AssertionError as error:
        return [str(error)]
    return []


def _all_ended(client: Client) -> bool:
    time.sleep(0.2)
    return all(state_name(job) in TERMINAL | {"PAUSED"} for job in client.jobs())


def _write_down(house: House, client: Client, history: History) -> None:
    """Make each recipe once more; write down what there is of it, and of every other job."""
    jobs = list(client.jobs())
    folders = [f"jobs/{plan.parent.name}" for plan in house.outputs.rglob("plan.json")]
    history.add("soak", "list", "ok", jobs=[job.name for job in jobs], folders=folders)
    recipes = {
        e.facts["job"]: e.facts["recipe"] for e in read(history.path) if e.operation == "create" and e.kind == "ok"
    }
    for recipe in SAMPLES:
        made = _finished(
            client,
            client.create_sample_job(
                "digits", recipe.count, shard_size=recipe.shard_size, seed=recipe.seed, format=recipe.format
            ),
        )
        scored = _finished(client, client.create_score_job("judge", made.name))
        for job, scores in ((made, False), (scored, True)):
            name = Recipe(recipe.count, recipe.shard_size, recipe.seed, recipe.format, scores=scores).name
            history.add("soak", "clean", "ok", recipe=name, **shard_facts(_folder(house, job)))
    for job in jobs:
        history.add("soak", "final", "ok", recipe=recipes.get(job.name, ""), **_final(house, client, job.name))


def _finished(client: Client, job: jobs_pb2.Job) -> jobs_pb2.Job:
    *_, job = client.watch(job.name)
    assert state_name(job) == "SUCCEEDED", job.error
    return job


def _final(house: House, client: Client, name: str) -> dict[str, Any]:
    job = client.job(name)
    folder = _folder(house, job)
    findings: list[str] = []
    sound = False
    for part in client.verify(name):
        if part.WhichOneof("part") == "finding":
            findings.append(str(part.finding))
        sound = part.WhichOneof("part") == "verdict" and part.verdict.sound
    return {
        **job_facts(job),
        **shard_facts(folder),
        "files": file_facts(folder),
        "sound": sound,
        "findings": findings,
        "error": job.error,
    }


def _folder(house: House, job: jobs_pb2.Job) -> Path:
    return house.outputs / "jobs" / job.name.removeprefix("jobs/")


if __name__ == "__main__":
    raise SystemExit(main())
