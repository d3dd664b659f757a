"""The bits of every rewritten network, on one device class: they change with `NUMERICS` or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import torch

from handlers.compute.device import device_class
from handlers.compute.fast.arithmetic import NUMERICS, rewrite
from handlers.compute.precision import Precision
from tests.handlers.compute.fast.conftest import CLASSIFIERS, GENERATORS, images, inputs_of, stirred

TORCH = "2.13.0+cpu"
# Where the digest changes, so do answers: raise NUMERICS, so that archives are packed again, then store the new digest.
DIGESTS = {
    "cpu-authenticamd-avx512-bf16-float32": (2, "3eef37067a46c7dc02d30f2473d9801de0ea7658213d9ad98a4e2effc314f52f"),
    "cpu-authenticamd-avx512-bf16-bfloat16": (2, "1d21461aad7982a26fedc9745d76da5bc88c1517d974919ef9e07cff53a4aa3b"),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_answers_change_their_bits_only_with_the_version_of_the_arithmetic(precision: Precision) -> None:
    found = device_class(torch.device("cpu"), precision)
    if found not in DIGESTS or torch.__version__ != TORCH:
        pytest.skip(f"no digest is stored for {found} and torch {torch.__version__}")
    digest = hashlib.sha256()
    for name, build in GENERATORS.items():
        network = stirred(build)
        rewrite(network, precision)
        digest.update(network(*inputs_of(name)).numpy().tobytes())
    for build in CLASSIFIERS.values():
        network = stirred(build)
        rewrite(network, precision)
        for result in network.logits_and_features(images()):  # type: ignore[operator]
            digest.update(result.float().numpy().tobytes())
    assert (NUMERICS, digest.hexdigest()) == DIGESTS[found]
