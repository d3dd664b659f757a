"""The service and training read the same kinds of image files; neither imports the other."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from mintage.pictures import fitted
from PIL import Image

from service.images import decode as service
from training.data import image as training
from training.data.formats import listing
from training.data.splits import ImageFile


def test_training_the_service_and_jobs_have_one_list_of_formats() -> None:
    assert service.FORMATS == training.FORMATS
    assert service.FORMATS_SHOWN == training.FORMATS_SHOWN
    assert service.ENDINGS == training.ENDINGS
    assert service.UNREAD_ENDINGS == training.UNREAD_ENDINGS
    assert service.NO_IMAGES == listing.NO_IMAGES


@pytest.mark.parametrize("name", ["a.png", "a", "a.dat", "a.PNG", "a.heic", "a.txt", "a.json"])
@pytest.mark.parametrize("is_png", [True, False])
def test_training_and_jobs_take_the_same_files_for_images(name: str, is_png: bool, tmp_path: Path) -> None:
    file = tmp_path / name
    if is_png:
        Image.new("L", (3, 2)).save(file, "PNG")
    else:
        file.write_text("words")

    expected = name in ("a.png", "a.PNG", "a.heic") or (is_png and name in ("a", "a.dat"))
    assert listing.looks_like_image(file) == expected
    assert service.looks_like_image(name, lambda: file.open("rb")) == expected


@pytest.mark.parametrize("kind", training.FORMATS)
def test_every_format_is_read_alike_whatever_the_name(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    content = file.getvalue()

    read = service.decode([content], height=8, width=6, channels=3, max_pixels=100, field="f")[0]
    fitted, _ = service.decode_fitted(content, height=8, width=6, channels=3, max_pixels=100)

    assert np.array_equal(read, training.decoded(ImageFile("it.png", content), size=None, channels=3).pixels)
    assert np.array_equal(read, fitted)


def test_pixels_of_an_unknown_range_are_refused_by_both() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 6), np.float32)).save(file, "TIFF")

    with pytest.raises(training.DamagedImageError, match="holds floating-point pixels"):
        training.decoded(ImageFile("it.tif", file.getvalue()), size=None, channels=1)
    with pytest.raises(service.UnreadableImageError, match="holds floating-point pixels"):
        service.decode_fitted(file.getvalue(), height=8, width=6, channels=1, max_pixels=100)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_the_client_and_training_lay_images_on_white_before_they_resize_them(mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, len(mode)), dtype=np.uint8)
    path = tmp_path / "it.png"
    Image.fromarray(pixels, mode).save(path)

    ours = training.decoded(ImageFile("it.png", path.read_bytes()), size=(16, 16), channels=3).pixels

    assert np.array_equal(np.asarray(fitted(path, 16, 16).convert("RGB")), ours)
