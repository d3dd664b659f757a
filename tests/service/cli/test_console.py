"""What the verbs share: errors become one line and a status."""

import errno

import pytest
import typer
from mintage.errors import ApiError, InputError, NotFound, Unavailable

import service.errors
from service.cli.console import console, errors_console, friendly_errors, table
from service.cli.json_lines import print_json
from training.errors import DivergedError, RecipeError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("wrong"), 2),
        (NotFound("none"), 2),
        (ApiError("broken"), 1),
        (Unavailable("away", reason="SHUTTING_DOWN"), 1),
        (service.errors.NotFound("none"), 2),
        (service.errors.FailedPrecondition("not now"), 1),
        (RecipeError("no such recipe"), 2),
        (DivergedError("not finite"), 1),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.png"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "x.png"), 1),
        (OSError(errno.EADDRINUSE, "cannot listen", "127.0.0.1:1"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_becomes_one_line_and_a_status(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit_, friendly_errors():
        raise error
    assert exit_.value.exit_code == status
    said = capsys.readouterr().err
    assert said.startswith("mintage: ")
    assert said.count("\n") == 1


def test_a_message_from_afar_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), friendly_errors():
        raise InputError("a\nb\x1b[2J\x07")
    assert capsys.readouterr().err == "mintage: a b\\x1b[2J\\x07\n"


def test_a_programming_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), friendly_errors():
        raise ZeroDivisionError


def test_an_exit_passes() -> None:
    with pytest.raises(typer.Exit) as exit_, friendly_errors():
        raise typer.Exit(3)
    assert exit_.value.exit_code == 3


def test_the_first_column_of_a_table_is_never_cut() -> None:
    from rich.console import Console

    narrow = Console(width=60)
    with narrow.capture() as shown:
        narrow.print(table(("", ""), [("classifier score", "1 " * 60), ("root digest", "a" * 64)]))
    assert "classifier score" in shown.get() and "root digest" in shown.get()


def test_a_number_is_never_cut_in_a_narrow_terminal() -> None:
    from rich.console import Console

    row = ("01m8efc3t9gwt2qh", "sample digits-generator, seed 2016", "100,000/1,000,000", "2026-11-27 12:23:37")
    narrow = Console(width=70)
    with narrow.capture() as shown:
        narrow.print(table(("job", "work", "images", "created"), [row], right=("images",)))
    assert row[0] in shown.get() and row[2] in shown.get()


COLUMNS = ("variable", "value", "meaning")
LONG = [("MINTAGE_A", "7", "word " * 30), ("MINTAGE_B", "", "short")]


def shown(width: int) -> str:
    from rich.console import Console

    screen = Console(width=width)
    with screen.capture() as captured:
        screen.print(table(COLUMNS, LONG))
    return captured.get()


def test_a_table_that_does_not_fit_becomes_a_block_for_each_thing() -> None:
    lines = shown(60).splitlines()
    assert max(map(len, lines)) <= 60
    assert [line for line in lines if line.startswith("MINTAGE_")] == ["MINTAGE_A", "MINTAGE_B"]
    assert [line.split() for line in lines[-2:]] == [["MINTAGE_B"], ["meaning", "short"]]


def test_names_and_values_have_no_head_and_a_digest_is_not_cut() -> None:
    from rich.console import Console

    digest = "c97a48e2" * 8
    pairs = [("classifier score", "9.6973"), ("root digest", digest), ("work", "word " * 20), ("state", "ready")]
    screen = Console(width=80)
    with screen.capture() as captured:
        screen.print(table(("", ""), pairs))
        screen.print(table(("job", "digest", "work"), [("01m8kfhbqm2ek23g", digest, "word " * 20)]))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[:4] == [
        "classifier score  9.6973",
        "root digest",
        f"  {digest}",
        f"work              {'word ' * 12}".rstrip(),
    ]
    assert lines[5:9] == [
        "state             ready",
        "01m8kfhbqm2ek23g",
        f"  digest  {digest}",
        "  work    " + "word " * 13 + "word",
    ]


def test_where_stdout_is_no_terminal_a_thing_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(table(COLUMNS, LONG))
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "word word" in line]) == 1
    assert ("word " * 30).strip() in "\n".join(lines)


def test_where_stdout_is_no_terminal_a_table_is_lines_without_filling(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("cats", 1, "word " * 30 + "end", "x"), ("faces-generator", 20_000, "short", "")]
    console().print(table(("model", "images", "meaning", "note"), rows, right=("images",)))
    assert capsys.readouterr().out.splitlines() == [
        "model            images  meaning                                   note",
        "cats                  1  " + "word " * 30 + "end  x",
        "faces-generator   20000  short",
    ]
    console().print(table(("", ""), [("name", "cats"), ("two\nlines", "\N{CJK UNIFIED IDEOGRAPH-732B}")]))
    assert capsys.readouterr().out.splitlines() == ["name       cats", "two lines  \N{CJK UNIFIED IDEOGRAPH-732B}"]


def test_what_json_does_not_have_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": 2**64 - 1})
    assert capsys.readouterr().out == '{"a": null, "b": [null, 1.5], "c": 18446744073709551615}\n'


def test_notes_are_not_wrapped_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    errors_console().print(f"  archives  /{'long/' * 40}archives")
    assert capsys.readouterr().err.count("\n") == 1
