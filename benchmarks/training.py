"""Images a second and memory of training steps, side by side in one run: python benchmarks/training.py [--seconds 20].

Each network is trained by our step and by the plain loop of a PyTorch textbook: float32, contiguous tensors, one pass
a kind of image, gradients of the discriminator's weights in the generator's step too, nothing fused. Both make the same
images with the same widths and batches, and both keep averages of their weights. Every measurement is a process of its
own, so that its peak memory is its own, and ways take turns, so that a busy minute hits both. Machines differ and are
noisy: read the ratios. Takes about five minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from training.batches import to_tensor
from training.config import RunConfig
from training.data import LabelledImages
from training.families import family_of
from training.recipes import DcganRecipe, ImprovedGanRecipe, Recipe, recipe_named

CASES: dict[str, tuple[str, dict[str, object], tuple[int, int, int]]] = {
    "K+1 MLP, 28x28": ("ssgan-mnist", {}, (28, 28, 1)),
    "DCGAN, 32x32, width 64": ("dcgan32", {}, (32, 32, 3)),
    "DCGAN, 64x64, width 64": ("dcgan64", {"batch": 64}, (64, 64, 3)),
}
WAYS = ("ours", "textbook")
MEGABYTE = 1024  # of the kilobytes that Linux counts peak memory in


@dataclass(frozen=True, slots=True)
class Row:
    """One network trained one way."""

    case: str
    way: str
    images_per_second: float  # real images, the median of the rounds
    peak_mb: float


def main() -> None:
    """Measure every case both ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds a measurement (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each way, taking turns (default 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: torch's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="that both ways use (default cpu)")
    parser.add_argument("--case", choices=CASES, action="append", help="measure this one only; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # a measurement in a process of its own
    options = parser.parse_args()
    if options.way:
        threads, device = options.threads, options.device
        print(json.dumps(measured(options.case[0], options.way, options.seconds, threads=threads, device=device)))
        return
    rows = [row for case in options.case or CASES for row in alternated(case, options)]
    print(json.dumps([asdict(row) for row in rows], indent=2)) if options.json else print_table(rows, options.threads)


def alternated(case: str, options: argparse.Namespace) -> list[Row]:
    """Measure a case both ways in turn, each time in a new process."""
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    peaks: dict[str, float] = {}
    numbers = {name: getattr(options, name) for name in ("seconds", "threads", "device")}
    for number in range(options.rounds):
        for way in WAYS:
            print(f"{case}: {way}, {number + 1} of {options.rounds}", file=sys.stderr)
            arguments = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
            arguments += ["--case", case, "--way", way]
            done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
            result = json.loads(done.stdout)
            speeds[way].append(result["images_per_second"])
            peaks[way] = max(result["peak_mb"], peaks.get(way, 0.0))
    return [Row(case, way, statistics.median(speeds[way]), peaks[way]) for way in WAYS]


def measured(case: str, way: str, seconds: float, *, threads: int, device: str) -> dict[str, float]:
    """Train for some seconds and return speed and peak memory of this process."""
    name, fields, shape = CASES[case]
    recipe = recipe_named(name).overridden({**fields, "threads": threads, "device": device})
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = invented(shape)
    if way == "textbook":
        torch.set_default_device(device)
    step = ours(recipe, data) if way == "ours" else textbook(recipe, data)
    for _ in range(2):  # the first steps choose kernels and fill Adam's moments
        taken(step, device)
    steps, start_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - start_s) < seconds or not steps:
        taken(step, device)
        steps += 1
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
    return {"images_per_second": steps * recipe.batch_images / elapsed_s, "peak_mb": peak_mb}


def taken(step: Callable[[], object], device: str) -> None:
    """Take a step to its end; a GPU would only have been told of it."""
    step()
    if device == "cuda":
        torch.cuda.synchronize()


def invented(shape: tuple[int, int, int], count: int = 4000) -> LabelledImages:
    """Return noise with labels: speed does not depend on what images show."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    return LabelledImages(images, np.arange(count) % 10, tuple("0123456789"), "noise")


def ours(recipe: Recipe, data: LabelledImages) -> Callable[[], object]:
    """Return our step, batches and averages included."""
    return family_of(RunConfig.of(recipe, data)).begin(data).advance


def textbook(recipe: Recipe, data: LabelledImages) -> Callable[[], None]:
    """Return the step that a textbook would write, for torch's default device."""
    config = RunConfig.of(recipe, data)
    if isinstance(recipe, ImprovedGanRecipe):
        discriminator: nn.Module = PlainDiscriminator(recipe, config.image_shape)
        return plain_k_plus_1(family_of(config).generator(), discriminator, recipe, data)
    assert isinstance(recipe, DcganRecipe)
    return plain_dcgan(family_of(config).generator(), family_of(config).discriminator(), recipe, data)


class PlainWeightNorm(nn.Module):
    """Weight normalisation as its equation stands, differentiated by autograd."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(outputs, inputs) * 0.1)
        self.scale = nn.Parameter(torch.ones(outputs, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, inputs] to [N, outputs]."""
        weight = self.scale * self.direction / self.direction.norm(dim=1, keepdim=True)
        return functional.linear(inputs, weight, self.bias)


class PlainDiscriminator(nn.Module):
    """The discriminator of Salimans et al. 2016 for MNIST, written out."""

    def __init__(self, recipe: ImprovedGanRecipe, shape: tuple[int, int, int]) -> None:
        super().__init__()
        sizes = (int(np.prod(shape)), *recipe.discriminator_widths)
        self.layers = nn.ModuleList(PlainWeightNorm(a, b) for a, b in itertools.pairwise(sizes))
        self.output = PlainWeightNorm(sizes[-1], 10)
        self.stds = (recipe.input_noise, *(recipe.hidden_noise for _ in recipe.discriminator_widths))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N, K] and the last hidden units [N, F]."""
        units = (images.flatten(1) + 1) / 2
        for layer, std in zip(self.layers, self.stds, strict=False):
            units = functional.relu(layer(units + std * torch.randn_like(units)))
        return self.output(units + self.stds[-1] * torch.randn_like(units)), units


def plain_k_plus_1(
    generator: nn.Module, discriminator: nn.Module, recipe: ImprovedGanRecipe, data: LabelledImages
) -> Callable[[], None]:
    """Return the textbook step of the K+1 GAN."""
    adams = [
        torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.003, betas=(0.5, 0.999), eps=1e-4)
        for network in (generator, discriminator)
    ]
    average = plain_average(generator, discriminator)
    labelled, labels = here(to_tensor(data.images[:100])), here(torch.from_numpy(data.labels[:100]))

    def batch() -> Tensor:
        return here(to_tensor(data.images[np.random.randint(len(data), size=recipe.unlabelled_batch)]))

    def step() -> None:
        order = torch.randperm(100)
        known, _ = discriminator(labelled[order])
        real, _ = discriminator(batch())
        fake, _ = discriminator(generator(torch.rand(recipe.unlabelled_batch, recipe.latent_size)).detach())
        real, fake = torch.logsumexp(real, 1), torch.logsumexp(fake, 1)
        unsupervised = (functional.softplus(real) - real).mean() + functional.softplus(fake).mean()
        loss = functional.cross_entropy(known, labels[order]) + 0.5 * unsupervised
        adams[1].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adams[1].step()
        _, seen = discriminator(generator(torch.rand(recipe.unlabelled_batch, recipe.latent_size)))
        _, expected = discriminator(batch())
        loss = (seen.mean(0) - expected.detach().mean(0)).square().mean()
        adams[0].zero_grad()
        loss.backward()
        adams[0].step()
        average()

    return step


def plain_dcgan(
    generator: nn.Module, discriminator: nn.Module, recipe: DcganRecipe, data: LabelledImages
) -> Callable[[], None]:
    """Return the textbook step of the DCGAN."""
    adams = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)]
    average = plain_average(generator, discriminator)
    loss_of, count = nn.BCEWithLogitsLoss(), recipe.batch_images
    ones, zeros = torch.ones(count), torch.zeros(count)

    def step() -> None:
        real = here(to_tensor(data.images[np.random.randint(len(data), size=count)]))
        fake = generator(2 * torch.rand(count, recipe.latent_size) - 1)
        adams[1].zero_grad()
        loss_of(discriminator(real), ones).backward()
        loss_of(discriminator(fake.detach()), zeros).backward()
        adams[1].step()
        adams[0].zero_grad()
        loss_of(discriminator(fake), ones).backward()
        adams[0].step()
        average()

    return step


def here(tensor: Tensor) -> Tensor:
    """Move a tensor to torch's default device."""
    return tensor.to(torch.get_default_device())


def plain_average(*networks: nn.Module) -> Callable[[], None]:
    """Return what keeps an average of every weight, one after the other."""
    weights = [weight for network in networks for weight in network.parameters()]
    averages = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def update() -> None:
        for average, weight in zip(averages, weights, strict=True):
            average.mul_(0.999).add_(weight, alpha=0.001)

    return update


def print_table(rows: list[Row], threads: int) -> None:
    """Print what was measured, with each case's ratio."""
    table = Table("network", "way", "images/s", "of textbook", "peak memory, MB", box=None)
    plain = {row.case: row.images_per_second for row in rows if row.way == "textbook"}
    for row in rows:
        ratio = f"{row.images_per_second / plain[row.case]:.2f}"
        table.add_row(row.case, row.way, f"{row.images_per_second:,.1f}", ratio, f"{row.peak_mb:,.0f}")
    Console().print(table)
    print(
        f"{os.cpu_count()} cores, {threads} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
