from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from service.jobs.storage.tree import Tree


class RefusedError(Exception):
    """What these trees raise."""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/file").write_bytes(b"inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"secret")
    return Tree(tmp_path / "root", "the test folder", RefusedError)


def read(tree: Tree, path: str) -> bytes:
    *folders, last = path.split("/")
    with tree.folder(*folders) as folder, tree.file(folder, last) as file:
        return file.read()


def test_a_plain_path_is_read(tree: Tree) -> None:
    assert read(tree, "a/b/file") == b"inside"


def test_folders_are_made_only_where_that_is_asked_for(tree: Tree) -> None:
    with pytest.raises(FileNotFoundError), tree.folder("a", "new"):
        pass
    with tree.folder("a", "new", "deep", create=True):
        assert (tree.root / "a/new/deep").is_dir()


@pytest.mark.parametrize(
    "path",
    ["../outside/file", "a/../../outside/file", "a/./b/file", "a//b/file", "..", ".", "", "a/b/..", "a/b/fi\0le"],
)
def test_names_that_leave_their_folder_are_refused(tree: Tree, path: str) -> None:
    with pytest.raises(RefusedError, match="is not the name of a file or folder in the test folder"):
        read(tree, path)


def test_an_absolute_name_is_refused(tree: Tree, tmp_path: Path) -> None:
    secret = str(tmp_path / "outside/file")
    with pytest.raises(RefusedError), tree.folder() as root, tree.file(root, secret):
        pass
    with pytest.raises(RefusedError), tree.folder(str(tmp_path / "outside")):
        pass
    with pytest.raises(RefusedError), tree.folder("a/b"):
        pass


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("target", ["../outside", "/", ".", "nowhere"])
def test_a_folder_that_is_a_link_is_refused_wherever_it_leads(tree: Tree, target: str, create: bool) -> None:
    (tree.root / "link").symlink_to(target)
    for path in (("link",), ("link", "new")):
        refused = pytest.raises(RefusedError, match="link in the test folder is a symbolic link")
        with refused, tree.folder(*path, create=create):
            pass


def test_a_file_that_is_a_link_is_refused_even_within_the_root(tree: Tree) -> None:
    (tree.root / "a/b/link").symlink_to("file")
    with pytest.raises(RefusedError, match="symbolic link"):
        read(tree, "a/b/link")


def test_a_link_to_the_root_itself_is_followed(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tree.root)
    assert read(Tree(tmp_path / "alias", "the test folder", RefusedError), "a/b/file") == b"inside"


def test_what_is_no_plain_file_is_refused_without_waiting(tree: Tree) -> None:
    os.mkfifo(tree.root / "a/b/pipe")
    for path in ("a/b/pipe", "a/b", "a/b/file/x"):
        with pytest.raises(RefusedError, match="no plain file or folder"):
            read(tree, path)


def test_no_descriptor_stays_open(tree: Tree) -> None:
    (tree.root / "link").symlink_to("../outside")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - counted only
    read(tree, "a/b/file")
    for path in ("link/file", "a/b/none", "a/none/file", "a/../x"):
        with pytest.raises((RefusedError, FileNotFoundError)):
            read(tree, path)
    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208 - counted only


def test_a_folder_that_is_swapped_for_a_link_never_leads_out(tree: Tree) -> None:
    """One thread swaps a folder and a link to the outside under one name, as fast as it can; another reads."""
    (tree.root / "link").symlink_to("../outside")
    stop, swaps = threading.Event(), 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            (tree.root / "a").rename(tree.root / "kept")
            (tree.root / "link").rename(tree.root / "a")
            (tree.root / "a").rename(tree.root / "link")
            (tree.root / "kept").rename(tree.root / "a")
            swaps += 1

    (tree.root / "a/file").write_bytes(b"inside")
    thread = threading.Thread(target=swap)
    thread.start()
    outcomes: list[bytes] = []
    try:
        while len(outcomes) < 2000 or swaps < 100:
            try:
                outcomes.append(read(tree, "a/file"))
            except (RefusedError, FileNotFoundError) as error:
                outcomes.append(type(error).__name__.encode())
    finally:
        stop.set()
        thread.join()
    assert b"secret" not in outcomes and b"inside" in outcomes
