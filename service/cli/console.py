"""What the verbs share: the address option, the connection, and how answers and errors are printed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from service.cli import errors, interrupts

if TYPE_CHECKING:
    from mintage.client import Client
    from rich.console import Console, ConsoleOptions
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text
    from typer._click import Context

DEFAULT_API = "127.0.0.1:50051"
FAILED, BAD_INPUT = errors.FAILED, errors.BAD_INPUT
NAMES_S = 2.0  # longest wait for the names that a mistyped one may have meant
UNBOUNDED = 100_000  # columns where stdout is no terminal: nothing is wrapped or cut
PIPED_WIDTH = 40  # columns to which a cell is filled up there, at most
FIRST_WIDTH = 40  # so much of a table's first column is never cut, however narrow the terminal

ApiOption = Annotated[
    str, typer.Option("--api", envvar="MINTAGE_API_ADDRESS", metavar="HOST:PORT", help="Address of the Mintage API.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds of one call at most.")]

_as_json: ContextVar[bool] = ContextVar("as_json", default=False)  # whether errors are said as JSON
_verb: ContextVar[Context | None] = ContextVar("verb", default=None)  # what was typed
_asked: ContextVar[Callable[[], Client] | None] = ContextVar("asked", default=None)  # opens the API asked last


def connect(api: str | None = None) -> Client:
    """Open a client; `api` is host:port, by default MINTAGE_API_ADDRESS or 127.0.0.1:50051. Use it in a `with`.

    It goes by the name that MINTAGE_CLIENT has, if that is set. Where no API answers it says so after a second.
    """
    from mintage.client import Client, Retries

    _asked.set(lambda: Client(address, retries=Retries(attempts=1), timeout_s=NAMES_S))
    address = api or os.environ.get("MINTAGE_API_ADDRESS") or DEFAULT_API
    return Client(address, name=os.environ.get("MINTAGE_CLIENT", ""), retries=Retries(attempts=5))


def fail(message: str, status: int = BAD_INPUT, *, reason: str = "") -> NoReturn:
    """Print one line on stderr and leave with an exit status: 2 for bad input, 1 for a failure.

    With --json the line is an object; `reason` is the API's stable name of the error, if it comes from there.
    """
    line = _one_line(message)
    if _as_json.get():
        line = json.dumps({"error": line, "status": status, "reason": reason or None}, ensure_ascii=False)
    else:
        line = f"mintage: {line}"
    typer.echo(line, err=True)
    raise typer.Exit(status)


@contextlib.contextmanager
def friendly_errors() -> Iterator[None]:
    """Turn the errors of the client, the service and the training into one line and an exit status.

    A programming error is none of these and passes.
    """
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", interrupts.status())
    except BrokenPipeError:
        _swallow_broken_pipe()
        raise typer.Exit(FAILED) from None
    except Exception as error:
        status = errors.status_of(error)
        if status is None:
            raise
        fail(errors.explained(error, _asked.get(), _verb.get()), status, reason=errors.reason_of(error))


@contextlib.contextmanager
def if_interrupted(what: str) -> Iterator[None]:
    """Say what goes on without this command, or how to go on, where Ctrl-C or SIGTERM ends the block."""
    try:
        yield
    except KeyboardInterrupt:
        fail(f"interrupted; {what}", interrupts.status())


@contextlib.contextmanager
def ends_by_status() -> Iterator[None]:
    """Turn every error into one line and an exit status; the traceback of a programming error goes to a file."""
    try:
        with friendly_errors():
            yield
    except typer.Exit:
        raise
    except Exception as error:
        fail(errors.bug(error), FAILED, reason="BUG")


@contextlib.contextmanager
def as_typed(context: Context) -> Iterator[None]:
    """Say errors in the words of a verb meanwhile, which was called with the options and arguments of a context."""
    before = _verb.set(context)
    try:
        yield
    finally:
        _verb.reset(before)


@contextlib.contextmanager
def answers_as_json(wanted: bool) -> Iterator[None]:
    """Say errors as JSON meanwhile, if wanted."""
    before = _as_json.set(wanted)
    try:
        yield
    finally:
        _as_json.reset(before)


def console() -> Console:
    """Console of stdout: colours and widths on a terminal, elsewhere plain text that is neither wrapped nor cut."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else UNBOUNDED)


def errors_console() -> Console:
    """Console of stderr, for progress and notes; where it is no terminal, lines are not wrapped."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()) -> Rows:
    """Build a plain table; `right` names the columns of numbers. Cells are shown as they are, never as markup.

    Where it is too narrow for one row per thing, each thing becomes a block: its first cell, below it the others. Where
    stdout is no terminal it is lines alone: a head, then one for each thing, with nothing before or after the cells.
    """
    return Rows(columns, rows, right)


class Rows:
    """Things with the same columns, as a table or as blocks."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str]) -> None:
        """Keep what is shown; a column is a name, and `right` names those of numbers."""
        self.columns, self.rows, self.right = columns, rows, right

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text | Padding]:
        """Choose by the width that there is."""
        from rich.padding import Padding

        if options.max_width >= UNBOUNDED:
            yield from self._piped()
            return
        if not any(self.columns):
            yield from self._pairs(options.max_width)
            return
        built = self._table()
        if console.measure(built, options=options.update(width=UNBOUNDED)).maximum <= options.max_width:
            yield built
            return
        for row in self.rows:
            yield _text(row[0])
            rest = Rows(("", ""), [pair for pair in zip(self.columns[1:], row[1:], strict=True) if str(pair[1])], ())
            for part in rest._pairs(options.max_width - 2):
                yield Padding(part, (0, 0, 0, 2))

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table

        built = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(self.columns):
            widest = max((len(str(row[number])) for row in self.rows), default=0)
            whole = widest if column in self.right else min(widest, FIRST_WIDTH) if number == 0 else 0
            justify: Literal["right", "left"] = "right" if column in self.right else "left"
            built.add_column(
                column,
                justify=justify,
                overflow="fold",
                no_wrap=number == 0 or column in self.right,  # names and numbers stay whole, the others get more lines
                min_width=max(len(column), whole),
            )
        for row in self.rows:
            built.add_row(*map(_text, row))
        return built

    def _piped(self) -> Iterator[Text]:
        """The head and the rows as lines of text, two spaces between columns; a long cell does not widen its column."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        lines = [[" ".join(_text(cell).plain.split("\n")) for cell in row] for row in self.rows]
        if any(self.columns):
            lines.insert(0, list(self.columns))
        widths = [max(min(cell_len(cell), PIPED_WIDTH) for cell in cells) for cells in zip(*lines, strict=True)]
        for line in lines:
            padded = [
                cell.rjust(width)
                if column in self.right
                else (cell if cell_len(cell) > width else set_cell_size(cell, width))
                for column, cell, width in zip(self.columns, line, widths, strict=True)
            ]
            yield Text("  ".join(padded).rstrip(), no_wrap=True, overflow="ignore")

    def _pairs(self, width: int) -> Iterator[Table | Padding]:
        """Names and values, without a head. A value with a word that is too long for its column is below its name."""
        from rich.cells import cell_len
        from rich.padding import Padding
        from rich.table import Table

        names = max((cell_len(str(row[0])) for row in self.rows), default=0)
        for name, value in self.rows:
            longest = max(map(cell_len, str(value).split()), default=0)
            below = longest > width - names - 2
            built = Table.grid(padding=(0, 2, 0, 0))
            built.add_column(no_wrap=True, overflow="fold", min_width=names)
            built.add_column(overflow="fold")
            built.add_row(_text(name), _text("" if below else value))
            yield built
            if below:
                yield Padding(_text(value), (0, 0, 0, 2))


def _text(cell: Any) -> Text:
    from rich.text import Text

    return cell if isinstance(cell, Text) else Text(str(cell))


def _one_line(message: str) -> str:
    """Fold a message into one line and escape control characters, so that no server text moves the cursor."""
    folded = " ".join(message.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in folded)


def _swallow_broken_pipe() -> None:
    """Keep the interpreter from writing to a closed pipe once more at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
