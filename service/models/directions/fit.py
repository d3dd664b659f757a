"""A linear fit from latents to what a model answers: the direction along which the answer grows fastest.

Ridge regression (Hoerl and Kennard 1970), whose penalty is the one with the smallest leave-one-out error on the latents
that are fitted. How good a direction is, other latents say, which the fit has not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]

PENALTIES = np.logspace(-6, 2, 33)  # shares of the largest squared singular value
LEAST_PROBABILITY = 0.01  # that a logit is taken of: what a classifier is sure of, it may be less or more sure of
CERTAIN = 1.96  # standard deviations by which an accuracy exceeds that of guessing, 1/2, where something was found
LEAST_SHARE = 0.02  # of the fitted latents on either side of a boundary, for it to be one


@dataclass(frozen=True, slots=True)
class LinearFit:
    """A direction and what it is worth.

    Attributes:
        values: [Z], one standard deviation of the latents long.
        accuracy: Share of the held-out latents that the fit puts on the right side of the boundary, averaged over both
            sides, so that guessing gives 0.5; None if all lie on one side.
        auroc: Probability that of two held-out latents, one on each side, the fit ranks the upper one higher; or None.
        above: How many held-out latents lie above the boundary,
        held_out: of how many.
    """

    values: Float64s
    accuracy: float | None
    auroc: float | None
    above: int
    held_out: int

    @property
    def guesses(self) -> bool:
        """Whether an accuracy like this comes of guessing more than once in forty times, so that nothing was found."""
        below = self.held_out - self.above
        if self.accuracy is None:
            return False
        return self.accuracy < 0.5 + CERTAIN * 0.25 * math.sqrt(1 / self.above + 1 / below)


def logits(probabilities: NDArray[np.float32]) -> Float64s:
    """Return ln(p / (1 - p)) of probabilities [N], which a linear fit suits better than p."""
    clipped = np.clip(probabilities.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    found: Float64s = np.log(clipped / (1 - clipped))
    return found


def linear_fit(
    latents: Float64s,
    answers: Float64s,
    *,
    held_out: int,
    boundary: float | None = None,
    classes: NDArray[np.int64] | None = None,
) -> LinearFit | None:
    """Fit answers to latents; None if all answers are equal.

    Args:
        latents: [N, Z].
        answers: [N].
        held_out: How many of the last ones only measure.
        boundary: Of answers, between having a property and lacking it. None, or one that nearly all fitted answers lie
            on one side of, takes their median.
        classes: [N], the class that the image of each latent shows, where it decides most of the answer. Answers then
            count from the mean of their class, whose boundary is its median.
    """
    if classes is not None:
        answers, boundary = _within_classes(answers, classes, held_out), None
    fitted, held = latents[:-held_out], latents[-held_out:]
    known, wanted = answers[:-held_out], answers[-held_out:]
    if np.ptp(known) == 0:
        return None
    weights = ridge(fitted - fitted.mean(axis=0), known - known.mean())
    length = float(np.linalg.norm(weights))
    if length == 0:
        return None
    if boundary is None or not LEAST_SHARE <= (known > boundary).mean() <= 1 - LEAST_SHARE:
        boundary = float(np.median(known))
    above, guessed = wanted > boundary, held @ weights
    return LinearFit(
        values=weights * (float(fitted.std()) / length),
        accuracy=_accuracy(guessed, above, _middle(fitted @ weights, known > boundary)),
        auroc=auroc(guessed[above], guessed[~above]),
        above=int(above.sum()),
        held_out=held_out,
    )


def _within_classes(answers: Float64s, classes: NDArray[np.int64], held_out: int) -> Float64s:
    """Return answers less the mean of the fitted ones of their class."""
    known = answers[:-held_out]
    centred = answers.copy()
    for each in np.unique(classes):
        mine = classes == each
        of_class = known[mine[:-held_out]] if mine[:-held_out].any() else known
        centred[mine] -= of_class.mean() if np.ptp(of_class) else of_class[0]  # a mean of equal numbers is rounded
    return centred


def _middle(guessed: Float64s, above: NDArray[np.bool_]) -> float:
    """Return the middle between what is guessed on average of the two sides."""
    return float(guessed[above].mean() + guessed[~above].mean()) / 2 if above.any() else float(guessed.max())


def _accuracy(guessed: Float64s, above: NDArray[np.bool_], middle: float) -> float | None:
    if above.all() or not above.any():
        return None
    return float((guessed[above] > middle).mean() + (guessed[~above] <= middle).mean()) / 2


def ridge(points: Float64s, targets: Float64s) -> Float64s:
    """Return the weights [Z] of a ridge regression without intercept of targets [N] on points [N, Z].

    With points = U S V' the predictions are H targets, H = U diag(s^2 / (s^2 + penalty)) U', and the error of a point
    that is left out is its residual divided by 1 - its H_ii.
    """
    left, sizes, right = np.linalg.svd(points, full_matrices=False)
    projected = left.T @ targets

    def error(penalty: float) -> float:
        shares = sizes**2 / (sizes**2 + penalty)
        residuals = targets - left @ (shares * projected)
        leverages = np.einsum("ij,j,ij->i", left, shares, left) + 1 / len(points)  # the mean was fitted too
        return float(((residuals / np.maximum(1 - leverages, 1e-9)) ** 2).mean())

    penalty = min((share * sizes[0] ** 2 for share in PENALTIES), key=error)
    weights: Float64s = right.T @ (sizes / (sizes**2 + penalty) * projected)
    return weights


def auroc(above: Float64s, below: Float64s) -> float | None:
    """Return the share of pairs of one of each with a larger `above`, equal ones counting half; None without pairs."""
    if not len(above) or not len(below):
        return None
    ranked = np.sort(below)
    lower = np.searchsorted(ranked, above, "left") + np.searchsorted(ranked, above, "right")
    return float(lower.sum()) / (2 * len(above) * len(below))
