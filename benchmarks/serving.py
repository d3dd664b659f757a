"""Mintage beside other model servers, with one network: python benchmarks/serving.py [--quick].

Every server has the same frozen network (`peers/network.py`), one model worker and the same cores; every client asks
for raw pixels. mosec, LitServe and BentoML are installed from `peers/requirements.txt` into an environment of their
own; TorchServe is called directly with its own batching; "in process" is the network in a loop, without a server. All
are up together (those that poll while they are idle are stopped meanwhile) and take turns, case by case and in both
orders (ABBA), so that a busy minute hits all. One answer of each is compared with the network's own images first.
Machines differ and are noisy: read the ratios. Takes about eighteen minutes, with --quick about two.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks import serving_report as report
from benchmarks.peers.protocol import PASS, Form
from benchmarks.peers.servers import PEERS, Place, Server, mintage, peer, torchserve
from benchmarks.serving_results import Case, Cell
from service.cli.load import processor
from service.cli.load.clients import Clients
from service.cli.load.loops import Counted, Load
from service.cli.load.measurement import Measurement, summarise

ROOT = Path(__file__).resolve().parent.parent
RATE = 400.0  # calls per second of the open loop that is the same for all
SPARE = 1.25  # times that rate is what a server must reach to be measured at it
CASES = (
    Case("64 images x 2 clients", images=64, clients=2),
    Case("16 x 4", images=16, clients=4),
    Case("1 x 32", images=1, clients=32),
    Case("1 x 1", images=1, clients=1),
    Case("half of 1 x 32, open loop", images=1, clients=128, open_loop=True),
    Case("one rate, open loop", images=1, clients=128, open_loop=True, rate=RATE),
)
SATURATION = CASES[2]
FORMS: tuple[Form, ...] = ("built", "ours")
BUILT = ("mosec", "LitServe", "BentoML")  # the others are measured with our module alone
NAMES = ("in process", *PEERS, "TorchServe", "Mintage")
MAX_MEAN_ERROR, MAX_ERROR = 1.0, 24  # levels of 255: bfloat16 against float32


@dataclasses.dataclass(slots=True)
class InProcess:
    """The network in a process of its own, which calls it in a loop."""

    form: Form
    child: subprocess.Popen[str]

    name = "in process"

    def measure(self, case: Case, load: Load) -> Measurement:
        """Make passes of as many images as a server can have at once."""
        images = min(PASS, case.images * case.clients)
        before = processor.of_tree(self.child.pid)
        self._say(f"{images} {load.warm_up_s} {load.seconds}")
        counted = Counted()
        counted.latencies.extend(json.loads(self._heard()))
        used = processor.of_tree(self.child.pid) - before
        return summarise(load, images, [counted], {"server": used / (load.warm_up_s + load.seconds)})

    def _say(self, line: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def _heard(self) -> str:
        assert self.child.stdout is not None
        return self.child.stdout.readline()


def main() -> None:
    """Start every server, measure every case, print the table."""
    from benchmarks.peers.network import write_run  # noqa: PLC0415 - imports torch, and clients import this file

    options = parsed()
    if options.server_cores:
        os.sched_setaffinity(0, options.server_cores)  # the servers inherit it
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="mint-") as folder, contextlib.ExitStack() as stack:
        place = Place(write_run(Path(folder) / "run"), Path(folder), threads)
        loops, servers = started(options.only or NAMES, ("ours",) if options.quick else FORMS, place, stack)
        for server in servers:
            check(server, place)
        say(f"cores in use while nobody asks: {idle_cores(servers)}")
        for server in servers:
            server.signal(signal.SIGSTOP)
        clients = stack.enter_context(Clients(1, options.client_cores))
        cells = measured(
            loops, servers, clients, rounds=options.rounds, warm_up_s=options.warm_up, seconds=options.seconds
        )
    facts = report.facts(threads, options.client_cores, options.rounds, options.seconds)
    printers = {"text": report.print_text, "json": report.print_json, "markdown": report.print_markdown}
    if options.save:
        options.save.write_text(report.as_json(facts, cells), encoding="utf-8")
    printers[options.output](facts, cells)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds a measurement (default 2)")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before it that do not count (default 0.5)")
    parser.add_argument("--rounds", type=int, default=4, help="measurements of each cell, in turn (default 4)")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, our module alone: to see that it works")
    parser.add_argument("--only", choices=NAMES, action="append", help="measure this one; may be repeated")
    parser.add_argument("--server-cores", type=cores, help="such as 0,1: where the servers run (default: anywhere)")
    parser.add_argument("--client-cores", type=cores, help="where the clients run (default: with the servers)")
    parser.add_argument("--save", type=Path, metavar="FILE.json", help="also write every measurement to a file")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_const", dest="output", const="json", help="print JSON")
    output.add_argument("--markdown", action="store_const", dest="output", const="markdown", help="print Markdown")
    parser.set_defaults(output="text")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.warm_up, options.rounds = 1.0, 0.25, 1
    return options


def cores(text: str) -> frozenset[int]:
    """Read a list of cores."""
    return frozenset(int(core) for core in text.split(","))


def started(
    names: Sequence[str], forms: Sequence[Form], place: Place, stack: contextlib.ExitStack
) -> tuple[list[InProcess], list[Server]]:
    """Start what is measured, one after the other."""
    loops: list[InProcess] = []
    servers: list[Server] = []
    if "in process" in names:
        loops = [stack.enter_context(in_process(form, place)) for form in ("built", "folded", "ours")]
    for name in PEERS:
        if name in names:
            say(f"starting {name}")
            servers += [
                stack.enter_context(peer(name, form, place)) for form in forms if name in BUILT or form == "ours"
            ]
    if "TorchServe" in names:
        say("starting TorchServe")
        servers += stack.enter_context(torchserve(list(forms), place))
    if "Mintage" in names:
        say("starting Mintage")
        servers.append(stack.enter_context(mintage(place)))
    return loops, servers


@contextlib.contextmanager
def in_process(form: Form, place: Place) -> Iterator[InProcess]:
    """Run the loop of one form."""
    command = [sys.executable, "-m", "benchmarks.peers.in_process"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=place.environment(form)
    ) as child:
        found = InProcess(form, child)
        try:
            assert json.loads(found._heard()) == "ready"
            yield found
        finally:
            child.kill()


def check(server: Server, place: Place) -> None:
    """Compare one answer with the network's own images; a RuntimeError if it is another one.

    An answer alone and one that takes more than one pass must both be right.
    """
    from benchmarks.peers.network import Module  # noqa: PLC0415 - imports torch

    network = Module(place.run, "built", place.threads)
    for first, count in ((5, 3), (1_000_000, 64)):
        expected = np.frombuffer(network.images([(1, first, count)])[0], np.uint8).astype(np.int16)
        answer = np.frombuffer(server.ask(first, count), np.uint8).astype(np.int16)
        same_size = answer.size == expected.size
        error = np.abs(answer - expected) if same_size else np.array([255])
        if error.mean() > MAX_MEAN_ERROR or error.max() > MAX_ERROR:
            raise RuntimeError(
                f"{server.name}, {server.form}: {answer.size} bytes instead of {expected.size}, or other images: "
                f"they differ by {error.mean():.2f} levels on average and {error.max()} at most"
            )


def idle_cores(servers: Sequence[Server], seconds: float = 5.0) -> str:
    """Say what each server uses while nobody asks: all pay for it while another is measured."""
    before = [sum(server.meter().values()) for server in servers]
    time.sleep(seconds)
    used = [sum(server.meter().values()) - at_first for server, at_first in zip(servers, before, strict=True)]
    return ", ".join(f"{one.name} {cores / seconds:.2f}" for one, cores in zip(servers, used, strict=True))


def measured(
    loops: Sequence[InProcess],
    servers: Sequence[Server],
    clients: Clients,
    *,
    rounds: int,
    warm_up_s: float,
    seconds: float,
) -> list[Cell]:
    """Measure every case of everything, round by round, in one order and then in the other."""
    cells: dict[tuple[str, str, str], Cell] = {}
    for turn, case in itertools.product(range(rounds), CASES):
        ways: list[InProcess | Server] = [*loops, *servers]
        for way in ways if turn % 2 == 0 else reversed(ways):
            load = Load(clients=case.clients, warm_up_s=warm_up_s, seconds=seconds, seed=turn)
            if case.open_loop:
                saturated = cells[way.name, way.form, SATURATION.name]
                if isinstance(way, InProcess) or saturated.values("calls_per_second")[0] < SPARE * case.rate:
                    continue
                rate = case.rate or saturated.mean("calls_per_second") / 2
                load = dataclasses.replace(load, rate=rate, seconds=2 * seconds)
            cell = cells.setdefault((way.name, way.form, case.name), Cell(way.name, way.form, case))
            if isinstance(way, InProcess):
                cell.measurements.append(way.measure(case, load))
                continue
            way.signal(signal.SIGCONT)
            cell.measurements.append(clients.run(way.target(case.images), load, way.meter))
            way.signal(signal.SIGSTOP)
        say(f"round {turn + 1} of {rounds}: {case.name} done")
    return list(cells.values())


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
