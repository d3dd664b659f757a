"""Fits the probe: cost and scaling chosen on held-out training images, linear machines, and a temperature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data import choose_labelled
from training.errors import DataError
from training.networks.dcgan import Discriminator
from training.networks.probe import ProbeClassifier
from training.probe.features import centre
from training.probe.machines import LinearMachine, fit_machine
from training.probe.preconditioner import products
from training.progress import Report

COSTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # ascending, for features of mean squared norm 1; about three per decade
FALLS = 2  # stop after so many consecutive costs below the best accuracy
SHARPEST = 1e3  # bound on 1 / temperature, reached if no example is misclassified


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFeatures:
    """Features of N images and their labels."""

    features: Tensor  # [N, F]
    labels: Tensor  # [N] int64 in [0, K)

    def accuracy(self, machine: LinearMachine) -> float:
        """Return the share in [0, 1] of images whose label has the highest score."""
        return float((machine.scores(self.features).argmax(1) == self.labels).double().mean())


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of the machine, and its accuracy on the validation part."""

    standardised: bool  # features have unit variance each, rather than one common factor
    cost: float  # C, for features of mean squared norm 1
    accuracy: float  # in [0, 1]; the mean over the draws


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """A fitted probe.

    Attributes:
        machines: one per draw of labels, or a single one if all are used; they take uncentred features.
        temperature: divisor of the first machine's scores before softmax.
        chosen: the best trial.
        trials: all of them.
        log_losses: on the validation part, in nats, at temperature 1 and at the fitted one.
    """

    machines: tuple[LinearMachine, ...]
    temperature: float
    chosen: Trial
    trials: tuple[Trial, ...]
    log_losses: tuple[float, float]

    def classifier(self, discriminator: Discriminator) -> ProbeClassifier:
        """Combine the first machine, its scores divided by the temperature, with its discriminator."""
        machine = self.machines[0]
        network = ProbeClassifier(discriminator, classes=len(machine.biases))
        with torch.no_grad():
            network.linear.weight.copy_(machine.weights / self.temperature)
            network.linear.bias.copy_(machine.biases / self.temperature)
        return network.to(machine.biases.device)


@dataclass(frozen=True, slots=True)
class FewLabels:
    """The published protocol for few labels: results are means over random draws of labelled images.

    Attributes:
        per_class: labelled images per class in one draw.
        choosing: number of draws for choosing cost and scaling; 10 in the paper's code.
        final: number of draws for the result; 100 in the paper's code.
    """

    per_class: int
    choosing: int = 10
    final: int = 100


def hold_out(
    labels: NDArray[np.int64], *, classes: int, share: float = 0.1, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split training images at random, class by class, into a part to fit on and a part to validate on.

    Args:
        labels: [N].
        classes: K.
        share: of each class held out for validation, at least one image.
        seed: other seeds give other splits.

    Returns: indices of the images to fit on, and of those to validate on, each in random order.

    Raises:
        DataError: if the images have no labels, or some class has fewer than two images.
    """
    if classes < 2 or labels.min() < 0:
        raise DataError(
            f"a probe needs labelled images of two classes or more, and these have {classes}; give data with labels, "
            f"such as one folder per class"
        )
    random = np.random.default_rng([seed, classes])
    fitted, validated = [], []
    for label in range(classes):
        members = random.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise DataError(f"class {label} has {len(members)} images; a probe needs two, one of them to validate on")
        count = max(1, min(round(share * len(members)), len(members) - 1))
        validated.append(members[:count])
        fitted.append(members[count:])
    return random.permutation(np.concatenate(fitted)), random.permutation(np.concatenate(validated))


def fit_probe(
    examples: LabelledFeatures,
    *,
    classes: int,
    validation: int,
    few: FewLabels | None = None,
    seed: int = 0,
    costs: Sequence[float] = COSTS,
    report: Report = lambda _: None,
) -> Probe:
    """Choose cost and scaling, then fit.

    If all labels are used, the machine is fitted again to all examples with the chosen setting; the temperature
    remains that of the machine that did not see the validation part.

    Args:
        examples: of the training images, in random order; the features are centred in place.
        classes: K.
        validation: number of last examples that form the validation part.
        few: the protocol for few labels; by default all labels are used.
        seed: of the draws of few labels.
        costs: values of C to try, ascending, for features of mean squared norm 1.
        report: called with 1 after each machine; `max_fits` is the largest number of machines.

    Raises:
        DataError: if a class has too few images to draw from.
    """
    mean, deviation = centre(examples.features)
    seen = LabelledFeatures(examples.features[:-validation], examples.labels[:-validation])
    held = LabelledFeatures(examples.features[-validation:], examples.labels[-validation:])
    draws = [seen] if few is None else list(_drawn(seen, few, few.choosing, classes, seed))
    gram = products(seen.features) if few is None and _are_many(seen.features) else None
    trials = _Trials(draws, held, deviation, classes, costs, gram, report)
    pairs = [pair for standardised in (False, True) for pair in trials.of(standardised=standardised)]
    chosen, first = max(pairs, key=lambda pair: pair[0].accuracy)
    scores = first.scores(held.features)
    temperature = fit_temperature(scores, held.labels)
    scale = _scale(deviation, standardised=chosen.standardised)
    start = first if few is None else None
    machines = []
    for each in [examples] if few is None else _drawn(seen, few, few.final, classes, seed):
        machine = fit_machine(
            each.features, each.labels, classes=classes, cost=chosen.cost, scale=scale, start=start, gram=gram
        )
        machines.append(machine.with_shift(mean))
        report(1)
    return Probe(
        machines=tuple(machines),
        temperature=temperature,
        chosen=chosen,
        trials=tuple(trial for trial, _ in pairs),
        log_losses=(log_loss(scores, held.labels), log_loss(scores / temperature, held.labels)),
    )


def max_fits(few: FewLabels | None, costs: Sequence[float] = COSTS) -> int:
    """Return the largest number of machines that `fit_probe` fits."""
    choosing, final = (few.choosing, few.final) if few else (1, 1)
    return 2 * len(costs) * choosing + final


def fit_temperature(scores: Tensor, labels: Tensor) -> float:
    """Return the temperature T that minimises the log loss of softmax(scores / T), Guo et al. 2017, section 4.2.

    The loss is convex in 1 / T, and its derivative is the mean over examples of (expected score - the label's score).

    Args:
        scores: [N, K].
        labels: [N] int64 in [0, K).

    Returns: T >= 1 / SHARPEST, near that bound if no example is misclassified.
    """
    scores = scores.double()
    right = scores.gather(1, labels[:, None])[:, 0]

    def derivative(inverse: float) -> float:
        return float(((scores * inverse).softmax(1).mul(scores).sum(1) - right).mean())

    low, high = math.log(1 / SHARPEST), math.log(SHARPEST)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)


def log_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the mean of -log softmax(logits) at the labels, in nats; logits [N, K], labels int64 [N]."""
    return float(functional.cross_entropy(logits.double(), labels))


@dataclass(frozen=True, slots=True, eq=False)
class _Trials:
    """What machines of several costs are fitted to and tried on."""

    draws: Sequence[LabelledFeatures]
    held: LabelledFeatures
    deviation: Tensor
    classes: int
    costs: Sequence[float]
    gram: Tensor | None
    told: Report

    def of(self, *, standardised: bool) -> Iterator[tuple[Trial, LinearMachine]]:
        """Yield each cost's trial and first machine, until accuracy has been below the best `FALLS` times."""
        scale = _scale(self.deviation, standardised=standardised)
        machines: list[LinearMachine | None] = [None] * len(self.draws)
        best, fallen = -1.0, 0
        for cost in self.costs:
            fitted = [self._fitted(*each, cost, scale) for each in zip(self.draws, machines, strict=True)]
            machines[:] = fitted
            accuracy = float(np.mean([self.held.accuracy(machine) for machine in fitted]))
            yield Trial(standardised, cost, accuracy), fitted[0]
            fallen = fallen + 1 if accuracy < best else 0
            best = max(best, accuracy)
            if fallen == FALLS:
                return

    def _fitted(self, draw: LabelledFeatures, start: LinearMachine | None, cost: float, scale: Tensor) -> LinearMachine:
        machine = fit_machine(
            draw.features, draw.labels, classes=self.classes, cost=cost, scale=scale, start=start, gram=self.gram
        )
        self.told(1)
        return machine


def _are_many(features: Tensor) -> bool:
    """Whether there are more examples than features, whose products then take no more memory than they do."""
    return features.shape[0] >= features.shape[1]


def _drawn(seen: LabelledFeatures, few: FewLabels, draws: int, classes: int, seed: int) -> Iterator[LabelledFeatures]:
    """Yield draws with equally many examples per class; draw n does not depend on the number of draws."""
    labels = seen.labels.cpu().numpy()
    for draw in range(draws):
        rows = choose_labelled(labels, count=few.per_class * classes, classes=classes, seed=seed + draw)
        chosen = torch.from_numpy(rows).to(seen.labels.device)
        yield LabelledFeatures(seen.features[chosen], seen.labels[chosen])


def _scale(deviation: Tensor, *, standardised: bool) -> Tensor:
    """Return factors [F] that give centred features a mean squared norm of 1; 0 for constant features."""
    if standardised:
        varies = deviation > 1e-6 * deviation.max()
        return torch.where(varies, 1 / deviation, 0) / varies.sum().clamp_min(1).sqrt()
    total: Tensor = torch.linalg.vector_norm(deviation)
    return torch.where(total > 0, 1 / total, 0).expand_as(deviation)
