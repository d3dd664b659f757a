from __future__ import annotations

import hashlib
import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from service.images import png

shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))


@settings(max_examples=50)
@given(images=shapes.flatmap(lambda shape: arrays.arrays(np.uint8, shape)))
def test_every_image_comes_back_as_it_was(images: np.ndarray) -> None:
    for image, data in zip(images, png.encode(images), strict=True):
        with Image.open(io.BytesIO(data)) as decoded:
            assert decoded.mode == {1: "L", 3: "RGB"}[image.shape[2]]
            assert (np.asarray(decoded).reshape(image.shape) == image).all()


def test_an_image_has_the_same_bytes_whatever_batch_it_rides_in() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    together = list(png.encode(images))
    assert together == [next(png.encode(image[None])) for image in images]


def test_the_bytes_are_those_that_the_encoders_name_stands_for() -> None:
    small = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    waves = (np.add.outer(np.arange(96), np.arange(96)) ** 2 // 64).astype(np.uint8).reshape(1, 96, 96, 1)
    digests = [hashlib.sha256(b"".join(png.encode(each))).hexdigest()[:16] for each in (small, noise, waves)]
    assert (png.ENCODER, digests) == (
        "deflate 0.9.0, level 1, filter up",
        ["522576ce04d44d8f", "67c551726dbf224d", "4a31ba5817a4ceee"],
    )
