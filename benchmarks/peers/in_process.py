"""The network called in a loop, without any server: what all others are compared with.

Reads orders from stdin, a line each: images per pass, seconds of warm-up, seconds that count. Answers with a line of
JSON: the seconds that each counted pass took, to raw pixels.
"""

from __future__ import annotations

import itertools
import json
import sys
import time

from benchmarks.peers.network import Module


def main() -> None:
    """Load the network, say so, and obey."""
    module = Module.from_environment()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        images, warm_up_s, seconds = line.split()
        print(json.dumps(measured(module, int(images), float(warm_up_s), float(seconds))), flush=True)


def measured(module: Module, images: int, warm_up_s: float, seconds: float) -> list[float]:
    """Call the network for a while and return how long each call took, in seconds."""
    found: list[float] = []
    first = time.perf_counter() + warm_up_s
    for number in itertools.count():
        before = time.perf_counter()
        if before > first + seconds:
            break
        module.images([(1, number * images, images)])
        if before >= first:
            found.append(time.perf_counter() - before)
    return found


if __name__ == "__main__":
    main()
