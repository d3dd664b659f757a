"""The service and training read the same kinds of image files; neither imports the other."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from service.images import decode as service
from training.data import image as training
from training.data.splits import ImageFile


def test_training_the_service_and_jobs_have_one_list_of_formats() -> None:
    assert service.FORMATS == training.FORMATS
    assert service.FORMATS_SHOWN == training.FORMATS_SHOWN
    assert service.ENDINGS == training.ENDINGS
    assert service.UNREAD_ENDINGS == training.UNREAD_ENDINGS


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
