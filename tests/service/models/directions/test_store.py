"""Saved directions: one file each, of one archive, in whatever process."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import AlreadyExists, NotFound, ResourceExhausted
from service.models.directions import store
from service.models.directions.store import Direction, SavedDirections
from tests.support.formula import GENERATOR, record_of

DIGITS = record_of(replace(GENERATOR, latent_size=3), "digits", digest="a" * 64)
OTHER = replace(DIGITS, digest="b" * 64)
TURN = Direction((0.1, -2.5, 1e-300), "four against four", accuracy=0.9, name="turn")


def test_a_saved_direction_is_read_to_the_bit_in_another_process_and_belongs_to_one_archive(tmp_path: Path) -> None:
    saved = SavedDirections(tmp_path).save(DIGITS, TURN, replace_existing=False)

    other = SavedDirections(tmp_path)
    assert other.find(DIGITS, "turn") == saved == replace(TURN, create_time=saved.create_time)
    assert saved.create_time > 0
    assert other.vectors(DIGITS, ["turn", "smile"]) == {"turn": [0.1, -2.5, 1e-300]}
    assert other.names(OTHER) == []
    with pytest.raises(NotFound, match="no direction turn"):
        other.find(OTHER, "turn")


def test_a_name_is_taken_by_other_values_alone_unless_it_is_replaced(tmp_path: Path) -> None:
    saved = SavedDirections(tmp_path)
    first = saved.save(DIGITS, TURN, replace_existing=False)
    assert saved.save(DIGITS, replace(TURN, description="again"), replace_existing=False) == first
    changed = replace(TURN, values=(1.0, 2.0, 3.0))
    with pytest.raises(AlreadyExists, match="has a direction turn already"):
        saved.save(DIGITS, changed, replace_existing=False)
    saved.save(DIGITS, changed, replace_existing=True)
    assert saved.find(DIGITS, "turn").values == (1.0, 2.0, 3.0)


def test_a_deleted_direction_is_gone(tmp_path: Path) -> None:
    saved = SavedDirections(tmp_path)
    saved.save(DIGITS, TURN, replace_existing=False)
    saved.delete(DIGITS, "turn")
    assert saved.names(DIGITS) == []
    with pytest.raises(NotFound):
        saved.delete(DIGITS, "turn")


@pytest.mark.parametrize("content", ["{", "", '{"values": [1, 2], "name": "bad"}', '{"values": [1, 2, "x"]}'])
def test_a_damaged_file_is_set_aside_and_the_others_stay(tmp_path: Path, content: str) -> None:
    saved = SavedDirections(tmp_path)
    saved.save(DIGITS, TURN, replace_existing=False)
    bad = tmp_path / "directions" / DIGITS.digest / "bad.json"
    bad.write_text(content, encoding="utf-8")

    assert sorted(saved.read(DIGITS, saved.names(DIGITS))) == ["turn"]
    assert not bad.exists() and bad.with_name("bad.json.damaged").read_text(encoding="utf-8") == content
    assert saved.names(DIGITS) == ["turn"]


def test_a_number_that_is_not_finite_is_damage(tmp_path: Path) -> None:
    saved = SavedDirections(tmp_path)
    saved.save(DIGITS, TURN, replace_existing=False)
    path = tmp_path / "directions" / DIGITS.digest / "turn.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "values": [1.0, float("inf"), 2.0]}))
    assert saved.read(DIGITS, ["turn"]) == {}


def test_their_number_is_bounded_even_if_many_are_saved_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_DIRECTIONS", 5)

    def save(number: int) -> bool:
        try:
            SavedDirections(tmp_path).save(DIGITS, replace(TURN, name=f"n{number}"), replace_existing=False)
        except ResourceExhausted:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(save, range(20))) == 5
    SavedDirections(tmp_path).save(OTHER, TURN, replace_existing=False)  # each archive has its own bound
