from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from service import memory

FAULTS = """
import resource, sys
from service import memory
if sys.argv[1] == "keep":
    memory.keep()
for _ in range(3):
    a, b, c = (bytearray(8 << 20) for _ in range(3)); del a, b, c
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    a, b, c = (bytearray(8 << 20) for _ in range(3)); del a, b, c
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 50 * 3 * (8 << 20) // os.sysconf("SC_PAGE_SIZE")  # that are touched


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_process_keeps_the_memory_of_large_messages() -> None:
    def faults(way: str, **environment: str) -> int:
        command = [sys.executable, "-c", FAULTS, way]
        found = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
        return int(found.stdout)

    assert faults("keep") < PAGES // 10
    assert faults("start", **memory.ENVIRONMENT) < PAGES // 10


SETTLED = """
import gc
from service import memory
loaded = [[] for _ in range(1000)]
memory.settle()
print(len(gc.get_objects()), gc.get_freeze_count(), gc.get_threshold()[0])
"""


def test_what_a_process_has_loaded_is_left_out_of_the_search_for_cycles() -> None:
    found = subprocess.run([sys.executable, "-c", SETTLED], check=True, capture_output=True, text=True)
    searched, left_out, threshold = map(int, found.stdout.split())
    assert searched < 100
    assert left_out > 1000
    assert threshold == memory.ALLOCATIONS
