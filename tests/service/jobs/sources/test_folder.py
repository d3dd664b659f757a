"""Every kind of folder gives the same images with the same numbers, and nothing in it is believed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.jobs.plan import Plan
from service.jobs.shards.formats.scores import SourceStats
from service.jobs.sources import tars
from service.jobs.sources.folder import allowed_unreadable, open_folder
from service.jobs.sources.inputs import MAX_DEPTH, InputFolder, SourceError
from service.jobs.sources.listing import Listing, file_name, list_folder, read_names
from service.jobs.sources.source import Images
from service.jobs.storage.local_output import LocalOutput
from tests.support.image_folders import image_files, parquet_of, picture, png, tar_of
from tests.support.plans import sample_plan, score_plan

COUNT = 20


def tars_of(folder: Path) -> None:
    tar_of(folder / "a.tar", range(7))
    tar_of(folder / "sub/b.tar", range(7, COUNT), kind=tarfile.GNU_FORMAT, name="x" * 120 + "/{:05d}")


def posix_tar(folder: Path) -> None:
    tar_of(folder / "a.tar", range(COUNT), kind=tarfile.PAX_FORMAT, name="é" * 60 + "/{:05d}")


def parquets(folder: Path) -> None:
    parquet_of(folder / "train-00000-of-00002.parquet", range(11))
    parquet_of(folder / "train-00001-of-00002.parquet", range(11, COUNT), struct=False)


FOLDERS: list[Callable[[Path], Any]] = [lambda folder: image_files(folder, COUNT), tars_of, posix_tar, parquets]


@dataclasses.dataclass
class Noted:
    """A folder whose listing was noted."""

    inputs: InputFolder
    output: LocalOutput
    plan: Plan
    listing: Listing

    def read(self, span: range, pieces: int = 4) -> tuple[list[Images], SourceStats]:
        with open_folder(self.output, self.inputs, self.plan, span) as source:
            cuts = [range(start, min(start + pieces, span.stop)) for start in range(span.start, span.stop, pieces)]
            images = [source.read(cut) for cut in cuts]
            read = source.read_so_far()
        assert read is not None
        return images, read

    def pixels(self, span: range) -> np.ndarray:
        images, _ = self.read(span)
        assert all(each.readable.all() for each in images)
        return np.concatenate([each.pixels for each in images])


def noted(root: Path, folder: str = "set", **shape: int) -> Noted:
    inputs, output = InputFolder(root / "inputs", folder), LocalOutput(root / "outputs", "jobs/x")
    listing = list_folder(inputs)
    source = sample_plan(**{"height": 8, "width": 6, "channels": 3, **shape}, count=listing.images, shard_size=7)
    plan = score_plan(source, "")
    assert plan.scoring is not None
    scoring = dataclasses.replace(
        plan.scoring, source_job="", source_prefix="", source_folder=folder, source_listing=listing.digest
    )
    output.put(file_name(listing.digest), listing.data)
    return Noted(inputs, output, dataclasses.replace(plan, scoring=scoring), listing)


@pytest.mark.parametrize("make", FOLDERS)
def test_any_span_of_any_kind_of_folder_holds_its_images(
    tmp_path: Path, make: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tars, __import__("service.jobs.sources.folder", fromlist=["_"])):
        monkeypatch.setattr(module, "MARK_EVERY", 4)
    make(tmp_path / "inputs/set")
    found = noted(tmp_path)
    expected = np.stack([picture(index) for index in range(COUNT)])
    assert found.listing.images == COUNT
    for span in (range(COUNT), range(7), range(7, 14), range(14, COUNT), range(9, 10)):
        assert np.array_equal(found.pixels(span), expected[span.start : span.stop])
    files = [png(picture(index)) for index in range(7, 14)]
    digests = "".join(hashlib.sha256(data).hexdigest() + "\n" for data in files)
    assert found.read(range(7, 14))[1] == SourceStats(hashlib.sha256(digests.encode()).hexdigest(), 0)
    assert len(list(read_names(found.output, found.plan))) == COUNT


def test_names_say_where_an_image_came_from(tmp_path: Path) -> None:
    tars_of(tmp_path / "inputs/set")
    found = noted(tmp_path)
    names = list(read_names(found.output, found.plan))
    assert names[0] == "a.tar#0" and names[7] == "sub/b.tar#0" and names[-1] == "sub/b.tar#12"
    image_files(tmp_path / "inputs/other", 4)
    found = noted(tmp_path, "other")
    assert list(read_names(found.output, found.plan)) == ["0/000.png", "0/001.png", "1/002.png", "2/003.png"]


def test_images_of_other_sizes_and_modes_are_fitted_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "inputs/set"
    folder.mkdir(parents=True)
    wide = np.zeros((16, 40, 3), np.uint8)
    wide[:, 8:32] = 200  # the largest centred part of aspect 6 to 8
    (folder / "a.png").write_bytes(png(wide))
    (folder / "b.jpeg").write_bytes(png(np.full((8, 6, 1), 90, np.uint8), "JPEG"))
    (folder / "c.webp").write_bytes(png(np.full((8, 6, 3), 90, np.uint8), "WEBP", lossless=True))
    Image.new("RGBA", (6, 8), (0, 0, 0, 0)).save(folder / "d.PNG")
    found = noted(tmp_path)
    [images], read = found.read(range(4))
    assert read.resized == 1
    assert (images.pixels[0] == 200).all()
    assert (images.pixels[1] == 90).all() and (images.pixels[2] == 90).all() and (images.pixels[3] == 255).all()
    grey = noted(tmp_path, channels=1)
    assert grey.pixels(range(4)).shape == (4, 8, 6, 1)


def test_links_dotfiles_and_other_files_are_passed_over(tmp_path: Path) -> None:
    folder, outside = tmp_path / "inputs/set", tmp_path / "secret"
    image_files(folder, 4)
    image_files(outside, 4)
    (folder / "link.png").symlink_to(outside / "0/000.png")
    (folder / "linked").symlink_to(outside)
    (folder / ".hidden").mkdir()
    (folder / ".hidden/x.png").write_bytes(b"x")
    (folder / ".x.png").write_bytes(b"x")
    (folder / "readme.txt").write_text("x")
    os.mkfifo(folder / "pipe.png")
    listing = list_folder(InputFolder(tmp_path / "inputs", "set"))
    assert listing.images == 4
    assert {(each.reason, each.count, each.first) for each in listing.passed_over} == {
        ("symbolic links", 2, ("linked", "link.png")),
        ("hidden files and folders", 2, (".hidden/", ".x.png")),
        ("files that are no images", 1, ("readme.txt",)),
        ("pipes, sockets and devices", 1, ("pipe.png",)),
    }


def test_content_decides_which_files_without_the_ending_of_an_image_are_scored(tmp_path: Path) -> None:
    image_files(tmp_path / "set", 1)
    for name in ("noending", "photo.dat", "photo.JPEG", "notes.txt"):
        (tmp_path / "set" / name).write_bytes(png(picture(7)))
    (tmp_path / "set/readme").write_text("no image")
    (tmp_path / "set/list.csv").write_text("a,b")
    (tmp_path / "set/damaged.png").write_text("no image")

    listing = list_folder(InputFolder(tmp_path, "set"))

    names = {json.loads(line).get("name") for line in listing.data.splitlines()[1:]}
    assert names == {"0/000.png", "noending", "photo.dat", "photo.JPEG", "damaged.png"}
    [passed_over] = listing.passed_over
    assert (passed_over.reason, passed_over.count) == ("files that are no images", 3)


def test_a_tar_without_images_is_passed_over(tmp_path: Path) -> None:
    tar_of(tmp_path / "set/a.tar", range(4))
    with tarfile.open(tmp_path / "set/empty.tar", "w"):
        pass
    listing = list_folder(InputFolder(tmp_path, "set"))
    assert listing.images == 4
    assert [(each.reason, each.first) for each in listing.passed_over] == [
        ("tars and Parquet files without an image", ("empty.tar",))
    ]


@pytest.mark.parametrize("folder", ["linked", "linked/0", "set/linked"])
def test_a_folder_behind_a_link_is_refused(tmp_path: Path, folder: str) -> None:
    image_files(tmp_path / "inputs/set", 1)
    image_files(tmp_path / "outside", 1)
    (tmp_path / "inputs/linked").symlink_to(tmp_path / "outside")
    (tmp_path / "inputs/set/linked").symlink_to(tmp_path / "outside")
    with pytest.raises(SourceError, match="symbolic link"):
        list_folder(InputFolder(tmp_path / "inputs", folder))


def test_folders_in_folders_are_listed_down_to_a_depth(tmp_path: Path) -> None:
    at = folder = tmp_path / "set"
    for _ in range(MAX_DEPTH):
        at = at / "d"
    at.mkdir(parents=True)
    (at / "a.png").write_bytes(png(picture(0)))
    assert list_folder(InputFolder(tmp_path, folder.name)).images == 1
    (at / "d").mkdir()
    with pytest.raises(SourceError, match="more than 64 deep"):
        list_folder(InputFolder(tmp_path, folder.name))


def test_a_file_that_became_a_link_is_refused(tmp_path: Path) -> None:
    image_files(tmp_path / "inputs/set", 4)
    found = noted(tmp_path)
    path = tmp_path / "inputs/set/0/001.png"
    path.rename(tmp_path / "moved.png")
    path.symlink_to(tmp_path / "moved.png")
    with pytest.raises(SourceError, match=r"0/001\.png cannot be opened"):
        found.read(range(4))


def test_a_file_that_is_gone_or_was_changed_is_named(tmp_path: Path) -> None:
    image_files(tmp_path / "inputs/set", 4)
    found, path = noted(tmp_path), tmp_path / "inputs/set/1/002.png"
    data = path.read_bytes()
    path.write_bytes(data + b"x")
    with pytest.raises(SourceError, match=r"set/1/002\.png was changed since"):
        found.read(range(4))
    path.write_bytes(data)  # another time of change
    with pytest.raises(SourceError, match=r"set/1/002\.png was changed since"):
        found.read(range(4))
    path.unlink()
    with pytest.raises(SourceError, match=r"set/1/002\.png is gone"):
        found.read(range(4))
    assert found.read(range(2))


def test_a_listing_that_was_changed_is_refused(tmp_path: Path) -> None:
    image_files(tmp_path / "inputs/set", 4)
    found = noted(tmp_path)
    path = tmp_path / "outputs/jobs/x" / file_name(found.listing.digest)
    path.write_bytes(path.read_bytes().replace(b"000.png", b"001.png"))
    with pytest.raises(SourceError, match="was changed"):
        found.read(range(4))
    path.unlink()
    with pytest.raises(SourceError, match="is missing"):
        found.read(range(4))


def test_a_few_images_may_be_unreadable_and_the_file_says_which(tmp_path: Path) -> None:
    image_files(tmp_path / "inputs/set", COUNT)
    for index, data in ((4, b""), (13, png(picture(13))[:60])):
        (tmp_path / f"inputs/set/{index * 3 // COUNT}/{index:03d}.png").write_bytes(data)
    found = noted(tmp_path)
    images, _ = found.read(range(COUNT), COUNT)
    assert np.flatnonzero(~images[0].readable).tolist() == [4, 13]
    assert not images[0].pixels[4].any()
    (tmp_path / "inputs/set/2/019.png").write_bytes(b"x")
    with pytest.raises(
        SourceError, match=r"2/019\.png is no PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file; of 20 images at most 2 may"
    ):
        noted(tmp_path).read(range(COUNT))


def test_how_many_may_be_unreadable() -> None:
    assert [allowed_unreadable(images) for images in (1, 9, 10, 49, 1000, 10_000, 10**8)] == [0, 0, 1, 4, 5, 10, 10_000]


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    image_files(tmp_path / "inputs/set", COUNT)
    file = io.BytesIO()
    Image.new("1", (6000, 6000)).save(file, "PNG")
    (tmp_path / "inputs/set/0/003.png").write_bytes(file.getvalue())
    images, _ = noted(tmp_path).read(range(COUNT), COUNT)
    assert np.flatnonzero(~images[0].readable).tolist() == [3]


def test_folders_that_cannot_be_scored_say_why(tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with pytest.raises(SourceError) as caught:
            list_folder(InputFolder(tmp_path, name))
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    assert "holds no PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file" in refused("empty")
    image_files(tmp_path / "mixed", 2)
    tar_of(tmp_path / "mixed/a.tar", range(2))
    assert "holds images (0/000.png) and tars (a.tar)" in refused("mixed")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/a.tar.gz").write_bytes(b"x")
    assert "a.tar.gz is compressed" in refused("packed") and "gunzip it" in refused("packed")
    (tmp_path / "text.parquet").mkdir()
    (tmp_path / "text.parquet/a.parquet").write_bytes(b"x" * 100)
    assert "cannot be read as Parquet" in refused("text.parquet")
    tar_of(tmp_path / "cut/a.tar", range(9))
    data = (tmp_path / "cut/a.tar").read_bytes()
    (tmp_path / "cut/a.tar").write_bytes(data[:3000])
    assert "a.tar" in refused("cut") and "cut, copy it again" in refused("cut")
    (tmp_path / "cut/a.tar").write_bytes(data[:1024] + b"\xff" + data[1025:])
    assert "no tar header" in refused("cut")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/a\nb.png").write_bytes(b"x")
    assert "rename the file" in refused("odd")
    with pytest.raises(FileNotFoundError):
        list_folder(InputFolder(tmp_path, "nosuch"))


def test_a_parquet_file_without_images_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"image": [1, 2]}), tmp_path / "set/a.parquet")
    with pytest.raises(SourceError, match="no column `image` of bytes"):
        list_folder(InputFolder(tmp_path, "set"))


def test_the_listing_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    image_files(tmp_path / "set", 5)
    inputs = InputFolder(tmp_path, "set")
    one = list_folder(inputs)
    lines = [json.loads(line) for line in one.data.splitlines()]
    assert lines[0] == {"layout": "images"} and lines[1]["name"] == "0/000.png"
    assert list_folder(inputs) == one
    os.utime(tmp_path / "set/0/000.png", ns=(1, 1))
    assert list_folder(inputs).digest != one.digest


def test_listing_can_be_stopped_at_every_file(tmp_path: Path) -> None:
    tar_of(tmp_path / "set/a.tar", range(50))
    seen = []

    def on_file() -> None:
        seen.append(1)
        if len(seen) == 20:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        list_folder(InputFolder(tmp_path, "set"), on_file=on_file)
