"""How a range of images, or latents, is cut into calls of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from service.models.records import ModelRecord

# Most images and bytes of one call to a model: what it made is encoded while the next call's images are computed.
CALL_IMAGES = 256
CALL_PARTS = 2048  # of the formulas of one call, unless a single one has more: a moment's work
CALL_BYTES = 4 * 2**20


def spans(record: ModelRecord, first_index: int, count: int, *, answer_bytes: int = 0) -> Iterator[tuple[int, int]]:
    """Cut a range of images into calls (first index, count).

    Where a row's bits depend on its neighbours, cuts lie between micro-batches, so none is computed twice, unless a
    single one is too large for a call. answer_bytes is the size of the answer per image, if that is larger than the
    image.
    """
    image_bytes = max(answer_bytes, record.height * record.width * record.channels)
    limit = _call_images(image_bytes)
    step = limit if record.batch_sizes else limit - limit % record.micro_batch or limit
    start, end = first_index, first_index + count
    while start < end:
        stop = min(end, start + step if record.batch_sizes else (start // step + 1) * step)
        yield start, stop - start
        start = stop


def latent_spans(record: ModelRecord, part_counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut latents into calls from one position to another, by their images and the parts of their formulas."""
    limit = _call_images(record.height * record.width * record.channels)
    start, parts = 0, 0
    for index, own in enumerate(part_counts):
        if index > start and (index - start == limit or parts + own > CALL_PARTS):
            yield start, index
            start, parts = index, 0
        parts += own
    yield start, len(part_counts)


def _call_images(image_bytes: int) -> int:
    return max(1, min(CALL_IMAGES, CALL_BYTES // image_bytes))
