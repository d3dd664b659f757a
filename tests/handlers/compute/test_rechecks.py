"""While a model is idle, a size that begins to give other bits is found and withdrawn, for other workers too."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
from torch import Tensor

from handlers.compute.batch_sizes import BatchSizes, fixed
from handlers.compute.model import Model
from handlers.compute.proofs import with_proven_sizes, withdraw
from handlers.compute.rechecks import Rechecks

SIZES = BatchSizes(8, (1, 4, 8, 16), free=True)


class Erring:
    """A network that errs in passes of one size, once told so."""

    def __init__(self) -> None:
        self.size = 0

    def __call__(self, rows: Tensor) -> Tensor:
        values = rows * 2
        if len(rows) == self.size:
            values[0, 0] += 1e-6
        return values


@pytest.fixture
def erring(monkeypatch: pytest.MonkeyPatch) -> Erring:
    network = Erring()
    monkeypatch.setattr("handlers.compute.rechecks.forward_of", lambda _: network)
    return network


@pytest.mark.parametrize("size", [1, 4, 16])
def test_a_size_that_begins_to_err_is_withdrawn_within_a_round(
    generator: Model, erring: Erring, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[BatchSizes] = []
    rechecks = Rechecks(dataclasses.replace(generator, sizes=SIZES), told.append)
    assert [rechecks.recheck() for _ in range(6)] == [SIZES] * 6 and not told
    erring.size = size
    with caplog.at_level(logging.ERROR, logger="mintage.handlers"):
        left = [rechecks.recheck() for _ in range(6)][-1]
    assert left.proven == tuple(known for known in SIZES.proven if known != size)
    assert told == [left]
    assert f"passes of {size} rows no longer give the bits of passes of 8" in caplog.text


def test_the_reference_size_alone_needs_no_look(generator: Model, erring: Erring) -> None:
    rechecks = Rechecks(dataclasses.replace(generator, sizes=fixed(8)), lambda _: pytest.fail("nothing to withdraw"))
    assert rechecks.recheck() == fixed(8)


def test_a_real_network_stands_every_look(generator: Model, classifier: Model, neurons: Model) -> None:
    for model in (generator, classifier, neurons):
        proven = with_proven_sizes(model, "a", None)
        rechecks = Rechecks(proven, lambda _: pytest.fail("a sound size was withdrawn"))
        for _ in range(2 * len(proven.sizes.proven)):
            assert rechecks.recheck() == proven.sizes


def test_a_withdrawn_size_is_not_proven_to_the_next_worker(generator: Model, tmp_path: Path) -> None:
    first = with_proven_sizes(generator, "a", tmp_path)
    if not first.sizes.free:
        pytest.skip("rows are not free on this machine: there is nothing to withdraw")
    *others, before_last, last = first.sizes.proven
    withdraw(generator, "a", tmp_path, dataclasses.replace(first.sizes, proven=(*others, before_last)))
    assert with_proven_sizes(generator, "a", tmp_path).sizes.proven == (*others, before_last)
    # Another worker, which knows nothing of that, withdraws another size.
    withdraw(generator, "a", tmp_path, dataclasses.replace(first.sizes, proven=(*others, last)))
    assert with_proven_sizes(generator, "a", tmp_path).sizes.proven == tuple(others)
