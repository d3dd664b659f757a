"""Points whose numbers are the same with every version of NumPy, made from raw random words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def uniform_points(key: int, count: int, features: int = 8) -> NDArray[np.float64]:
    """Return points [count, features], uniform in [0, 1)."""
    words = np.random.Philox(key=key).random_raw(count * features).reshape(count, features)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def reference_pair() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the real and the generated points [300, 8] that other libraries' values are pinned for."""
    return uniform_points(1, 300), uniform_points(2, 300) ** 2.0 + 0.25
