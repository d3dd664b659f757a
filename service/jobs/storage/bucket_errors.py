"""Translating an object store's errors: to FileNotFoundError, or to an error of the service that says what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

from service.errors import FailedPrecondition, Unavailable

RETRY_AFTER_S = 5.0  # advice: an outage lasts longer than a moment
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"status code: ([0-9]{3})")
_WRONG = re.compile(r"400|401|403|404|405|411|501")
_UNKNOWN_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_REDIRECT = "Received redirect"
_REASON = "OUTPUT_UNAVAILABLE"


@contextlib.contextmanager
def explained(bucket: str, name: str) -> Iterator[None]:
    """Turn the errors of a call about one object; what the server says is quoted by its code only.

    Raises:
        FileNotFoundError: if there is no such object.
        FailedPrecondition: if the bucket does not exist, or the keys, the region or the endpoint are wrong.
        Unavailable: if the store does not answer, or only with errors of its own; the outcome is unknown then.
    """
    try:
        yield
    except FileNotFoundError as error:
        if _code(error) == "NoSuchBucket":
            raise _no_bucket(bucket) from None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise _refused(bucket, error) from None
    except BaseError as error:
        if _code(error) == "NoSuchBucket":
            raise _no_bucket(bucket) from None
        if _code(error) in _UNKNOWN_KEYS:
            raise _refused(bucket, error) from None
        if _WRONG.fullmatch(_status(error)) or _REDIRECT in str(error):
            text = (
                f"the object store does not take requests for the bucket {bucket} ({_said(error)}); check "
                f"MINTAGE_OUTPUT_DIR, MINTAGE_S3_ENDPOINT and MINTAGE_S3_REGION"
            )
            raise FailedPrecondition(text, reason=_REASON) from None
        text = f"the object store does not answer for the bucket {bucket} ({_said(error)})"
        if not _status(error):
            text += "; check MINTAGE_S3_ENDPOINT, and whether this machine reaches it"
        raise Unavailable(text, retry_after_s=RETRY_AFTER_S, reason="STORE_UNAVAILABLE") from None


def is_conflict(error: AlreadyExistsError) -> bool:
    """Whether a put met another one in progress: the object may or may not be there yet."""
    return _status(error) == "409"


def conflict(bucket: str) -> Unavailable:
    """Return the error for a put that met others for too long."""
    return Unavailable(
        f"the object store is busy with the same object in the bucket {bucket}",
        retry_after_s=RETRY_AFTER_S,
        reason="STORE_UNAVAILABLE",
    )


def kept_in_part(bucket: str) -> Unavailable:
    """Return the error for a store that answers a put with success and keeps less than it was sent, again and again."""
    return Unavailable(
        f"the object store keeps only part of what is put into the bucket {bucket}, though it says that it has all",
        retry_after_s=RETRY_AFTER_S,
        reason="STORE_UNAVAILABLE",
    )


def _refused(bucket: str, error: Exception) -> FailedPrecondition:
    """Tell keys that the store does not know from keys that may not do what was asked."""
    if _code(error) in _UNKNOWN_KEYS or _status(error) == "401":
        text = (
            f"the object store does not accept the credentials ({_said(error)}); check MINTAGE_S3_ACCESS_KEY_ID and "
            f"MINTAGE_S3_SECRET_ACCESS_KEY, or those that AWS's own tools find"
        )
    else:
        text = (
            f"the object store refuses access to the bucket {bucket} ({_said(error)}); whoever manages it must allow "
            f"these credentials (MINTAGE_S3_ACCESS_KEY_ID) to list it, and to get, put and delete objects"
        )
    return FailedPrecondition(text, reason=_REASON)


def _no_bucket(bucket: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the object store has no bucket {bucket}; create it, or set MINTAGE_OUTPUT_DIR to another", reason=_REASON
    )


def _code(error: Exception) -> str:
    match = _CODE.search(str(error))
    return match[1] if match else ""


def _status(error: Exception) -> str:
    match = _STATUS.search(str(error))
    return match[1] if match else ""


def _said(error: Exception) -> str:
    """The part that may be shown: a code or a status. The text has addresses, and perhaps parts of a signature."""
    status = _status(error)
    if _REDIRECT in str(error):
        return "it is somewhere else"
    return _code(error) or (f"status {status}" if status else "no connection")
