"""The curves of runs as pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from training.runs.curves import ACCURACY, COLOURS, HEIGHT, WIDTH, curves_of, draw

LINES: list[dict[str, Any]] = [
    {"images_seen": 10, "losses": {"generator": 1.0, "D(x)": 0.5}, "test_accuracy": None},
    {"images_seen": 20, "losses": {"generator": math.nan, "D(x)": 0.6}, "test_accuracy": 0.5},
    {"images_seen": 30, "losses": None, "test_accuracy": None},
    {"images_seen": 40, "losses": {"generator": 0.5, "D(x)": 0.7}, "test_accuracy": 0.75},
]


def colours_of(picture: Image.Image) -> set[str]:
    pixels = np.asarray(picture).reshape(-1, 3)
    return {"#{:02x}{:02x}{:02x}".format(*pixel) for pixel in np.unique(pixels, axis=0)}


def test_curves_are_the_finite_values_by_name() -> None:
    assert curves_of(LINES) == {
        "generator": [(10, 1.0), (40, 0.5)],
        "D(x)": [(10, 0.5), (20, 0.6), (40, 0.7)],
        ACCURACY: [(20, 50.0), (40, 75.0)],
    }


def test_a_panel_for_each_quantity() -> None:
    picture = draw({"run": curves_of(LINES)})

    assert picture is not None
    assert picture.size == (2 * WIDTH, 2 * HEIGHT)
    assert COLOURS[0] in colours_of(picture)
    assert COLOURS[1] not in colours_of(picture)


def test_a_line_and_a_colour_for_each_run() -> None:
    picture = draw({name: curves_of(LINES) for name in ("one", "two", "three")})

    assert picture is not None
    assert picture.width == 2 * WIDTH
    assert picture.height > 2 * HEIGHT, "no legend"
    legend = picture.crop((0, 0, picture.width, picture.height - 2 * HEIGHT))
    assert set(COLOURS[:3]) <= colours_of(legend)


def test_the_legend_has_a_colour_for_those_runs_alone_that_have_a_curve() -> None:
    picture = draw({"one": curves_of(LINES), "two": {"generator": [(0, 2), (50, 1)]}, "three": {"generator": [(0, 2)]}})

    assert picture is not None
    legend = picture.crop((0, 0, picture.width, picture.height - 2 * HEIGHT))
    assert set(COLOURS[:3]) & colours_of(legend) == set(COLOURS[:2])


def test_a_panel_says_of_how_many_runs_it_is() -> None:
    one, two = curves_of(LINES), {"generator": [(0.0, 2.0), (50.0, 1.0)]}
    both, less = draw({"one": one, "two": one | two}), draw({"one": one, "two": two})

    assert both is not None and less is not None
    generator, likelihood = ((left, 42, left + WIDTH, 42 + 24) for left in (0, WIDTH))  # titles, below the legend
    assert both.crop(generator).tobytes() == less.crop(generator).tobytes()
    assert both.crop(likelihood).tobytes() != less.crop(likelihood).tobytes()


def test_nothing_is_drawn_of_single_points() -> None:
    assert draw({"run": curves_of(LINES[:1])}) is None
    assert draw({}) is None


def test_ten_thousand_points_are_a_line_that_keeps_its_ends_in_sight() -> None:
    points = [(float(x), math.sin(x / 500)) for x in range(10_000)]

    picture = draw({"run": {"wave": points}})

    assert picture is not None
    blue = np.argwhere((np.asarray(picture) == (0x1F, 0x5F, 0xA8)).all(axis=2))
    assert blue[:, 1].max() - blue[:, 1].min() > 0.95 * (WIDTH - 76)
