"""What the errors of a store mean to a caller that asked for a write."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from service.errors import NO_SPACE, FailedPrecondition, ResourceExhausted
from service.jobs.storage.output import OutputError

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
SPACE_RETRY_AFTER_S = 30.0  # an operator has to make room first


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the output folder into the service's errors.

    Raises:
        ResourceExhausted: NO_SPACE, if the disk is full.
        FailedPrecondition: OUTPUT_UNAVAILABLE, for anything else.
    """
    try:
        yield
    except OutputError as error:
        raise FailedPrecondition(str(error), reason="OUTPUT_UNAVAILABLE") from error
    except OSError as error:
        if error.errno in NO_SPACE:
            text = "the output folder's disk is full; make room and try again"
            raise ResourceExhausted(text, retry_after_s=SPACE_RETRY_AFTER_S, reason="NO_SPACE") from error
        raise FailedPrecondition(unwritable(error), reason="OUTPUT_UNAVAILABLE") from error


def unwritable(error: OSError) -> str:
    """What to tell of an error of the output folder's file system."""
    what = error.strerror or type(error).__name__
    if error.errno not in _REFUSED:
        return f"the output folder cannot be written: {what}"
    return (
        f"the output folder cannot be written: {what}; let the user of Mintage's processes write there, or set "
        f"MINTAGE_OUTPUT_DIR to another"
    )
