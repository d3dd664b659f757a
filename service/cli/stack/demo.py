"""`mintage demo`: the whole line, once: train, pack, serve, generate, classify, sample in bulk, score, check."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import interrupts
from service.cli.console import FAILED, JsonOption, console, fail, friendly_errors
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.jobs_pb2 import Job

    from service.cli.stack.demo_report import Report
    from service.processes.stack import Stack
    from training.recipes import Kind

GENERATOR, CLASSIFIER = "digits-generator", "digits-classifier"
GENERATOR_RECIPE, CLASSIFIER_RECIPE = "dcgan-digits", "ssgan-digits"
SEED = 2016
JOB_IMAGES, SHARD_IMAGES = 2_000, 250
IMAGES_PER_S = 400.0  # slow enough that the worker dies in the middle of the job
LEASE_S = 5  # short, so that the shard of the killed worker is soon taken back


def demo(
    folder: Annotated[Path, typer.Option(help="Folder for everything; made if missing.")] = Path("var/demo"),
    seconds: Annotated[float, typer.Option(min=5, help="Seconds of training at most.")] = 110.0,
    as_json: JsonOption = False,
) -> None:
    """Train on the bundled digits, serve over gRPC, mint 2,000 images, kill a worker meanwhile, score the result.

    Example: mintage demo --folder var/demo
    """
    from service.cli.stack.demo_report import Report
    from service.cli.stack.up import bring_up
    from service.processes.stack import Stack

    interrupts.install()
    start = time.monotonic()
    with friendly_errors(), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        report = Report(folder.resolve(), console())
        train(report, seconds)
        pack(report)
        report.title(3, "Serve: Valkey, TorchServe, the gRPC API, the dispatcher and two workers")
        with Stack(report.folder / "state", overrides={"MINTAGE_LEASE_S": str(LEASE_S)}) as stack:
            bring_up(stack)
            with connect(report, stack) as client:
                load(report, client)
                generate(report, client)
                classify(report, client)
                job = mint(report, client, stack)
                check(report, client, stack, job)
                score(report, client, job)
            report.title(7, "Stop")
        path = finish(report, stack, time.monotonic() - start)
    if as_json:
        print_json({"report": str(path), "facts": report.facts, "seconds": time.monotonic() - start})


def run_of(report: Report, model: str) -> Path:
    """Return the run folder of a model."""
    return report.folder / "runs" / model


def train(report: Report, seconds: float) -> None:
    """Step 1: a DCGAN and a K+1 GAN on the bundled digits, side by side; existing runs are resumed."""
    from service.cli.training.train import train_with_bar
    from training.recipes import RECIPES

    recipe = RECIPES[CLASSIFIER_RECIPE].overridden({"max_seconds": seconds})
    labels = recipe.to_dict()["labels"]
    report.title(1, "Train a generator and a classifier on the digits that ship with Mintage, side by side")
    report.fact(GENERATOR, f"{GENERATOR_RECIPE}, {RECIPES[GENERATOR_RECIPE].source}")
    report.fact(CLASSIFIER, f"{CLASSIFIER_RECIPE}, {recipe.source}; {labels} labels")
    start = time.monotonic()
    with generator_in_training(report, seconds) as process:
        summary = train_with_bar(recipe, run_of(report, CLASSIFIER))
        if summary.ended == "stopped":
            raise KeyboardInterrupt
        report.say("the classifier is trained; waiting for the generator")
        while process.poll() is None:
            interrupts.check()
            time.sleep(0.1)
    if process.returncode:
        fail(f"training {GENERATOR_RECIPE} failed; {report.folder / 'generator.log'} says why", FAILED)
    report.fact("training", f"{time.monotonic() - start:.0f} s for both; each stops after {seconds:.0f} s at most")
    report.picture("What the generator draws after training", run_of(report, GENERATOR) / "samples" / "latest.png")


@contextlib.contextmanager
def generator_in_training(report: Report, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Train the generator in a process of its own, which ends with the block: SIGTERM saves its run."""
    command = [sys.executable, "-P", "-m", "service", "train", GENERATOR_RECIPE, "--json"]
    command += ["--run", str(run_of(report, GENERATOR)), "--max-seconds", str(seconds), "--set", "threads=1"]
    with (report.folder / "generator.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def pack(report: Report) -> None:
    """Step 2: one archive for the generator and one for the classifier."""
    from handlers.archive import pack as pack_archive

    report.title(2, "Pack generator and classifier into archives")
    kinds: dict[Kind, str] = {"generator": GENERATOR, "classifier": CLASSIFIER}
    for kind, name in kinds.items():
        packed = pack_archive(run_of(report, name), kind, report.folder / "state" / "archives" / f"{name}.mar")
        report.fact(f"{name}.mar", f"{packed.path.stat().st_size / 1e6:.1f} MB, sha256 {packed.digest}")


def connect(report: Report, stack: Stack) -> Client:
    """Connect to the stack's API."""
    from mintage.client import Client

    report.fact("API", f"gRPC on {stack.api_address}")
    return Client(stack.api_address)


def load(report: Report, client: Client) -> None:
    """Register both models; each call returns after a real inference has succeeded."""
    for name in (GENERATOR, CLASSIFIER):
        start = time.monotonic()
        model = client.load_model(name, f"{name}.mar")
        report.say(f"{model.name} is ready after {time.monotonic() - start:.1f} s, on {model.device_class}")


def generate(report: Report, client: Client) -> None:
    """Step 4, first half: 100 digits now, a class in every tenth place."""
    from training.runs.grids import grid

    report.title(4, "Generate and classify over gRPC")
    start = time.monotonic()
    images = client.generate(GENERATOR, 100, seed=SEED)
    report.fact(
        "Generate", f"100 images of {images.shape[1]}x{images.shape[2]} in {1e3 * (time.monotonic() - start):.0f} ms"
    )
    path = report.folder / "generated.png"
    grid(images, columns=20, scale=2).save(path)
    report.picture(f"Samples 0 to 99 of seed {SEED}, over gRPC: sample i shows class i mod 10", path)


def classify(report: Report, client: Client) -> None:
    """Step 4, second half: digits held out from training."""
    from rich.progress import track

    from training.data import load as load_data

    held_out = load_data("digits", "test")
    batches = [slice(first, first + 250) for first in range(0, len(held_out.labels), 250)]
    right, generated = 0, 0.0
    for batch in track(batches, "    classify", console=report.output, transient=True):
        answer = client.classify(CLASSIFIER, held_out.images[batch])
        right += int((answer.best == held_out.labels[batch]).sum())
        generated += 0.0 if answer.generated is None else float(answer.generated.sum())
    total = len(held_out.labels)
    report.fact("accuracy", f"{right / total:.1%} of {total:,} held-out digits ({total - right} errors)")
    report.headline(f"{right / total:.1%}", f"of {total:,} held-out digits classified correctly")
    report.fact("p(generated)", f"{generated / total:.2f} on average over those real digits")


def mint(report: Report, client: Client, stack: Stack) -> Job:
    """Step 5: a sample job, and a worker killed in the middle of it."""
    from service.cli.jobs.show import watch_with_bar

    report.title(5, f"Mint {JOB_IMAGES:,} images in shards of {SHARD_IMAGES}, and kill a worker half way")
    job = client.create_sample_job(
        GENERATOR, JOB_IMAGES, seed=SEED, shard_size=SHARD_IMAGES, max_images_per_second=IMAGES_PER_S
    )
    killed: list[str] = []

    def kill_half_way(job: Job) -> None:
        if not killed and job.progress.images_done >= JOB_IMAGES / 2:
            killed.append(kill_a_busy_worker(client, stack, job))

    job = watch_with_bar(client, job.name, on_change=kill_half_way)
    if job.State.Name(job.state) != "STATE_SUCCEEDED":
        fail(f"{job.name} ended as {job.State.Name(job.state)}: {job.error}", FAILED)
    report.fact("worker killed", f"{''.join(killed) or 'none: the job was faster'} (SIGKILL), lease of {LEASE_S} s")
    report.headline(f"{len(killed)} worker killed", "with SIGKILL, half way through the job")
    report.fact("attempts", f"{job.progress.attempts} for {job.progress.shards_total} shards")
    report.picture(
        "Images from all over the job", Path(job.output_uri.removeprefix("file://")) / ".mintage/contact-sheet.png"
    )
    return job


def kill_a_busy_worker(client: Client, stack: Stack, job: Job) -> str:
    """SIGKILL a worker, and all its processes, that holds a shard now; returns its name."""
    from mintage.v1.jobs_pb2 import Shard

    holders = [shard.worker for shard in client.shards(job.name) if shard.state == Shard.STATE_LEASED]
    names = [name for name in stack.supervisor.processes if any(name in holder for holder in holders)]
    name = (names or ["worker-1"])[0]
    stack.process(name).signal_group(signal.SIGKILL)
    return name


def check(report: Report, client: Client, stack: Stack, job: Job) -> None:
    """Count what is on disk, using only tarfile and hashlib."""
    from service.cli.stack.demo_audit import audit

    found = audit(Path(job.output_uri.removeprefix("file://")), expected=JOB_IMAGES)
    if found.missing or found.twice or found.damaged_shards:
        fail(f"the output is not complete: {found}", FAILED)
    report.fact(
        "on disk", f"{found.images:,} images, 0 missing, 0 twice; all {found.shards} shard digests as in the manifest"
    )
    report.headline(f"{found.images:,} images", "on disk: none missing, none twice, every digest as in the manifest")
    index = JOB_IMAGES // 2
    again = client.generate(GENERATOR, 1, seed=SEED, first_index=index)[0]
    if not (again == found.pixels(index)).all():
        fail(f"sample {index} of the job differs from the same sample generated now", FAILED)
    report.fact("same sample", f"number {index:,} of the job equals, bit for bit, the same sample generated now")
    report.headline("Same bits", f"in sample {index:,} of the job and the same sample generated over gRPC")


def score(report: Report, client: Client, job: Job) -> None:
    """Step 6: the Inception-score formula with the served classifier."""
    from service.cli.jobs.show import watch_with_bar

    report.title(6, "Score the 2,000 images with the served classifier")
    scored = watch_with_bar(client, client.create_score_job(CLASSIFIER, job.name).name)
    result = scored.classifier_score
    if not result.images:
        fail(f"{scored.name} ended as {scored.State.Name(scored.state)}: {scored.error}", FAILED)
    report.fact(
        "classifier score",
        f"{result.mean:.2f} ± {result.standard_deviation:.2f} of at most {len(result.classes)} "
        f"({result.images:,} images, {result.splits} splits)",
    )
    report.link("its own report", Path(scored.output_uri.removeprefix("file://")) / "report.html")
    report.headline(f"{result.mean:.2f} of {len(result.classes)}", "classifier score of the images of the job")
    report.fact(
        "images a class", ", ".join(f"{c}: {n}" for c, n in zip(result.classes, result.class_counts, strict=True))
    )


def finish(report: Report, stack: Stack, seconds: float) -> Path:
    """Print what was made, and what to try next; returns the path of the report."""
    left = stack.supervisor.leftovers()
    if left:
        fail(f"these processes are left: {left}", FAILED)
    report.say("nothing is left running")
    report.fact("whole demo", f"{seconds:.0f} s")
    folder = shlex.quote(os.path.relpath(report.folder))
    again = f"./mint demo --folder {folder}\n./mint up --state {folder}/state    # what it made, served again"
    path = report.write(commands=again)
    output = report.output
    output.print(f"\n[bold green]done[/bold green] in {seconds:.0f} s")
    output.print(
        f"    report    {path}\n    pictures  {report.folder}\n    shards    {stack.settings.outputs}/jobs/*/data"
    )
    output.print(
        f"\nnext: ./mint up --state {report.folder}/state, then in another shell: ./mint models ls", soft_wrap=True
    )
    return path


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(demo)
