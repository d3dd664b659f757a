"""Every verb: its help, its examples, its `--json`; and how the command ends when something is wrong."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from service.cli import app
from service.cli.commands import fitted, split_help
from tests.support.command_line import CliRunner, documented

JSON_HELP = re.compile(r"Print one JSON object(\.| per line\.| per line: .+\.)")


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with the words that lead to it, and a stand-in for each argument of a group."""
    for name, verb in command.commands.items():
        own = ["x" for each in verb.params if each.param_type_name == "argument"]
        if hasattr(verb, "commands"):
            yield from walk(verb, (*path, name, *own))
        else:
            yield (*path, name), verb


VERBS = dict(walk(get_command(app)))
IDS = [" ".join(path) for path in VERBS]
each_verb = pytest.mark.parametrize("path", VERBS, ids=IDS)


@each_verb
def test_help_cuts_no_name_at_80_columns(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert "…" not in result.stdout and max(map(len, result.stdout.splitlines())) <= 80
    for parameter in VERBS[path].params:
        for name in parameter.opts if parameter.param_type_name == "option" else ():
            assert re.search(rf"(^|[ /]){re.escape(name)}\b", result.stdout, re.MULTILINE), name


@each_verb
def test_help_breaks_no_word_at_80_columns(path: tuple[str, ...]) -> None:
    narrow, wide = (words_of_help(VERBS[path], width) for width in (80, 1000))
    assert narrow - wide - {"\\"} == set()  # a long command goes on behind a backslash


def words_of_help(verb: Any, width: int) -> set[str]:
    with verb.context_class(verb, info_name="x", terminal_width=width) as context:
        return set(verb.get_help(context).split())


@each_verb
def test_each_verb_has_an_example_of_itself(path: tuple[str, ...]) -> None:
    _, examples = split_help(VERBS[path].help)
    assert examples
    for example in examples:
        words = shlex.split(example)
        assert words[0] == "mintage" and "Example:" not in words
        name = [word for word in path if word != "x"]
        assert [word for word in words[1:] if word in name][: len(name)] == name, example
        known = {name for each in VERBS[path].params for name in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, example


@each_verb
def test_each_verb_has_json_and_says_in_which_of_two_forms(path: tuple[str, ...]) -> None:
    option = next((each for each in VERBS[path].params if "--json" in each.opts), None)
    assert option is not None
    assert JSON_HELP.fullmatch(option.help), option.help


@each_verb
def test_an_error_of_each_verb_is_one_json_object_on_stderr(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--json", "--no-such-option"])
    assert (result.exit_code, result.stdout) == (2, "")
    said = json.loads(result.stderr)
    assert "no option --no-such-option" in said["error"]
    assert (said["status"], said["reason"]) == (2, None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bnech"], "No such command 'bnech'. Did you mean 'bench'? See `mintage --help`"),
        (["jobs", "shwo"], "Did you mean 'show'? See `mintage jobs --help`"),
        (["recipes", "--jsno"], "no option --jsno; did you mean --json? See `mintage recipes --help`"),
        (["train", "dcgan23"], "did you mean dcgan32?"),
        (["check", "wroker"], "'wroker' is not one of"),
        (["jobs", "ls", "--state", "runing"], "did you mean running?"),
        (["up", "--address", "foo"], "--address must be host:port"),
        (["serve", "api", "extra"], "unexpected extra argument"),
    ],
)
def test_what_is_mistyped_is_answered_by_a_suggestion(words: list[str], expected: str) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert result.stderr.startswith("mintage: ") and result.stderr.count("\n") == 1
    assert expected in result.stderr


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"mintage \d+\.\d+\.\d+\n", CliRunner().invoke(app, ["--version"]).stdout)


def test_a_group_without_a_verb_prints_its_help_and_fails() -> None:
    result = CliRunner().invoke(app, ["jobs"])
    assert result.exit_code == 2
    assert "Usage: mintage jobs" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_mistake_in_the_program_keeps_its_traceback_in_a_file(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("service.cli.settings._all", lambda: 1 / 0)
    result = CliRunner().invoke(app, ["settings", *arguments])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    (file,) = tmp_path.iterdir()
    assert str(file) in result.stderr and "ZeroDivisionError" in result.stderr
    assert "Traceback" in file.read_text() and "ZeroDivisionError" in file.read_text()


@pytest.mark.parametrize("variable", ["MINTAGE_MAX_IMAGE", "MINTAGE_STATEDIR"])
def test_a_mistyped_variable_is_refused_with_a_suggestion(variable: str) -> None:
    result = CliRunner().invoke(app, ["recipes"], env={variable: "1"})
    assert result.exit_code == 2
    assert f"{variable} is no setting; did you mean MINTAGE_" in result.stderr


INTERRUPTED_IMPORT = """
import signal, sys

module = sys.argv[1]

class Interrupt:
    def find_spec(self, name, *_):
        if name == module:
            signal.raise_signal(signal.SIGINT)

from service.__main__ import main
sys.meta_path.insert(0, Interrupt())
sys.argv = ["mintage", "recipes"]
main()
"""


@pytest.mark.parametrize(
    "module", ["service.cli", "typer", "service.cli.jobs.verbs", "training.recipes", "rich.console"]
)
def test_ctrl_c_while_modules_are_imported_leaves_no_traceback(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, module], capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 130


def test_the_command_works_without_calls_that_only_linux_has(tmp_path: Path) -> None:
    (tmp_path / "one.mar").write_bytes(b"one")
    program = (
        "import sys\n"
        "from tests.support.portable import remove_linux_only\n"
        "remove_linux_only()\n"
        "from service.processes.stack import default_workers\n"
        "from service.processes.torchserve import environment\n"
        "from service.settings import Settings\n"
        "from pathlib import Path\n"
        "assert default_workers() >= 2\n"
        "assert int(environment(Settings(), Path('/tmp'), {})['MINTAGE_WORKER_THREADS']) >= 1\n"
        "from handlers.compute.device import make_deterministic\n"
        "make_deterministic()\n"
        "from training.recipes import recipe_named\n"
        "from training.compute.threads import resolved\n"
        "assert resolved(recipe_named('dcgan32')).threads >= 1\n"
        "from service.models.archives.keeping import keep\n"
        "assert len(keep(Path(sys.argv[1]))) == 64\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "one.mar")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr


def test_a_long_example_is_broken_so_that_it_can_be_copied() -> None:
    example = "mintage neurons find runs/face-neuron --concept 'my face' --positives lfw/ --distractors cifar10/"
    shown = fitted(example, 60)
    assert max(map(len, shown.splitlines())) <= 60
    assert shlex.split(shown.replace("\\\n", " ")) == shlex.split(example)


def test_the_page_has_the_objects_of_every_verb() -> None:
    assert set(documented()) == {" ".join(word for word in path if word != "x") for path in VERBS}
