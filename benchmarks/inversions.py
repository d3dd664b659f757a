"""What a step of an inversion costs beside a forward pass of 64: python benchmarks/inversions.py.

A stack with the shipped pairs of generator and discriminator and one worker each. A Generate of 64 raw images and
inversions of four starts, of one step and of eleven, take turns in random order; the CPU time of API and model worker
counts. A step is a tenth of what ten more steps cost; a start is a quarter of the rest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import grpc
from mintage.client import Client
from mintage.v1 import classification_pb2, generation_pb2, generation_pb2_grpc, latents_pb2, latents_pb2_grpc

from benchmarks.walks import UNBOUNDED, Cost, measure, ratio
from handlers.archive import pack
from service.cli.stack.shipped import MODELS, shipped
from service.processes.stack import Stack

STARTS, MORE_STEPS = 4, 10


def main() -> None:
    """Start a stack, measure each pair, print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7, help="turns of each kind of call (default 7)")
    parser.add_argument("--calls", type=int, default=4, help="calls per turn (default 4)")
    options = parser.parse_args()
    models = {name: (run, kind) for name, run, kind in shipped() if kind in ("generator", "discriminator")}
    with tempfile.TemporaryDirectory(prefix="mintage-benchmark-") as folder:
        archives = Path(folder) / "archives"
        for name, (run, kind) in models.items():
            pack(MODELS / run, kind, archives / f"{name}.mar")
        with Stack(Path(folder) / "state", workers=1, overrides={"MINTAGE_ARCHIVE_DIR": str(archives)}) as stack:
            stack.start(lambda step: print(f"starting {step}", file=sys.stderr))
            with Client(stack.api_address) as client:
                for name in models:
                    client.load_model(name, f"{name}.mar")
            print("| generator | Generate of 64, CPU ms | a step of four starts | a start |\n" + "| --- " * 4 + "|")
            for name in (name for name, (_, kind) in models.items() if kind == "generator"):
                with grpc.insecure_channel(stack.api_address, options=UNBOUNDED) as channel:
                    ways = _ways(channel, f"models/{name}")
                    print(_row(name, measure(stack, ways, options.turns, options.calls)))


def _ways(channel: grpc.Channel, model: str) -> dict[str, Callable[[int], object]]:
    """The kinds of call; each inverts the image of a sample of its own."""
    generation = generation_pb2_grpc.GenerationServiceStub(channel)
    exploring = latents_pb2_grpc.LatentServiceStub(channel)

    def generate(call: int, count: int = 64) -> generation_pb2.GenerateResponse:
        raw = generation_pb2.IMAGE_FORMAT_RAW
        asked = generation_pb2.GenerateRequest(model=model, count=count, seed=call, format=raw)
        made: generation_pb2.GenerateResponse = generation.Generate(asked)
        return made

    drawn = generate(7, count=1)
    shape = drawn.shape
    image = classification_pb2.RawImages(
        count=1, height=shape.height, width=shape.width, channels=shape.channels, pixels=drawn.images[0]
    )

    def invert(steps: int, seed: int) -> None:
        asked = latents_pb2.InvertRequest(model=model, raw=image, starts=STARTS, steps=steps, seed=seed)
        for _ in exploring.Invert(asked):
            pass

    return {
        "Generate": generate,
        "one step": lambda call: invert(1, call),
        "more steps": lambda call: invert(1 + MORE_STEPS, call),
    }


def _row(name: str, costs: dict[str, Cost]) -> str:
    base, one, more = (costs[kind].cpu for kind in ("Generate", "one step", "more steps"))
    steps = [(b - a) / MORE_STEPS for a, b in zip(one, more, strict=True)]
    starts = [(a - step) / STARTS for a, step in zip(one, steps, strict=True)]
    return f"| `{name}` | {statistics.median(base):.2f} | {ratio(steps, base)} | {ratio(starts, base)} |"


if __name__ == "__main__":
    main()
