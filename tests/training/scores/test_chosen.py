"""The same images are chosen for ever, whatever memory there is."""

from __future__ import annotations

import numpy as np
import pytest

from training.scores import chosen
from training.scores.chosen import chosen_images

PROMISED = [66, 162, 185, 207, 318, 322, 431, 664, 670, 998]


def test_few_images_are_all_chosen() -> None:
    assert chosen_images(7, 10).tolist() == list(range(7))
    assert chosen_images(10, 10).tolist() == list(range(10))
    assert chosen_images(0, 10).tolist() == []


def test_the_choice_is_fixed_in_order_and_without_repetition() -> None:
    indices = chosen_images(1000, 10)
    assert indices.tolist() == sorted(set(indices.tolist())) and len(indices) == 10
    assert indices.tolist() == PROMISED
    assert chosen_images(1000, 10, seed=1).tolist() != indices.tolist()


def test_it_is_the_smallest_words_however_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.Philox(key=3).random_raw(5000)
    expected = np.sort(np.argsort(words, kind="stable")[:77]).tolist()
    for block in (1 << 20, 4999, 100):
        monkeypatch.setattr(chosen, "BLOCK", block)
        assert chosen_images(5000, 77, seed=3).tolist() == expected
