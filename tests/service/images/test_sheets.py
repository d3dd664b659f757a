"""Sheets: every image is there, unblurred and in its place, captions stay within their tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.images.sheets import (
    Curve,
    Panel,
    Sheet,
    Tile,
    _caption_lines,
    _lines,
    _width,
    draw_sheet,
    enlargement,
    write_animation,
    write_sheet,
)
from service.look import CAPTION, HEADING, MARGIN, TITLE

RNG = np.random.default_rng(4)


def images(count: int, channels: int = 3) -> list[np.ndarray]:
    return list(RNG.integers(0, 256, (count, 12, 8, channels), dtype=np.uint8))


def sheet(*bands: list[Panel | Curve]) -> Sheet:
    return Sheet("Title", "what it shows", bands, "mintage explore walk digits '#1' '#2'")


def found(page: np.ndarray, image: np.ndarray, scale: int) -> list[tuple[int, int]]:
    """Where an image stands on a page."""
    enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = enlarged.shape[:2]
    corners = np.argwhere((page == enlarged[0, 0]).all(axis=-1))
    return [
        (int(top), int(left))
        for top, left in corners
        if np.array_equal(page[top : top + height, left : left + width], enlarged)
    ]


def test_images_stand_in_rows_enlarged_by_whole_numbers() -> None:
    drawn = images(5)
    page = np.asarray(draw_sheet(sheet([Panel("heading", [Tile(image, f"#{n}") for n, image in enumerate(drawn)], 3)])))
    scale = enlargement(drawn[0], 96)
    assert scale == 8
    places = [found(page, image, scale) for image in drawn]
    assert all(len(place) == 1 for place in places)
    tops = [place[0][0] for place in places]
    lefts = [place[0][1] for place in places]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4]
    assert lefts[:2] == lefts[3:] and lefts[0] < lefts[1] < lefts[2]


def test_panels_stand_side_by_side_and_one_may_be_larger() -> None:
    left, right = images(1)[0], images(1)[0]
    page = np.asarray(draw_sheet(sheet([Panel("", [Tile(left)], 1), Panel("", [Tile(right)], 1, scale=3)])))
    [(top, _)], [(other, _)] = found(page, left, 8), found(page, right, 24)
    assert top == other


def test_a_curve_ends_at_its_largest_value() -> None:
    band: list[Panel | Curve] = [Panel("", [Tile(images(1)[0])], 1)]
    pages = [np.asarray(draw_sheet(sheet(band, [Curve("how far", values)]))) for values in ([0.0, 1.0], [1.0, 0.0], [])]
    assert pages[0].shape == pages[1].shape == pages[2].shape
    assert not np.array_equal(pages[0], pages[1])


def test_an_empty_tile_keeps_its_place_and_grey_images_are_grey() -> None:
    grey = images(2, channels=1)
    tiles = [Tile(grey[0]), Tile(None), Tile(grey[1])]
    page = np.asarray(draw_sheet(sheet([Panel("", tiles, 3)])))
    [(_, first)], [(_, last)] = (found(page, image.repeat(3, axis=2), 8) for image in grey)
    assert last - first == 2 * (8 * 8 + 6)


@pytest.mark.parametrize("text", ["slerp(0#1, 0#2, 0.0625)", "x" * 300, "", "a b", "mean(0#1, 0#2) - " * 20])
def test_captions_stay_within_their_tiles(text: str) -> None:
    lines = _caption_lines(text, 96)
    assert len(lines) <= 2 and all(_width(line, CAPTION) <= 96 for line in lines)
    whole = _lines(text, CAPTION, 96)
    assert "".join("".join(whole).split()) == "".join(text.split())


def test_a_file_says_how_it_was_made_and_equal_sheets_are_equal_files(tmp_path: Path) -> None:
    page = sheet([Panel("", [Tile(images(1)[0])], 1)])
    for name in ("a.png", "b.png"):
        write_sheet(page, tmp_path / "new" / name)
    assert (tmp_path / "new/a.png").read_bytes() == (tmp_path / "new/b.png").read_bytes()
    with Image.open(tmp_path / "new/a.png") as picture:
        assert picture.info["Command"] == page.command


@pytest.mark.parametrize("name", ["a.webp", "a.apng"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_loses_nothing_and_never_ends(tmp_path: Path, name: str, channels: int) -> None:
    frames = np.stack(images(4, channels))
    write_animation(frames, tmp_path / name, fps=25, command="mintage")
    scale = enlargement(frames[0], 192)
    with Image.open(tmp_path / name) as moving:
        assert (getattr(moving, "n_frames", 1), moving.info["loop"]) == (4, 0)
        for number, frame in enumerate(frames):
            moving.seek(number)
            moving.load()
            assert moving.info["duration"] == 40
            shown = np.asarray(moving.convert("RGB"))[::scale, ::scale]
            assert np.array_equal(shown, np.broadcast_to(frame, shown.shape))


def test_hyphens_side_by_side_do_not_touch() -> None:
    tile = Tile(np.zeros((4, 4, 1), np.uint8))
    sheet = draw_sheet(Sheet("", "--", [[Panel("", [tile], 1)]], command=""))
    rows = np.asarray(sheet.convert("L"))
    top = MARGIN + TITLE + 8
    inked = (rows[top : top + HEADING + 5] < 200).any(axis=0)
    assert (np.diff(inked.astype(int)) == 1).sum() == 2
