"""What the environment of a process says from its start, before torch multiplies in it.

Intel's MKL picks its float32 kernels by the sizes and the place in memory of what it multiplies, unless it is told to
be strict. It reads that once, at its first product: a process that has multiplied keeps its bits, whatever is set
later. So whoever starts a process that computes answers sets this, and a handler whose process lacks it refuses to
serve.
"""

from __future__ import annotations

import os

from handlers.errors import ModelError

ENVIRONMENT = {"MKL_CBWR": "AUTO,STRICT"}  # a row's bits are those of the processor's best kernels, in any batch


def prepare() -> None:
    """Set the environment of this process, which has multiplied nothing yet."""
    os.environ.update(ENVIRONMENT)


def check() -> None:
    """Make sure that this process was started with it.

    Raises:
        ModelError: if it was not.
    """
    for name, value in ENVIRONMENT.items():
        if os.environ.get(name) != value:
            raise ModelError(
                f"the model server must be started with {name}={value}, which decides bits; "
                "`mintage serve torchserve` does so"
            )
