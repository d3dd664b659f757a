"""Everything about a GPU in one go, in under five minutes: python benchmarks/gpu.py [--output gpu.json].

tests      those marked `gpu`: trainings, and the shipped models in a real TorchServe
sizes      which batch sizes of each shipped model and of the frozen DCGAN give the same bits, and how long that took
company    a picture is the same alone and among those of other seeds
handlers   images/s of each in passes of rising sizes, in float32 and bfloat16
step       a training step of a DCGAN and of the K+1 GAN beside the textbook's
job        images/s of a sample job of digits on a whole stack

Each part says what it found as soon as it has, and the next one is tried whatever became of it. With `--device cpu` the
script itself can be tried where there is no GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from mintage.client import Client
from mintage.v1 import jobs_pb2

from benchmarks.peers.network import write_run
from handlers.archive import pack
from handlers.compute import device as devices
from handlers.compute import environment
from handlers.compute.batch_sizes import LADDER, fixed
from handlers.compute.model import Model, from_run
from handlers.compute.proofs import forward_of, rows_of, with_proven_sizes
from handlers.operations.direct import generate
from handlers.protocol.requests import Generate
from service.cli.stack.shipped import MODELS, shipped
from service.processes.stack import Stack
from training.recipes import Kind

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1, 16, 64, 256, 1024)  # of the timed passes; more than the ladder has, for a GPU is not full with 128
TIMED_S = 0.5  # for each size
JOB_IMAGES = 100_000
TESTS = ("tests/e2e/test_gpu.py", "tests/training/compute/test_acceleration.py")


def main() -> None:
    """Run the parts in turn and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", choices=("tests", "sizes", "company", "handlers", "step", "job"), nargs="+")
    parser.add_argument("--output", type=Path, help="also write the findings here (JSON)")
    options = parser.parse_args()
    environment.prepare()
    devices.make_deterministic()
    device = torch.device(options.device)
    found: dict[str, Any] = {"torch": torch.__version__, "device": devices.device_class(device, "float32")}
    with tempfile.TemporaryDirectory(prefix="mintage-gpu-") as folder:
        frozen = write_run(Path(folder, "frozen"))
        parts: dict[str, Callable[[], Any]] = {
            "tests": tests,
            "sizes": lambda: sizes(frozen, device, Path(folder)),
            "company": lambda: company(frozen, device, Path(folder)),
            "handlers": lambda: handlers(frozen, device),
            "step": lambda: step(options.device),
            "job": lambda: job(Path(folder)),
        }
        for name in options.only or parts:
            found[name] = told(name, parts[name])
            if options.output:
                options.output.write_text(json.dumps(found, indent=2), encoding="utf-8")


def told(name: str, part: Callable[[], Any]) -> Any:
    """Run a part, and print what it found or how it failed."""
    print(f"== {name}", flush=True)
    begin = time.perf_counter()
    try:
        found = part()
    except Exception:
        found = {"failed": traceback.format_exc()}
    print(json.dumps(found, indent=2).replace("\\n", "\n"))
    print(f"   {time.perf_counter() - begin:.1f} s", flush=True)
    return found


def tests() -> dict[str, object]:
    """Run the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {"status": done.returncode, "end": done.stdout[-3000:]}


def models(frozen: Path, device: torch.device) -> Iterator[tuple[str, Model]]:
    """The shipped models, and the frozen network, in the precisions that they have."""
    runs: list[tuple[str, Path, Kind]] = [(name, MODELS / run, kind) for name, run, kind in shipped()]
    for name, run, kind in [*runs, ("frozen dcgan64", frozen, "generator")]:
        yield f"{name}, float32", from_run(run, kind, device, precision="float32")
        if kind != "neurons":
            yield f"{name}, bfloat16", from_run(run, kind, device, precision="bfloat16")


def sizes(frozen: Path, device: torch.device, folder: Path) -> dict[str, object]:
    """Prove every model's batch sizes."""
    found: dict[str, object] = {}
    for name, model in models(frozen, device):
        begin = time.perf_counter()
        proven = with_proven_sizes(model, name, folder / "proofs").sizes
        found[name] = {**dataclasses.asdict(proven), "seconds": round(time.perf_counter() - begin, 2)}
    return found


def company(frozen: Path, device: torch.device, folder: Path) -> dict[str, bool]:
    """Compare pictures made alone with the same ones made among others."""
    found = {}
    for name, model in models(frozen, device):
        if model.kind != "generator":
            continue
        proven = with_proven_sizes(model, name, folder / "proofs")
        requests = [Generate(7, 0, 50), Generate(8, 3, 5), Generate(9, 0, 40), Generate(7, 20, 1)]
        together = generate(proven, requests)
        alone = [generate(proven, [request])[0] for request in requests]
        found[name] = all(np.array_equal(*pair) for pair in zip(together, alone, strict=True))  # type: ignore[arg-type]
    return found


@torch.inference_mode()
def handlers(frozen: Path, device: torch.device) -> dict[str, dict[int, float]]:
    """Images a second of every model's passes, results brought back to the CPU."""
    found: dict[str, dict[int, float]] = {}
    for name, model in models(frozen, device):
        forward = forward_of(dataclasses.replace(model, sizes=fixed(max(LADDER))))
        found[name] = {}
        for size in SIZES:
            rows = rows_of(model, size)
            for _ in range(3):
                forward(rows.to(device)).cpu()
            count, begin = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - begin) < TIMED_S or not count:
                forward(rows.to(device)).cpu()
                count += 1
            found[name][size] = round(count * size / elapsed, 1)
    return found


def step(device: str) -> list[dict[str, object]]:
    """Compare a step of two trainings with the textbook's."""
    cases = [part for case in ("DCGAN, 64x64, width 64", "K+1 MLP, 28x28") for part in ("--case", case)]
    options = ["--device", device, "--seconds", "5", "--rounds", "1", "--json"]
    command = [sys.executable, str(ROOT / "benchmarks" / "training.py"), *cases, *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def job(folder: Path) -> dict[str, float]:
    """Run a sample job on a stack of its own."""
    archives = folder / "archives"
    pack(MODELS / "digits-generator", "generator", archives / "digits.mar")
    with Stack(folder / "state", workers=4, overrides={"MINTAGE_ARCHIVE_DIR": str(archives)}) as stack:
        stack.start()
        with Client(stack.api_address) as client:
            client.load_model("digits", "digits.mar")
            *_, ended = client.watch(client.create_sample_job("digits", JOB_IMAGES, seed=1).name)
    if ended.state != jobs_pb2.Job.STATE_SUCCEEDED:
        raise RuntimeError(f"{ended.name} ended as {jobs_pb2.Job.State.Name(ended.state)}: {ended.error}")
    seconds = (ended.end_time.ToNanoseconds() - ended.create_time.ToNanoseconds()) / 1e9
    return {"images": JOB_IMAGES, "seconds": seconds, "images_per_second": JOB_IMAGES / seconds}


if __name__ == "__main__":
    main()
