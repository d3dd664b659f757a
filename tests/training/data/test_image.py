"""One image: every mode, hostile files, cropping and resizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.files import encoded, huge_png, pixels, saved
from training.data.image import DamagedImageError, decoded
from training.data.splits import ImageFile

COLOUR = pixels(1, channels=3)[0]
GREY = pixels(1)[0]


def taken(data: bytes | Path, *, size: tuple[int, int] | None = None, channels: int | None = None) -> np.ndarray:
    return decoded(ImageFile("it", data), size=size, channels=channels).pixels


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_files_give_back_their_pixels(kind: str) -> None:
    assert np.array_equal(taken(encoded(COLOUR, kind, lossless=True)), COLOUR)


def test_grey_stays_grey_unless_colour_is_asked_for() -> None:
    assert np.array_equal(taken(encoded(GREY)), GREY)
    assert np.array_equal(taken(encoded(GREY), channels=3), GREY.repeat(3, axis=2))


def test_colour_becomes_grey_by_its_luma() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255

    assert taken(encoded(red), channels=1).tolist() == [[[76], [76]], [[76], [76]]]  # 0.299 * 255


def test_what_is_transparent_lies_on_white() -> None:
    clear = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    clear.putpixel((1, 0), (10, 20, 30, 255))

    assert taken(saved(clear)).tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_a_palette_with_a_clear_colour_lies_on_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 8, 7, 1, 2, 3])
    palette.putpixel((1, 0), 1)

    assert taken(saved(palette, transparency=0)).tolist() == [[[255, 255, 255], [1, 2, 3]]]


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))

    assert taken(saved(deep)).tolist() == [[[0], [1], [128], [255]]]


@pytest.mark.parametrize(("mode", "shape"), [("1", (3, 2, 1)), ("L", (3, 2, 1)), ("LA", (3, 2, 1)), ("P", (3, 2, 3))])
def test_other_modes_become_grey_or_colour(mode: str, shape: tuple[int, int, int]) -> None:
    assert taken(saved(Image.new(mode, (2, 3)))).shape == shape


def test_the_colours_of_printers_become_red_green_and_blue() -> None:
    assert taken(saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")).min() >= 254


def test_a_photograph_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter

    assert taken(saved(Image.new("L", (8, 16)), "JPEG", exif=exif)).shape == (8, 16, 1)


def test_the_middle_is_kept_when_the_aspect_changes() -> None:
    wide = np.zeros((4, 12, 1), np.uint8)
    wide[:, 4:8] = 200

    assert taken(encoded(wide), size=(4, 4)).min() == 200
    assert taken(encoded(wide), size=(2, 2)).shape == (2, 2, 1)


def test_smaller_images_do_not_alias() -> None:
    stripes = np.zeros((32, 32, 1), np.uint8)
    stripes[:, ::2] = 255  # every second column: any filter that skips columns gives black or white

    assert np.allclose(taken(encoded(stripes), size=(8, 8)), 127.5, atol=12)


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (64, 64)])
def test_a_line_of_pixels_fits_any_size(size: tuple[int, int]) -> None:
    assert taken(encoded(pixels(1, height=1, width=3000)[0]), size=size).shape == (*size, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no image at all", "is not a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image"),
        (b"GIF89a" + bytes(40), "is not a PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a PNG"),
        (encoded(GREY)[:50], "cannot be decoded"),
        (encoded(pixels(1, height=40, width=40, channels=3)[0], "JPEG")[:700], "cannot be decoded"),
        (huge_png(2000, 2000), "is 2000x2000; at most 1048576 pixels are read, or more with a smaller size"),
        (huge_png(12_000, 12_000), "claims far more pixels"),
        (huge_png(30_000, 30_000), "claims far more pixels"),
        (huge_png(2**31 - 1, 2**31 - 1), "claims far more pixels"),
    ],
)
def test_a_file_that_is_no_fit_image_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DamagedImageError, match=message):
        taken(content)


def test_a_bomb_is_refused_when_it_is_to_be_resized_too() -> None:
    with pytest.raises(DamagedImageError, match=r"is 6000x6000; at most 25000000 pixels are read$"):
        taken(huge_png(6000, 6000), size=(8, 8))


def test_a_larger_photograph_is_read_if_it_is_resized() -> None:
    assert taken(saved(Image.new("L", (1500, 1000), 7), "JPEG"), size=(4, 6)).shape == (4, 6, 1)


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(DamagedImageError, match="is not a file"):
        taken(Path("/dev/zero"))
    with pytest.raises(DamagedImageError, match="is not a file"):
        taken(tmp_path)


def test_a_file_of_far_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(DamagedImageError, match="holds 1099511627776 bytes"):
        taken(tmp_path / "1.png")
