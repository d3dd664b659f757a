"""The pictures of a neuron say what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont
from PIL.PngImagePlugin import PngImageFile

from training.neurons.captions import Captioned, broken, captioned
from training.neurons.figures import curves, legend
from training.neurons.invariance import PANELS, Curve, changes


def test_every_kind_of_change_has_a_name_a_unit_and_its_place_of_no_change() -> None:
    assert PANELS.keys() == changes(32).keys()
    for name, amounts in changes(32).items():
        assert np.abs(amounts - PANELS[name][2]).min() == pytest.approx(0, abs=1e-9)


def test_the_curves_say_what_line_band_and_axis_are(tmp_path: Path) -> None:
    points = np.linspace(-1, 1, 5)
    flat = Curve(points, np.ones(5), np.full(5, 0.1))

    curves(tmp_path / "one.png", dict.fromkeys(PANELS, flat), title="face: stage 2, unit 7", images=10)

    with PngImageFile(tmp_path / "one.png") as picture:
        assert picture.text["Title"] == f"face: stage 2, unit 7. {legend(10)}"
        height, below = picture.height, np.asarray(picture.convert("L"))[-30:]
    assert (below < 160).sum() > 500, f"nothing is written in the last lines of {height}"
    assert "10 images" in legend(10) and "one standard deviation" in legend(10) and "distractors" in legend(10)


def test_images_side_by_side_have_captions_and_sharp_pixels() -> None:
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (2, 8, 8, 3), np.uint8)

    picture = captioned(
        [Captioned(image, "ascent in pixels", "activation 1.2") for image in images], title="T", note="a note", width=60
    )

    pixels = np.asarray(picture)
    expected = images.repeat(8, axis=1).repeat(8, axis=2)
    assert picture.width == 2 * (64 + 16) + 16
    for number, image in enumerate(expected):
        left = 16 + number * 80
        found = [top for top in range(len(pixels) - 64) if (pixels[top : top + 64, left : left + 64] == image).all()]
        assert found == [56]
        assert (pixels[: found[0], left : left + 64] < 128).any() and (
            pixels[found[0] + 64 :, left : left + 64] < 128
        ).any()


def test_a_note_is_broken_between_words_and_nothing_is_lost() -> None:
    font = ImageFont.load_default(11)
    text = "Images of one contrast that excite the neuron most, the best of eight ascents in each form."
    lines = broken(text, font, 150)
    assert " ".join(lines) == text and len(lines) > 2
    assert all(font.getlength(line) <= 150 for line in lines)
