"""Trying whether jobs can be written: a small file is put, read and deleted, in a folder that no job can have."""

from __future__ import annotations

import contextlib
import secrets

from service.errors import FailedPrecondition, MintageError
from service.jobs.storage.failures import translated
from service.jobs.storage.store import Store

FOLDER = f".trial-{secrets.token_hex(8)}"  # one per process: a store that deletes nothing collects few
_FILE, _CONTENT = "trial", b"Mintage tries whether it may write here. This file may be deleted.\n"


def try_out(store: Store) -> None:
    """Put, read and delete a small file.

    Raises:
        FailedPrecondition: OUTPUT_UNAVAILABLE, if one of them is refused; the message says what to do.
        ResourceExhausted: NO_SPACE, if the disk is full.
        Unavailable: if an object store does not answer.
    """
    output = store.output(FOLDER)
    with translated():
        try:
            output.put(_FILE, _CONTENT)
            if output.read(_FILE) != _CONTENT:
                text = "what is written to the output folder reads back otherwise"
                raise FailedPrecondition(text, reason="OUTPUT_UNAVAILABLE")
        except (OSError, MintageError):
            with contextlib.suppress(OSError, MintageError):
                output.remove_folder()
            raise
        output.remove_folder()
