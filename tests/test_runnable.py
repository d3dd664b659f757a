"""Every block of README and docs that is marked as runnable does what it says, in the order of the pages.

`sh runnable` and `python runnable` run as they are written, in one folder that looks like a fresh clone. Where `stack`
follows, `mintage up` runs beside them, as the page says. In these, JOB stands for a sample job that has succeeded, and
the API's usual address for that of this stack.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mintage.client import Client
from mintage.v1.models_pb2 import Model

from service.cli.stack.shipped import shipped
from tests.faults.engine import wait_until
from tests.support.command_line import check_json

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
USUAL = "127.0.0.1:50051"
LOADING_S = 400.0  # of seven models on a machine that has much else to do; `mintage up` itself waits for 120 s
STARTED = [pytest.mark.e2e, pytest.mark.timeout(900)]


@dataclass(frozen=True, slots=True)
class Block:
    """A marked block: its language, whether it needs a running stack, and what it says."""

    language: str
    stack: bool
    text: str


def blocks_of(page: Path) -> list[Any]:
    """The marked blocks of a page, as parameters of a test."""
    found = re.findall(r"^```(sh|python) runnable( stack)?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [
        pytest.param(Block(language, bool(stack), text), id=f"{page.name}-{number}", marks=STARTED if stack else [])
        for number, (language, stack, text) in enumerate(found)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@dataclass(frozen=True, slots=True)
class Clone:
    """A folder that looks like a fresh clone in which `./mint` has run once."""

    folder: Path

    def run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, to its end."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**variables),
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def environment(self, **variables: str) -> dict[str, str]:
        """The variables of a shell there, with `mintage` on the PATH as README says."""
        path = f"{self.folder}/.venv/bin{os.pathsep}{os.environ['PATH']}"
        state = str(self.folder / "state")
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MINTAGE_STATE_DIR": state, **variables}


@dataclass(frozen=True, slots=True)
class Up:
    """A running stack: what `mintage up --json` has said, and a job that has succeeded."""

    said: dict[str, Any]
    job: str


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    folder = tmp_path_factory.mktemp("clone")
    mint = folder / "mint"  # ends in the same command as the real one, once .venv is up to date
    mint.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m service "$@"\n')
    mint.chmod(0o755)
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("docs", "models", "protos", "locks", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    return Clone(folder)


@pytest.fixture(scope="module")
def up(clone: Clone) -> Iterator[Up]:
    """The stack as a newcomer starts it, on a free port."""
    command = [sys.executable, "-m", "service", "up", "--address", "127.0.0.1:0", "--workers", "2", "--json"]
    with (
        (clone.folder / "up.log").open("w") as log,
        subprocess.Popen(
            command, cwd=clone.folder, env=clone.environment(), stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, (clone.folder / "up.log").read_text()
            [said] = check_json(["up", "--json"], line)
            with Client(said["api"]) as client:
                for name in served():
                    wait_until(partial(is_ready, client, name), f"{name}, ready", LOADING_S)
            job = ["./mint", "jobs", "sample", "digits-generator", "-n", "1000", "--json"]
            made = clone.run(job, MINTAGE_API_ADDRESS=said["api"])
            assert made.returncode == 0, made.stderr
            yield Up(said, json.loads(made.stdout.splitlines()[-1])["name"].removeprefix("jobs/"))
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
    assert (rest, process.returncode) == ("", 0)


def served() -> list[str]:
    """The models that ship to be served."""
    return [name for name, _, kind in shipped() if kind != "discriminator"]


def is_ready(client: Client, name: str) -> bool:
    """Follow the change of a model that is under way, if one is; whether it is ready then."""
    *_, model = client.watch_model(name)
    return model.state == Model.STATE_READY


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs_as_it_is_written(block: Block, clone: Clone, request: pytest.FixtureRequest) -> None:
    text, variables = block.text, {}
    if block.stack:
        up: Up = request.getfixturevalue("up")
        text = re.sub(r"\bJOB\b", up.job, text.replace(USUAL, up.said["api"]))
        variables = {"MINTAGE_API_ADDRESS": up.said["api"]}

    program = ["sh", "-eu", "-c"] if block.language == "sh" else [".venv/bin/python", "-c"]
    done = clone.run([*program, text], **variables)

    assert done.returncode == 0, done.stderr


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_stack_says_where_things_are(clone: Clone, up: Up) -> None:
    assert {str(clone.folder / "state" / name) for name in ("archives", "outputs", "logs")} < set(up.said.values())


def test_there_are_blocks_of_every_kind_to_run() -> None:
    kinds = {(block.values[0].language, block.values[0].stack) for block in BLOCKS}
    assert kinds >= {("sh", False), ("sh", True), ("python", True)}


def test_every_mark_is_one_that_is_known() -> None:
    for page in PAGES:
        marked = re.findall(r"^```.*runnable.*$", page.read_text(), re.MULTILINE)
        assert len(marked) == len(blocks_of(page)), page
