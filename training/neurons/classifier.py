"""Trains a classifier on an autoencoder's top units, and writes it as a run folder to pack and serve.

One-versus-rest logistic regressions on the top stage's units, then optional fine-tuning of the whole network on the
softmax's cross entropy, Le et al. 2012, section 5.

OUT/
├── config.json               the recipe `neuron-classifier` with the form of the autoencoder, image shape, classes
├── metrics.jsonl             one line: the accuracies
├── checkpoint.safetensors    discriminator_average.*: the autoencoder and the linear layer
└── card.md                   the model card
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch.nn import functional

from training.batches import to_tensor
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import DataError, DivergedError, RunError
from training.networks.neuron_classifier import NeuronClassifier
from training.neurons.activations import BATCH, LoadedRun, activations_of
from training.neurons.linear import logistic
from training.progress import BeginTask, Report
from training.randomness import stream
from training.recipes import NeuronClassifierRecipe
from training.runs import metrics
from training.runs.card import CARD_FILE, data_row
from training.runs.checkpoint import WEIGHTS_FILE, save_config
from training.runs.files import write_atomically

TUNING_BATCH = 128  # images, as in the autoencoder's own training


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierOutcome:
    """The measurements, also the line of metrics.jsonl. Accuracies lie in [0, 1]."""

    images_seen: int  # by the autoencoder, in its training
    seconds: float
    units: int
    train_images: int
    train_accuracy: float
    test_images: int
    linear_accuracy: float | None  # before fine-tuning, on test images; None without them
    test_accuracy: float | None  # likewise


def classify_run(
    trained: LoadedRun,
    data: LabelledImages,
    out: Path,
    *,
    recipe: NeuronClassifierRecipe,
    test: LabelledImages | None = None,
    begin: BeginTask = lambda name, total: lambda more: None,
) -> ClassifierOutcome:
    """Fit a classifier to a run's units, measure it, and write it.

    Args:
        trained: the run; fine-tuning changes its network.
        data: labelled training images of the run's shape.
        out: folder to create.
        recipe: how to fit; the run's fields replace those of the autoencoder.
        test: images that the accuracy is measured on; nothing is chosen on them.
        begin: called as each task starts; see `training.progress`.

    Raises:
        RunError: if `out` is not empty, or scikit-learn is not installed.
        DataError: if images do not fit the run, have no labels, or a class has none.
        DivergedError: if fine-tuning diverges.
    """
    started_s = time.monotonic()
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} exists and is not empty; name another folder")
    _check(trained, data, test)
    settings = _described(recipe, trained, data)
    units = activations_of(trained.network, data.images, report=begin("units", len(data)))[-1]
    network = _fitted(trained, units, data, settings, report=begin("classes", len(data.classes)))
    linear = None if test is None else accuracy(network, test, report=begin("test images", len(test)))
    if settings.passes:
        _tune(network, data, settings, report=begin("fine-tuning", settings.passes * len(data)))
    final = linear if test is None or not settings.passes else accuracy(network, test)
    outcome = ClassifierOutcome(
        images_seen=trained.run.images_seen,
        seconds=time.monotonic() - started_s,
        units=units.shape[1],
        train_images=len(data),
        train_accuracy=accuracy(network, data, report=begin("training images", len(data))),
        test_images=0 if test is None else len(test),
        linear_accuracy=linear,
        test_accuracy=final,
    )
    config = RunConfig.of(settings, data)
    _write(out, config, _card(config, settings, trained, outcome), outcome, network)
    return outcome


@torch.inference_mode()
def accuracy(network: NeuronClassifier, data: LabelledImages, *, report: Report = lambda _: None) -> float:
    """Return the share of images in [0, 1] whose label has the highest logit."""
    device = network.linear.weight.device
    right = 0
    for start in range(0, len(data), BATCH):
        images = to_tensor(data.images[start : start + BATCH]).to(device)
        right += int((network(images).argmax(1).cpu().numpy() == data.labels[start : start + BATCH]).sum())
        report(len(images))
    return right / len(data)


def _check(trained: LoadedRun, data: LabelledImages, test: LabelledImages | None) -> None:
    """Refuse images that do not fit the run or each other."""
    if len(data.classes) < 2 or len(np.unique(data.labels)) < len(data.classes):
        raise DataError(f"{data.name}: a classifier needs labelled images of two classes or more, some of each")
    for images in (data, test):
        if images is not None:
            trained.must_fit(images.images, images.name)
    if test is not None and test.classes != data.classes:
        raise DataError(f"{test.name}: the test images have other classes than the training images")


def _described(recipe: NeuronClassifierRecipe, trained: LoadedRun, data: LabelledImages) -> NeuronClassifierRecipe:
    """Return the recipe with the run's autoencoder fields."""
    form = trained.config.settings.to_dict()
    own = {"penalty", "passes", "tuning_rate", "seed", "images"}
    return recipe.overridden({**{name: value for name, value in form.items() if name not in own}, "images": len(data)})


def _fitted(
    trained: LoadedRun,
    units: NDArray[np.float32],
    data: LabelledImages,
    recipe: NeuronClassifierRecipe,
    *,
    report: Report,
) -> NeuronClassifier:
    """Fit one logistic regression per class; the standardisation of units is folded into the weights."""
    network = NeuronClassifier(trained.network, classes=len(data.classes)).to(next(trained.network.parameters()).device)
    with torch.no_grad():
        for label in range(len(data.classes)):
            fitted = logistic(cost=1 / recipe.penalty).fit(units, data.labels == label)
            scaling, model = fitted[0], fitted[-1]
            weights = model.coef_[0] / scaling.scale_
            network.linear.weight[label] = torch.from_numpy(weights)
            network.linear.bias[label] = float(model.intercept_[0] - weights @ scaling.mean_)
            report(1)
    return network.eval()


def _tune(network: NeuronClassifier, data: LabelledImages, recipe: NeuronClassifierRecipe, *, report: Report) -> None:
    """Train the whole network with Adam; each pass has its own random order."""
    network.requires_grad_(True)
    device = network.linear.weight.device
    adam = torch.optim.Adam(network.parameters(), lr=recipe.tuning_rate)
    labels = torch.from_numpy(data.labels)
    for done in range(recipe.passes):
        order = torch.randperm(len(data), generator=stream(recipe.seed, "tuning", images_seen=done * len(data)))
        for start in range(0, len(data), TUNING_BATCH):
            chosen = order[start : start + TUNING_BATCH]
            logits = network(to_tensor(data.images[chosen.numpy()]).to(device))
            loss = functional.nll_loss(logits, labels[chosen].to(device))
            if not bool(torch.isfinite(loss)):
                raise DivergedError("fine-tuning's loss is no longer finite; give a smaller rate")
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            report(len(chosen))
    network.requires_grad_(False)


def _write(out: Path, config: RunConfig, card: str, outcome: ClassifierOutcome, network: NeuronClassifier) -> None:
    """Write the run folder, its weights last."""
    save_config(out, config)
    metrics.append(out, dataclasses.asdict(outcome))
    write_atomically(out / CARD_FILE, card.encode())
    header = {"recipe": config.recipe, "images_seen": str(outcome.images_seen), "seconds": repr(outcome.seconds)}
    state = network.cpu().state_dict()
    named = {f"discriminator_average.{name}": tensor.contiguous() for name, tensor in state.items()}
    write_atomically(out / WEIGHTS_FILE, save(named, header))


def _card(config: RunConfig, settings: NeuronClassifierRecipe, trained: LoadedRun, outcome: ClassifierOutcome) -> str:
    """Return the text of card.md."""
    rows = {
        "Source": settings.source,
        "Images": f"{config.height} x {config.width}, {'grey' if config.channels == 1 else 'colour'}",
        "Classes": ", ".join(config.classes),
        "Data": data_row(config),
        "Units": f"{outcome.units:,}, the top stage of {trained.run.path.resolve().name}, a {trained.config.recipe} "
        f"after {outcome.images_seen:,} images",
        "Fine-tuned": f"{settings.passes} passes" if settings.passes else "no",
        "Training accuracy": f"{100 * outcome.train_accuracy:.2f} %",
        "Test accuracy": "not measured: the data came without test images"
        if outcome.test_accuracy is None or outcome.linear_accuracy is None
        else f"{100 * outcome.test_accuracy:.2f} % of {outcome.test_images:,} images "
        f"({100 * outcome.linear_accuracy:.2f} % before fine-tuning)",
        "torch": config.torch_version,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    limits = "\n".join(f"- {limit}" for limit in settings.LIMITS)
    heading = f"# A classifier on the units of a {trained.config.recipe}\n\n{settings.DESCRIPTION}"
    return f"{heading}\n\n| | |\n| --- | --- |\n{table}\n\n## Limits\n\n{limits}\n"
