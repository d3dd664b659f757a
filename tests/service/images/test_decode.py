"""Image files: whatever a stranger sends is an image of the right size or a violation that names it."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.api.requests.encodings import ENCODINGS
from service.errors import InvalidArgument
from service.images import encode
from service.images.decode import decode as decode_all
from tests.support.liars import png_that_says

HEIGHT, WIDTH = 8, 6


def decode(*files: bytes, channels: int = 1) -> np.ndarray[Any, Any]:
    return decode_all(files, height=HEIGHT, width=WIDTH, channels=channels, max_pixels=4_000_000, field="encoded.files")


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def grey(level: int = 100) -> Image.Image:
    return Image.new("L", (WIDTH, HEIGHT), level)


def webp_that_says(width: int, height: int) -> bytes:
    """An animated WebP file whose canvas is large and whose frame is small."""
    frame = encoded(Image.new("RGB", (4, 4)), "WEBP", lossless=True)[12:]
    frame = bytes(6) + (3).to_bytes(3, "little") * 2 + (1).to_bytes(3, "little") + b"\0" + frame
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + canvas + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    body += b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def bmp_that_says(width: int, height: int) -> bytes:
    return (
        b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)
    )


def png_of_text(size: int) -> bytes:
    """A PNG file with so many bytes of text, packed, a megabyte in a block."""
    file = encoded(grey())
    packed = b"zTXt" + b"k\0\0" + zlib.compress(bytes(2**20))
    block = struct.pack(">I", len(packed) - 4) + packed + struct.pack(">I", zlib.crc32(packed))
    return file[:33] + block * (size // 2**20) + file[33:]


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG file whose last scan is repeated."""
    file = encoded(grey(), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:-2] + file[last:-2] * (scans - file.count(b"\xff\xda")) + file[-2:]


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "text": (b"hello, I am a picture", "is no PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 8\n", "is no PNG"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no PNG"),
    "avif": (b"\0\0\0\x1cftypavif" + bytes(16), "is no PNG"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "is no PNG"),
    "truncated": (encoded(Image.linear_gradient("L").resize((WIDTH, HEIGHT)))[:-30], "damaged or incomplete"),
    "png bomb": (png_that_says(30_000, 30_000), "more than 4,000,000"),
    "png of 100 million pixels": (png_that_says(10_000, 10_000), "more than 4,000,000"),
    "png of 25 million pixels": (png_that_says(5_000, 5_000), "5,000 x 5,000 pixels, more than 4,000,000"),
    "thin png": (png_that_says(1, 100_000), "is 1 x 100,000 pixels, not 6 x 8"),
    "webp bomb": (webp_that_says(16_383, 16_383), "more than 4,000,000"),
    "bmp bomb": (bmp_that_says(30_000, 30_000), "more than 4,000,000"),
    "jpeg of many scans": (jpeg_of_scans(200_000), "has 200,000 scans, more than 100"),
    "png of much text": (png_of_text(400 * 2**20), "holds over 4,194,304 bytes of text"),
    "header without pixels": (png_that_says(WIDTH, HEIGHT), "damaged or incomplete"),
    "wrong size": (encoded(Image.new("L", (28, 28))), "is 28 x 28 pixels, not 6 x 8"),
    "turned": (encoded(Image.new("L", (HEIGHT, WIDTH))), "is 8 x 6 pixels, not 6 x 8"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_and_costs_nothing(kind: str) -> None:
    file, expected = BAD[kind]
    start = time.process_time()
    with pytest.raises(InvalidArgument) as error:
        decode(encoded(grey()), file)
    assert [violation.field for violation in error.value.violations] == ["encoded.files[1]"]
    assert expected in error.value.message
    assert time.process_time() - start < 1


def test_a_png_file_may_say_a_lot() -> None:
    assert decode(png_of_text(3 * 2**20)).shape == (1, HEIGHT, WIDTH, 1)


def test_a_jpeg_file_may_have_as_many_scans_as_the_bound() -> None:
    assert decode(jpeg_of_scans(100)).shape == (1, HEIGHT, WIDTH, 1)


def test_every_bad_file_is_named_at_once() -> None:
    with pytest.raises(InvalidArgument) as error:
        decode(b"", encoded(grey()), b"text", encoded(grey())[:50])
    assert [v.field for v in error.value.violations] == ["encoded.files[0]", "encoded.files[2]", "encoded.files[3]"]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "GIF", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_format_gives_its_pixels(form: str, channels: int) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    found = decode(encoded(grey(100), form, **options), channels=channels)
    assert found.shape == (1, HEIGHT, WIDTH, channels)
    assert np.abs(found.astype(int) - 100).max() <= 1


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((HEIGHT, WIDTH), 100 * 257, np.uint16))


def half_transparent_palette() -> bytes:
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    return encoded(image, transparency=1)


MODES: dict[str, tuple[Callable[[], bytes], list[int]]] = {
    "bits": (lambda: encoded(Image.new("1", (WIDTH, HEIGHT), 1)), [255, 255, 255]),
    "16-bit grey": (lambda: encoded(sixteen_bit()), [100, 100, 100]),
    "palette": (lambda: encoded(Image.new("RGB", (WIDTH, HEIGHT), (200, 0, 0)).quantize(4)), [200, 0, 0]),
    "transparent palette": (half_transparent_palette, [255, 255, 255]),
    "grey with alpha": (lambda: encoded(Image.new("LA", (WIDTH, HEIGHT), (100, 255))), [100, 100, 100]),
    "transparent": (lambda: encoded(Image.new("RGBA", (WIDTH, HEIGHT), (9, 9, 9, 0))), [255, 255, 255]),
    "half transparent": (lambda: encoded(Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 51))), [204, 204, 204]),
    "cmyk": (lambda: encoded(Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)), "JPEG"), [255, 0, 0]),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_is_converted_to_the_models_channels(mode: str) -> None:
    make, expected = MODES[mode]
    found = decode(make(), channels=3)[0].astype(int)
    assert np.abs(found - expected).max() <= 2
    assert decode(make(), channels=1).shape == (1, HEIGHT, WIDTH, 1)


def test_a_photograph_is_turned_upright_before_its_size_is_checked() -> None:
    lying = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(WIDTH, HEIGHT))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned by a quarter, clockwise
    found = decode(encoded(lying, "PNG", exif=exif))
    assert (found[0, :, :, 0] == np.rot90(np.asarray(lying), -1)).all()


def test_an_animation_gives_its_first_frame() -> None:
    first, second = grey(10), grey(200)
    assert (decode(encoded(first, "GIF", save_all=True, append_images=[second])) == 10).all()
    assert (decode(encoded(first, "PNG", save_all=True, append_images=[second])) == 10).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_png_gives_back_the_pixels_and_always_the_same_bytes(channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, channels), np.uint8)
    files = [bytes(file) for file in encode.PNG.encode(noise)]
    assert files == encode.PNG.encode(noise)
    assert (decode(*files, channels=channels) == noise).all()
    assert [np.frombuffer(raw, np.uint8).tolist() for raw in encode.RAW.encode(noise)] == noise.reshape(3, -1).tolist()


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 6, 3), (200, 300, 3), (1, 3000, 1)])
def test_the_bound_of_an_images_bytes_holds_for_noise(shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
    for form in ENCODINGS.values():
        assert len(form.encode(noise)[0]) <= form.max_bytes(*shape)
