"""The shards of a score job: safetensors files."""

from __future__ import annotations

from service.jobs.formats.layout import Layout


class TensorLayout(Layout):
    """Shards `shards/000000.safetensors`."""

    __slots__ = ()
    encoder = ""
    suffix = "safetensors"
