"""What a walk costs beside the same number of samples: python benchmarks/walks.py.

A stack with the shipped generators and one worker each. A walk of 64 frames, a draw of 64 formulas and a Generate of 64
images take turns in random order, so that a busy minute hits all; the CPU time of API and model worker counts, that of
the client does not. Read the ratios: a walk should cost at most 1.2 times as much as Generate.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import grpc
from mintage import latents
from mintage.client import Client
from mintage.v1 import generation_pb2, generation_pb2_grpc, latents_pb2, latents_pb2_grpc

from handlers.archive import pack
from service.cli.load.processor import of_tree
from service.cli.stack.shipped import MODELS, shipped
from service.processes.stack import Stack

FRAMES = 64
UNBOUNDED = [("grpc.max_receive_message_length", -1)]
FORMATS = {"raw": generation_pb2.IMAGE_FORMAT_RAW, "PNG": generation_pb2.IMAGE_FORMAT_PNG}


@dataclass
class Cost:
    """Milliseconds per call, turn by turn: on the processor, and by the clock."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def main() -> None:
    """Start a stack, measure each generator in each format, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9, help="turns of each kind of call (default 9)")
    parser.add_argument("--calls", type=int, default=40, help="calls per turn (default 40)")
    options = parser.parse_args()
    generators = [(name, run) for name, run, kind in shipped() if kind == "generator"]
    with tempfile.TemporaryDirectory(prefix="mintage-benchmark-") as folder:
        archives = Path(folder) / "archives"
        for name, run in generators:
            pack(MODELS / run, "generator", archives / f"{name}.mar")
        with Stack(Path(folder) / "state", workers=1, overrides={"MINTAGE_ARCHIVE_DIR": str(archives)}) as stack:
            stack.start(lambda step: print(f"starting {step}", file=sys.stderr))
            with Client(stack.api_address) as client:
                for name, _ in generators:
                    client.load_model(name, f"{name}.mar")
            print("| generator | format | Generate, CPU ms | Draw | Walk | Walk by the clock |\n" + "| --- " * 6 + "|")
            for name, _ in generators:
                for form, encoding in FORMATS.items():
                    with grpc.insecure_channel(stack.api_address, options=UNBOUNDED) as channel:
                        ways = _ways(channel, f"models/{name}", encoding)
                        print(_row(name, form, measure(stack, ways, options.turns, options.calls)))


def measure(stack: Stack, ways: Mapping[str, Callable[[int], object]], turns: int, calls: int) -> dict[str, Cost]:
    """Let kinds of call, each given the number of the call, take turns."""
    pids = [stack.process(name).pid for name in ("api", "torchserve")]
    costs = {name: Cost() for name in ways}
    for way in ways.values():
        way(0)  # warm
    for turn in range(turns):
        for name in random.sample(sorted(ways), len(ways)):
            cpu, wall = sum(map(of_tree, pids)), time.perf_counter()
            for call in range(calls):
                ways[name](turn * calls + call)
            costs[name].wall.append(1000 * (time.perf_counter() - wall) / calls)
            costs[name].cpu.append(1000 * (sum(map(of_tree, pids)) - cpu) / calls)
    return costs


def _ways(
    channel: grpc.Channel, model: str, form: generation_pb2.ImageFormat.ValueType
) -> dict[str, Callable[[int], object]]:
    """The kinds of call, each with samples of its own every time."""
    generation = generation_pb2_grpc.GenerationServiceStub(channel)
    exploring = latents_pb2_grpc.LatentServiceStub(channel)

    def ends(call: int) -> list[latents_pb2.Latent]:
        return [latents.sample(call, 0), latents.sample(call, 1)]

    def generate(call: int) -> None:
        generation.Generate(generation_pb2.GenerateRequest(model=model, count=FRAMES, seed=call, format=form))

    def draw(call: int) -> None:
        path = latents.Path(ends(call), FRAMES - 1)
        frames = [path.latent(frame) for frame in range(FRAMES)]
        exploring.Draw(latents_pb2.DrawRequest(model=model, latents=frames, format=form))

    def walk(call: int) -> None:
        asked = latents_pb2.WalkRequest(model=model, through=ends(call), frames_per_leg=FRAMES - 1, format=form)
        for _ in exploring.Walk(asked):
            pass

    return {"Generate": generate, "Draw": draw, "Walk": walk}


def _row(name: str, form: str, costs: dict[str, Cost]) -> str:
    base = costs["Generate"]
    draw, walk, by_the_clock = (
        ratio(costs["Draw"].cpu, base.cpu),
        ratio(costs["Walk"].cpu, base.cpu),
        ratio(costs["Walk"].wall, base.wall),
    )
    return f"| `{name}` | {form} | {statistics.median(base.cpu):.2f} | {draw} | {walk} | {by_the_clock} |"


def ratio(one: list[float], other: list[float]) -> str:
    """The median ratio of turns, with the lowest and highest."""
    ratios = sorted(a / b for a, b in zip(one, other, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


if __name__ == "__main__":
    main()
