"""What `benchmarks/jobs.py` runs beside jobs, the bare loop, and the generator of its large ones: almost nothing."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import time
import zipfile
from pathlib import Path
from typing import Any

from service.images import png
from service.jobs.plan import Plan, Sampling, default_shard_size

READY_S, LONGEST_S = 60.0, 600.0


def in_process(archive: Path, digest: str, folder: Path, images: int) -> tuple[float, float]:
    """Make the images in as many processes as cores, each a share of the shards.

    Returns: the seconds that it took without the starts of the processes, and their processor seconds.
    """
    processes = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    barrier, used = context.Barrier(processes + 1), context.SimpleQueue()
    size = default_shard_size(images)
    shares = [range(k * size, images, processes * size) for k in range(processes)]
    arguments = [(archive, digest, folder / str(k), share) for k, share in enumerate(shares)]
    shared = {"barrier": barrier, "used": used}
    workers = [context.Process(target=loop, args=each, kwargs=shared) for each in arguments]
    for worker in workers:
        worker.start()
    barrier.wait(READY_S)
    begin = time.perf_counter()
    barrier.wait(LONGEST_S)
    taken = time.perf_counter() - begin
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process of the loop failed")
    return taken, sum(used.get() for _ in workers)


def loop(archive: Path, digest: str, folder: Path, starts: range, *, barrier: Any, used: Any) -> None:
    """Make shards in this process with one thread: the same network, micro-batch, PNG encoder and tar.

    Processor seconds go to `used`.
    """
    import torch  # noqa: PLC0415 - the other parts do without

    from handlers.compute import device, environment, model  # noqa: PLC0415 - imports torch
    from handlers.operations import direct  # noqa: PLC0415 - imports torch
    from handlers.protocol.requests import Failure, Generate  # noqa: PLC0415 - beside it
    from service.jobs.shards.formats.tar import TarWriter  # noqa: PLC0415 - beside it

    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    environment.prepare()
    device.make_deterministic()
    served = model.load(folder, "generator", torch.device("cpu"))
    batch, size = 4 * served.micro_batch, default_shard_size(starts.stop)
    height, width, channels = served.image_shape
    plan = Plan(
        job="loop",
        prefix="loop",
        create_time_ms=0,
        request_id="",
        request_digest="0" * 64,
        model="generator",
        model_digest=digest,
        backend_name="",
        device_class="",
        torch_version="",
        numerics=1,
        precision="float32",
        micro_batch=served.micro_batch,
        height=height,
        width=width,
        channels=channels,
        count=starts.stop,
        shard_size=size,
        format="webdataset-png",
        sampling=Sampling(seed=1, encoder=png.ENCODER, max_images_per_second=0.0, classes=served.classes),
    )
    direct.generate(served, [Generate(seed=1, first_index=0, count=batch)])
    barrier.wait(READY_S)
    begin = time.process_time()
    for start in starts:
        stop = min(start + size, starts.stop)
        with (folder / f"{start // size}.tar").open("wb") as file:
            writer = TarWriter(file, plan)
            for first in range(start, stop, batch):
                request = Generate(seed=1, first_index=first, count=min(batch, stop - first))
                images_made = direct.generate(served, [request])[0]
                assert not isinstance(images_made, Failure)
                writer.add(first, images_made)
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
    used.put(time.process_time() - begin)
    barrier.wait(LONGEST_S)


def tiny_run(folder: Path, side: int = 8) -> Path:
    """Write the run folder of a small perceptron of random weights: latent of 8, two layers of 16, square images."""
    import torch  # noqa: PLC0415 - the other parts do without

    from training.config import RunConfig  # noqa: PLC0415
    from training.families import family_of  # noqa: PLC0415
    from training.recipes.improved_gan import IMPROVED_GAN_RECIPES  # noqa: PLC0415
    from training.runs import checkpoint  # noqa: PLC0415 - imports torch
    from training.runs.checkpoint import State  # noqa: PLC0415

    digits = next(recipe for recipe in IMPROVED_GAN_RECIPES if recipe.name == "ssgan-digits")
    recipe = dataclasses.replace(digits, latent_size=8, generator_widths=(16, 16))
    config = RunConfig(
        recipe=recipe.name,
        height=side,
        width=side,
        channels=1,
        classes=("x",),
        latent_size=recipe.latent_size,
        latent_distribution=recipe.latent_distribution,
        settings=recipe,
    )
    torch.manual_seed(1)
    weights = {
        f"generator{average}.{name}": tensor.detach().clone()
        for average in ("", "_average")
        for name, tensor in family_of(config).generator().state_dict().items()
    }
    checkpoint.save_config(folder, config)
    checkpoint.save_state(folder, config, weights=weights, state=State({}, 0, 0.0))
    (folder / "card.md").write_text("# A tiny generator\n", encoding="utf-8")
    return folder
