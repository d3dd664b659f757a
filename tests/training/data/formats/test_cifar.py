"""CIFAR's binary batches, in folders and in archives."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.files import pixels, tar
from training.data import has_split, load
from training.errors import DataError

IMAGES = pixels(12, height=32, width=32, channels=3)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FOLDER = "cifar-10-batches-bin"


def batch(start: int, count: int, *, coarse: bytes = b"", first_label: int = 0) -> bytes:
    """A batch of records, labelled by their place."""
    return b"".join(
        coarse + bytes([first_label + n]) + IMAGES[n].transpose(2, 0, 1).tobytes() for n in range(start, start + count)
    )


def cifar_10() -> dict[str, bytes]:
    files = {f"data_batch_{n}.bin": batch(2 * n - 2, 2, first_label=0 if n < 5 else 1) for n in range(1, 6)}
    return {**files, "test_batch.bin": batch(3, 2), "batches.meta.txt": ("\n".join(NAMES) + "\n\n").encode()}


def cifar_100() -> dict[str, bytes]:
    names = "\n".join(f"class_{n}" for n in range(100)).encode()
    return {
        "train.bin": batch(0, 3, coarse=b"\7", first_label=90),
        "test.bin": batch(0, 1, coarse=b"\7"),
        "fine_label_names.txt": names,
    }


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("inside", ["", FOLDER])
def test_batches_are_read_in_order_with_the_names_of_their_classes(tmp_path: Path, inside: str) -> None:
    files = cifar_10()
    files["data_batch_5.bin"] = batch(8, 2)
    unpacked(tmp_path / inside, files)

    train, test = load(tmp_path, "train"), load(tmp_path, "test")

    assert np.array_equal(train.images, IMAGES[:10])
    assert train.labels.tolist() == list(range(10))
    assert train.classes == tuple(NAMES)
    assert np.array_equal(test.images, IMAGES[3:5])
    assert has_split(tmp_path, "test")


def test_the_fine_labels_of_cifar_100_count(tmp_path: Path) -> None:
    data = load(unpacked(tmp_path / "cifar-100-binary", cifar_100()), "train", limit=2)

    assert data.labels.tolist() == [90, 91]
    assert data.classes[90] == "class_90"


@pytest.mark.parametrize(("folder", "files"), [(FOLDER, cifar_10()), ("cifar-100-binary", cifar_100())])
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, folder: str, files: dict[str, bytes]) -> None:
    files["data_batch_5.bin" if folder == FOLDER else "unused"] = batch(8, 2)
    members = {f"{folder}/{name}": content for name, content in sorted(files.items())}
    archive = tar(tmp_path / "cifar.tar.gz", members, mode="w:gz")

    for split in ("train", "test"):
        packed, loose = load(archive, split), load(unpacked(tmp_path / folder, files), split)
        assert packed.sha256() == loose.sha256()
        assert packed.classes == loose.classes


def test_without_names_classes_are_numbers(tmp_path: Path) -> None:
    files = cifar_10()
    del files["batches.meta.txt"]

    assert load(unpacked(tmp_path, files), "test").classes == tuple("0123456789")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_batch_3.bin": batch(0, 2)[:-1]}, r"data_batch_3\.bin holds 6145 bytes, no multiple of a record's 3073"),
        ({"data_batch_3.bin": b""}, r"data_batch_3\.bin holds 0 bytes"),
        ({"data_batch_3.bin": b"\xff" + bytes(3072)}, r"the label 255 lies outside 0\.\.9"),
        ({"batches.meta.txt": b"cat\ndog\n"}, r"batches\.meta\.txt names 2 classes, not 10"),
    ],
)
def test_a_damaged_batch_is_named(tmp_path: Path, change: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(unpacked(tmp_path, {**cifar_10(), **change}), "train")


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    unpacked(tmp_path, cifar_10())
    (tmp_path / "data_batch_2.bin").unlink()

    assert not has_split(tmp_path, "train")
    with pytest.raises(DataError, match=r"data_batch_2\.bin cannot be read"):
        load(tmp_path, "train")


def test_an_archive_without_a_batch_is_named(tmp_path: Path) -> None:
    members = {f"{FOLDER}/{name}": content for name, content in cifar_10().items() if name != "data_batch_4.bin"}

    with pytest.raises(DataError, match=r"holds no data_batch_4\.bin"):
        load(tar(tmp_path / "cifar.tar.gz", members, mode="w:gz"), "train")


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other\.tar\.gz holds no image; expected PNG, JPEG"):
        load(tar(tmp_path / "other.tar.gz", {"readme.txt": b""}, mode="w:gz"), "train")


def test_the_python_version_is_refused_by_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no train batches of one CIFAR set; expected cifar-10-batches-bin or"):
        load(tar(tmp_path / "a.tar.gz", {"cifar-10-batches-py/data_batch_1": b""}, mode="w:gz"), "train")


def test_the_unpacked_python_version_is_told_what_to_download(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"pickled")

    with pytest.raises(DataError, match="would have to be unpickled: download the binary version"):
        load(tmp_path, "train")


def test_an_archive_with_a_member_that_leads_out_of_it_is_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "cifar.tar.gz", {f"../{FOLDER}/test_batch.bin": batch(0, 1)}, mode="w:gz")

    with pytest.raises(DataError, match="is not a valid member name"):
        load(archive, "test")


def test_an_archive_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar.tgz").write_bytes(b"no archive")

    with pytest.raises(DataError, match=r"cifar\.tgz: it ends before its end mark"):
        load(tmp_path / "cifar.tgz", "train")


def test_a_batch_in_the_place_of_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)

    with pytest.raises(DataError, match="neither a file nor a folder"):
        load(path, "test")
