"""`mintage runs ls|compare|watch` on real run folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import Result

from service.cli import app
from tests.support.command_line import CliRunner
from tests.training.fakes import blobs, small_recipe
from training.export import export
from training.loop.loop import train
from training.runs.lock import locked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: one finished, one stopped with other fields, one exported."""
    root = tmp_path_factory.mktemp("runs")
    train(small_recipe(), blobs(), root / "finished", test=blobs(30, seed=1))
    answers = [True, False, False, False]
    train(small_recipe(seed=2, hidden_noise=0.1), blobs(), root / "deep" / "stopped", should_stop=answers.pop)
    export(root / "finished", root / "exported")
    (root / "no run").mkdir()
    return root


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


def printed(*arguments: object) -> Any:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return lines if arguments[0] == "ls" else lines[0]


def test_runs_are_listed_with_their_state_and_what_they_measured(folder: Path) -> None:
    listed = {Path(run["run"]).name: run for run in printed("ls", folder)}

    assert {name: run["state"] for name, run in listed.items()} == {
        "stopped": "stopped",
        "exported": "no state",
        "finished": "finished",
    }
    finished, stopped = listed["finished"], listed["stopped"]
    assert (finished["images_seen"], finished["images"], stopped["images_seen"]) == (80, 80, 24)
    assert set(finished["losses"]) == {"labels", "real", "fake", "features"}
    assert 0 <= finished["test_accuracy"] <= 1
    assert finished["process"] is None


def test_a_run_that_trains_is_told_by_its_lock(folder: Path) -> None:
    with locked(folder / "deep" / "stopped"):
        [run] = printed("ls", folder / "deep")
        words = invoke("ls", folder / "deep").stdout

    assert run["state"] == "training"
    assert f"training ({run['process']})" in words


def test_people_get_a_row_a_run(folder: Path) -> None:
    result = invoke("ls", folder)

    rows = [line for line in result.stdout.splitlines() if "ssgan-digits" in line]
    assert len(rows) == 3
    assert any("finished" in row and "80" in row and "labels" in row for row in rows)


def test_a_comparison_shows_what_differs_with_curves_and_samples(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "both.png"
    pair = folder / "finished", folder / "deep" / "stopped"

    values, words = printed("compare", *pair, "--picture", picture), invoke("compare", *pair).stdout

    assert {name: list(each.values()) for name, each in values["differing_fields"].items()} == {
        "seed": [1, 2],
        "hidden_noise": [0.5, 0.1],
    }
    assert [run["images_seen"] for run in values["runs"]] == [80, 24]
    assert "hidden_noise" in words
    with Image.open(picture) as drawn, Image.open(folder / "finished" / "samples" / "latest.png") as samples:
        assert drawn.width >= 2 * 480
        assert drawn.height > samples.height + 240


def test_watching_ends_when_nothing_trains(folder: Path, tmp_path: Path) -> None:
    result = invoke("watch", folder, "--json")

    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["stopped", "no state", "finished"]


def test_watching_follows_a_training_to_its_end(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.training.fakes import blobs, small_recipe\n"
        "from training.loop.loop import train\n"
        "folder, recipe = Path(sys.argv[1]), small_recipe(images=2**40, checkpoint_seconds=1.0)\n"
        "train(recipe, blobs(), folder / 'run', report=lambda p: print('going', flush=True),"
        " should_stop=lambda: (folder / 'stop').exists())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trains:
        assert trains.stdout is not None
        assert trains.stdout.readline() == "going\n"
        command = [sys.executable, "-m", "service", "runs", "watch", str(tmp_path), "--json", "--every", "0.2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watches:
            assert watches.stdout is not None
            first = json.loads(watches.stdout.readline())
            (tmp_path / "stop").touch()
            trains.stdout.read()
            trains.wait()
            rest = [json.loads(line) for line in watches.stdout.read().splitlines()]
        assert watches.returncode == 0

    assert first["state"] == "training"
    assert first["process"] == trains.pid
    assert rest[-1]["state"] == "stopped"
    assert rest[-1]["images_seen"] >= first["images_seen"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls", "{tmp}/nowhere"], "nowhere is not a folder"),
        (["compare", "{folder}/finished"], "1 run there; name two or more to compare"),
        (["compare", "{folder}", "--picture", "x.jpg"], "must end in .png"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_two(
    folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = invoke(*(argument.format(folder=folder, tmp=tmp_path) for argument in arguments))

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_where_there_are_no_runs_it_says_so(tmp_path: Path) -> None:
    assert f"no runs below {tmp_path}" in invoke("ls", tmp_path).stdout


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "metrics.jsonl").touch()

    result = invoke("ls", tmp_path)

    assert result.exit_code == 2
    assert "config.json is damaged" in result.stderr


def test_looking_at_runs_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from service.cli import app; app(['runs', 'ls', sys.argv[1]], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 0
