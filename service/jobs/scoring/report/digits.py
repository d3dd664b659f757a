"""Numbers with as many digits as their spread allows."""

from __future__ import annotations

import math

ROUNDING = 1e-9  # of a value: less is an error of float64


def rounded(value: float, spread: float, digits: int = 1) -> str:
    """Write a value down to the place of the first digits of its spread; to four digits if it has none."""
    if not (math.isfinite(spread) and spread > 0):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    places = max(0, digits - 1 - math.floor(math.log10(spread)))
    return f"{value:,.{places}f}"


def with_deviation(value: float, deviation: float) -> str:
    """Write a value and its standard deviation, of which two digits are told; none that is only rounding."""
    if deviation <= ROUNDING * abs(value):
        return rounded(value, 0)
    return f"{rounded(value, deviation, 2)} ± {rounded(deviation, deviation, 2)}"


def share(value: float, images: int) -> str:
    """Write a share of images, whose spread is that of as many draws."""
    draws = max(images, 1)
    return rounded(value, max(math.sqrt(abs(value * (1 - value)) / draws), 1 / draws))
