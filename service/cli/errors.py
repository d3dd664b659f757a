"""What goes wrong, in words for a person: which status an error ends with, and what it says."""

from __future__ import annotations

import difflib
import errno
import itertools
import re
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from service.cli import fields

if TYPE_CHECKING:
    from mintage.client import Client
    from pydantic import ValidationError
    from typer._click import Context

FAILED, BAD_INPUT = 1, 2
_BAD_PATHS = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EADDRINUSE)
_MOST_NAMES = 1_000  # jobs to compare a mistyped name with, the newest


def status_of(error: Exception) -> int | None:
    """Exit status of an error that a person can do something about; None for a programming error."""
    import mintage.errors

    import service.errors
    import training.errors

    if isinstance(error, mintage.errors.ClientError):
        bad = (mintage.errors.InputError, mintage.errors.InvalidRequest, mintage.errors.NotFound)
        return BAD_INPUT if isinstance(error, bad) else FAILED
    if isinstance(error, service.errors.MintageError):
        return BAD_INPUT if isinstance(error, service.errors.InvalidArgument | service.errors.NotFound) else FAILED
    if isinstance(error, training.errors.TrainingError):
        return FAILED if isinstance(error, training.errors.DivergedError) else BAD_INPUT
    if isinstance(error, OSError):
        return BAD_INPUT if error.errno in _BAD_PATHS else FAILED
    return BAD_INPUT if _is_wrong_setting(error) else None


def explained(error: Exception, connect: Callable[[], Client] | None = None, verb: Context | None = None) -> str:
    """What an error says, and what to do where the error itself cannot know.

    Args:
        error: one that has a status.
        connect: opens a client of the API that answered, to look for the name that a mistyped one may have meant.
        verb: what was typed, in whose words wrong fields are told.
    """
    from mintage.errors import InvalidRequest, NotFound, Unavailable

    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    if isinstance(error, Unavailable) and not error.reason:
        return f"no Mintage API answers; start one with `mintage up`, or say where it is with --api ({error})"
    if isinstance(error, InvalidRequest) and error.violations:
        return fields.told(error.violations, verb)
    if isinstance(error, NotFound) and connect is not None:
        return f"{error}{_suggested(error, connect)}"
    if _is_wrong_setting(error):
        return "; ".join(_wrong_setting(one["loc"], one["msg"]) for one in error.errors())
    return str(error)


def reason_of(error: Exception) -> str:
    """The stable UPPER_SNAKE_CASE name of an error of the API; empty for others."""
    reason = getattr(error, "reason", "")
    return reason if isinstance(reason, str) else ""


def bug(error: BaseException) -> str:
    """Keep the traceback of a programming error in a file, and say where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    with tempfile.NamedTemporaryFile("w", prefix="mintage-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.writelines(traceback.format_exception(error))
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"a mistake in the program: {what} ({Path(place.filename).name}:{place.lineno}); traceback in {file.name}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` where a known name is near; otherwise nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _suggested(error: Exception, connect: Callable[[], Client]) -> str:
    """How to load the model that there is not, if it has an archive; else a model or job of a name that is near."""
    from mintage.errors import ClientError

    asked = re.search(r"\b(models|jobs)/([^ /;,]+)", str(error))
    if asked is None or reason_of(error) not in ("MODEL_NOT_FOUND", "JOB_NOT_FOUND"):
        return ""
    try:
        with connect() as client:
            if asked[1] == "models":
                archive = f"{asked[2]}.mar"
                if any(each.name == archive for each in itertools.islice(client.archives(), _MOST_NAMES)):
                    return f"; `mintage models load {asked[2]} {archive}` loads it"
                names = [model.name for model in client.models()]
            else:
                names = [job.name for job in itertools.islice(client.jobs(), _MOST_NAMES)]
            return did_you_mean(asked[2], [name.partition("/")[2] for name in names])
    except ClientError:
        return ""


def _is_wrong_setting(error: Exception) -> TypeGuard[ValidationError]:
    try:
        from pydantic import ValidationError
    except ModuleNotFoundError:  # only the client's command line is installed
        return False
    return isinstance(error, ValidationError) and error.title == "Settings"


def _wrong_setting(where: tuple[int | str, ...], message: str) -> str:
    """What is wrong with a setting, or with several together."""
    text = message.removeprefix("Value error, ")
    return f"MINTAGE_{str(where[0]).upper()}: {text}" if where else text
