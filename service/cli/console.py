"""What the verbs share: the address option, the connection, and how answers and errors are printed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeGuard

import typer

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from mintage.client import Client
    from pydantic import ValidationError
    from rich.console import Console
    from rich.table import Table

DEFAULT_API = "127.0.0.1:50051"
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
FIRST_WIDTH = 40  # so much of a table's first column is never cut, however narrow the terminal

ApiOption = Annotated[
    str, typer.Option("--api", envvar="MINTAGE_API_ADDRESS", metavar="HOST:PORT", help="Address of the Mintage API.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds of one call at most.")]


def connect(api: str | None = None) -> Client:
    """Open a client; `api` is host:port, by default MINTAGE_API_ADDRESS or 127.0.0.1:50051. Use it in a `with`.

    It goes by the name that MINTAGE_CLIENT has, if that is set. Where no API answers it says so after a second.
    """
    from mintage.client import Client, Retries

    address = api or os.environ.get("MINTAGE_API_ADDRESS") or DEFAULT_API
    return Client(address, name=os.environ.get("MINTAGE_CLIENT", ""), retries=Retries(attempts=5))


def fail(message: str, status: int = BAD_INPUT) -> NoReturn:
    """Print one line on stderr and leave with an exit status: 2 for bad input, 1 for a failure."""
    typer.echo(f"mintage: {_one_line(message)}", err=True)
    raise typer.Exit(status)


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """Turn the errors of the client, the service and the training into one line and an exit status.

    A programming error is none of these and keeps its traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("mintage: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _swallow_broken_pipe()
        raise typer.Exit(FAILED) from None
    except OSError as error:
        bad_input = error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EADDRINUSE)
        text = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        fail(text, BAD_INPUT if bad_input else FAILED)
    except Exception as error:
        status = _status_of(error)
        if status is None:
            raise
        fail(_explained(error), status)


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def to_dict(message: Message) -> dict[str, Any]:
    """Turn a message of the API into what `print_json` prints: every field under its name in the contract."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def console() -> Console:
    """Console of stdout: colours and widths on a terminal, plain text elsewhere."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def errors_console() -> Console:
    """Console of stderr, for progress and notes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> Table:
    """Build a plain table; `right` names the columns of numbers. Cells are shown as they are, never as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    built = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        widest = max((len(str(row[number])) for row in rows), default=0)
        whole = widest if column in right else min(widest, FIRST_WIDTH) if number == 0 else 0
        justify: Literal["right", "left"] = "right" if column in right else "left"
        built.add_column(
            column,
            justify=justify,
            overflow="fold",
            no_wrap=number == 0 or column in right,  # names and numbers stay whole, the others get more lines
            min_width=max(len(column), whole),
        )
    for row in rows:
        built.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return built


def _status_of(error: Exception) -> int | None:
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
    return BAD_INPUT if _is_wrong_setting(error) else None


def _explained(error: Exception) -> str:
    """What an error says, and what to do where the error itself cannot know."""
    from mintage.errors import Unavailable

    if isinstance(error, Unavailable) and not error.reason:
        return f"no Mintage API answers; start one with `mintage up`, or say where it is with --api ({error})"
    if _is_wrong_setting(error):
        return "; ".join(_wrong_setting(one["loc"], one["msg"]) for one in error.errors())
    return str(error)


def _is_wrong_setting(error: Exception) -> TypeGuard[ValidationError]:
    from pydantic import ValidationError

    return isinstance(error, ValidationError) and error.title == "Settings"


def _wrong_setting(where: tuple[int | str, ...], message: str) -> str:
    """What is wrong with a setting, or with several together."""
    text = message.removeprefix("Value error, ")
    return f"MINTAGE_{str(where[0]).upper()}: {text}" if where else text


def _one_line(message: str) -> str:
    """Fold a message into one line and escape control characters, so that no server text moves the cursor."""
    folded = " ".join(message.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in folded)


def _swallow_broken_pipe() -> None:
    """Keep the interpreter from writing to a closed pipe once more at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
