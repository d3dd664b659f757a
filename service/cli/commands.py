"""Verbs and groups of verbs: how their help looks, and how the command ends: by a status, never by a traceback."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer._click.formatting import HelpFormatter
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from service.cli.console import BAD_INPUT, answers_as_json, as_typed, ends_by_status, fail

if TYPE_CHECKING:
    from typer._click import Context

Function = TypeVar("Function", bound=Callable[..., Any])
OF_THE_CLIENT = ("MINTAGE_API_ADDRESS", "MINTAGE_CLIENT")
EXAMPLE = "Example: "
INDENT = "  "
UNBROKEN = "\N{NON-BREAKING HYPHEN}"  # in place of a hyphen while lines are broken


class _Lines(HelpFormatter):
    """Breaks lines between words alone: a hyphen may belong to a name, such as ssgan-digits or --max-damaged."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(text.replace("-", UNBROKEN))

    def write_dl(self, rows: Sequence[tuple[str, str]], *sizes: int, **more: int) -> None:
        """Write names and what they mean."""
        super().write_dl([(name, text.replace("-", UNBROKEN)) for name, text in rows], *sizes, **more)

    def write(self, string: str) -> None:
        """Write what was broken into lines."""
        super().write(string.replace(UNBROKEN, "-"))


class _Help:
    """Help whose last paragraph of examples is not wrapped: `Example: mintage ...`, one on a line."""

    help: str | None

    def get_help(self, ctx: Context) -> str:
        """Write the help."""
        formatter = _Lines(width=ctx.terminal_width, max_width=ctx.max_content_width)
        self.format_help(ctx, formatter)  # type: ignore[attr-defined] # of the class beside this one
        return formatter.getvalue().rstrip("\n")

    def format_help_text(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write what the verb does."""
        text, _ = split_help(self.help or "")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the examples, to be copied as they are."""
        _, examples = split_help(self.help or "")
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"{fitted(example, formatter.width)}\n")


class Verb(_Help, TyperCommand):
    """A verb."""

    def invoke(self, ctx: Context) -> Any:
        """Run the verb; what goes wrong is told in the words that were typed."""
        with as_typed(ctx):
            return super().invoke(ctx)


class Group(_Help, TyperGroup):
    """A group of verbs. Without a verb it prints its help."""

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write every verb with all of its first paragraph."""
        shown = [(name, self.commands[name]) for name in self.list_commands(ctx) if not self.commands[name].hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, split_help(each.help or "")[0].partition("\n\n")[0]) for name, each in shown])

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Print the help if nothing is asked."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            ctx.exit(BAD_INPUT)
        return super().parse_args(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command, and leave with a status.

        What goes wrong becomes one line of text on stderr, or with --json one object.
        """
        words = list(sys.argv[1:] if args is None else args)
        status = 0
        with answers_as_json("--json" in words[: words.index("--") if "--" in words else None]):
            try:
                with ends_by_status():
                    refuse_mistyped_variables()
                    status = self._run(words, "mintage", complete_var, windows_expand_args, extra) or 0
            except typer.Exit as end:
                status = end.exit_code
        sys.exit(status)

    def _run(
        self, words: list[str], prog_name: str, complete_var: str | None, expand: bool, extra: dict[str, Any]
    ) -> Any:
        """Run the verb; returns the status that it asks for, if any."""
        try:
            return super().main(words, prog_name, complete_var, False, expand, **extra)
        except TyperException as error:
            fail(_usage(error), error.exit_code)


class Verbs(typer.Typer):
    """An app whose verbs look like ours."""

    def __init__(self, name: str, help: str, *, root: bool = False) -> None:  # noqa: A002 - Typer's own word
        """Begin a group; `root` is the command itself, which installs completion."""
        super().__init__(
            name=name,
            help=help,
            cls=Group,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            add_completion=root,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Return a decorator that adds a verb."""
        return super().command(name, **{"cls": Verb, **options})


def refuse_mistyped_variables() -> None:
    """End the command if a variable of the environment looks like a setting and is none."""
    names = [name for name in os.environ if name.startswith("MINTAGE_") and name not in OF_THE_CLIENT]
    if not names:
        return  # and nothing is imported
    try:
        from service.settings import mistyped
    except ModuleNotFoundError:  # only the client's command line is installed
        return
    if problem := mistyped(names):
        fail(problem)


def split_help(text: str) -> tuple[str, list[str]]:
    """Split a docstring into what it says and its examples, each on one line."""
    said, examples = list[str](), list[str]()
    for paragraph in text.split("\n\n"):
        if not paragraph.startswith(EXAMPLE):
            said.append(paragraph)
            continue
        for line in paragraph.removeprefix(EXAMPLE).splitlines():
            if line.startswith("mintage ") or not examples:
                examples.append(line.strip())
            else:
                examples[-1] += f" {line.strip()}"
    return "\n\n".join(said), examples


def fitted(example: str, width: int) -> str:
    r"""Break a long command between its words, with a backslash at the end of a line."""
    lines, line = [], INDENT
    for word in shlex.split(example, posix=False):
        if len(line) + len(word) + len(" \\") > width and line.strip():
            lines.append(f"{line.rstrip()} \\")
            line = 2 * INDENT
        line += f"{word} "
    return "\n".join([*lines, line.rstrip()])


def _usage(error: TyperException) -> str:
    """What is wrong with the words typed, with a suggestion and where to read more."""
    text = error.format_message().partition(" (Possible options")[0].replace("Value error, ", "").strip().rstrip(".")
    option = getattr(error, "option_name", None)
    context: Any = getattr(error, "ctx", None)
    if context is None:
        return text
    if isinstance(option, str) and hasattr(error, "possibilities"):
        known = [name for each in context.command.get_params(context) for name in each.opts]
        near = difflib.get_close_matches(option, known, n=1)
        text = f"no option {option}" + (f"; did you mean {near[0]}?" if near else "")
    return f"{text}{' See' if text.endswith('?') else '; see'} `{context.command_path} --help`"
