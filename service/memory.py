"""Memory of a process that answers calls: that of messages is kept, and garbage is looked for where it can be.

glibc maps a block of 128 KiB or more anew and unmaps it when it is freed, so every answer's pages are zeroed by the
kernel first. An answer of 64 raw images of 64 x 64 in colour cost the API 0.9 ms of CPU so, and 0.15 ms with the pages
kept. Python's search for cycles goes through all objects now and then: 45 ms for those that an API has loaded (AMD
EPYC).
"""

from __future__ import annotations

import ctypes
import gc

MAX_HEAP_BLOCK = 32 << 20  # bytes; larger blocks are still mapped; the most that every glibc takes
KEPT_BYTES = 128 << 20  # of freed memory at the end of the heap
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(MAX_HEAP_BLOCK), "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES)}
ALLOCATIONS = 10_000  # of objects that are still there, between two searches for cycles among the newest
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep() -> None:
    """Have this process keep the memory of large blocks; nothing happens where the C library is not glibc.

    `ENVIRONMENT` says the same to a process that is started with it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAX_HEAP_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def settle() -> None:
    """Leave all objects that this process has by now out of the search for cycles, and search less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
