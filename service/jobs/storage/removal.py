"""Removing folders in which the thread of an abandoned attempt may still be writing."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil

REMOVE_TRIES = 10  # each abandoned writer adds one file at most, and there are never ten of them in a folder
_DEAD = "dead."


def discard(folder: int, name: str) -> None:
    """Remove a temporary file, or a folder with all in it, if it is still there.

    A folder is renamed first, in one step: an attempt that is not quite dead publishes it whole or not at all.
    """
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        dead = f"{_DEAD}{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, dead, src_dir_fd=folder, dst_dir_fd=folder)
            remove_tree(dead, folder)


def remove_tree(name: str, folder: int) -> None:
    """Remove a folder with all in it, following no symbolic link, also while a late writer adds a file.

    Raises:
        FileNotFoundError: if the folder, or a file in it, is removed by another at the same time.
        OSError: if something cannot be removed.
    """
    for tries_left in reversed(range(REMOVE_TRIES)):
        try:
            return shutil.rmtree(name, dir_fd=folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not tries_left:
                raise
