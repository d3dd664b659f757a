from __future__ import annotations

import numpy as np
import pytest
from mintage.v1 import generation_pb2, neurons_pb2

from service.api.answers import serialized
from service.images import encode


@pytest.mark.parametrize("sizes", [[], [0], [1, 0, 127], [128, 300, 16_384, 70_000]])
def test_an_answer_written_at_once_is_the_one_that_protobuf_reads(sizes: list[int]) -> None:
    files = [bytes([number]) * size for number, size in enumerate(sizes)]
    around = generation_pb2.GenerateResponse(model="models/m", first_index=3, device_class="cpu")
    found = generation_pb2.GenerateResponse.FromString(serialized(around, images=files))
    around.images.extend(files)
    assert found == around


def test_raw_images_are_written_from_where_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    data = serialized(neurons_pb2.ReconstructResponse(), images=encode.RAW.encode(images))
    found = neurons_pb2.ReconstructResponse.FromString(data)
    assert list(found.images) == [image.tobytes() for image in images]
