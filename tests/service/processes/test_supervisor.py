"""Processes that are supervised come back when they die, and none outlives its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from service.processes import supervisor as supervisor_module
from service.processes.log_file import LogFile
from service.processes.supervisor import Process, ProcessFailedError, Supervisor

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)",
]


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def wrote(log: Path) -> Callable[[], bool]:
    return lambda: log.exists() and log.read_text() != ""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_start_waits_until_the_process_is_ready_and_stop_ends_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        ready = wrote(tmp_path / "sleeper.log")
        process = supervisor.start("sleeper", SLEEPER, os.environ, ready=ready, timeout_s=60)

        assert process.log.tail() == "up"
        pid = process.pid

    assert gone(pid)


LEAVES_WITH_THE_OTHER = """
import pathlib, signal, sys, time
mine, other = (pathlib.Path(name) for name in sys.argv[1:])
def leave(*_):
    mine.with_suffix(".told").touch()
    while not other.with_suffix(".told").exists():
        time.sleep(0.01)
    mine.with_suffix(".left").touch()
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("one", "two"), [("worker-1", "worker-2"), ("dispatcher", "worker-1")])
def test_processes_of_one_role_and_those_that_need_no_other_are_stopped_together(
    one: str, two: str, tmp_path: Path
) -> None:
    with Supervisor(tmp_path, together=("dispatcher", "worker")) as supervisor:
        for name, other in ((one, two), (two, one)):
            command = [sys.executable, "-c", LEAVES_WITH_THE_OTHER, str(tmp_path / name), str(tmp_path / other)]
            supervisor.start(name, command, os.environ, ready=wrote(tmp_path / f"{name}.log"), timeout_s=60)
    assert {path.name for path in tmp_path.glob("*.left")} == {f"{one}.left", f"{two}.left"}


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        ready = wrote(tmp_path / "sleeper.log")
        process = supervisor.start("sleeper", SLEEPER, os.environ, ready=ready, timeout_s=60)
        supervisor.watch()
        first = process.pid

        process.signal_group(signal.SIGKILL)

        until(lambda: process.restarts == 1 and process.alive())
        assert process.pid != first
    assert gone(process.pid)


def test_a_process_that_answers_no_more_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "ASK_S", 0.01)
    asked: list[int] = []

    with Supervisor(tmp_path) as supervisor:
        ready = wrote(tmp_path / "sleeper.log")
        process = supervisor.start("sleeper", SLEEPER, os.environ, ready=ready, timeout_s=60)
        first = process.pid

        def answers() -> bool:
            asked.append(process.pid)
            return asked.count(first) < 4 or process.pid != first

        supervisor.watch({"sleeper": answers})
        until(lambda: process.restarts == 1 and process.alive() and asked.count(process.pid) > 20)

        assert gone(first) and process.restarts == 1
        assert process.log.path.read_text().count("sleeper does not answer: it is killed, and started again") == 1


def test_a_stopped_process_leaves_as_any_other(tmp_path: Path) -> None:
    told = tmp_path / "a.told"
    told.with_name("b.told").touch()
    command = [sys.executable, "-c", LEAVES_WITH_THE_OTHER, str(tmp_path / "a"), str(tmp_path / "b")]
    with Supervisor(tmp_path) as supervisor:
        process = supervisor.start("a", command, os.environ, ready=wrote(tmp_path / "a.log"), timeout_s=60)
        os.killpg(process.pid, signal.SIGSTOP)
    assert told.exists()


LEAVES = """
import os, pathlib, signal, sys, time
def leave(*_):
    os.kill(int(pathlib.Path(sys.argv[1]).read_text().split()[1]), 0)
    print("the other was there", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(600)
"""
STAYS = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", os.getpid(), flush=True)
time.sleep(600)
"""


def test_what_has_nothing_to_bring_to_an_end_is_killed_when_those_after_it_are_gone(tmp_path: Path) -> None:
    with Supervisor(tmp_path, killed=("torchserve",)) as supervisor:
        for name, program in (("torchserve", STAYS), ("worker-1", LEAVES)):
            command = [sys.executable, "-c", program, str(tmp_path / "torchserve.log")]
            supervisor.start(name, command, os.environ, ready=wrote(tmp_path / f"{name}.log"), timeout_s=60)

    child = supervisor.processes["torchserve"].child
    assert child is not None
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / "worker-1.log").read_text().endswith("the other was there\n")


def test_stop_ends_what_a_child_started_too(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        log = tmp_path / "parent.log"
        supervisor.start("parent", PARENT, os.environ, ready=wrote(log), timeout_s=60)
        grandchild = int(log.read_text())
        assert psutil.pid_exists(grandchild)

    until(lambda: gone(grandchild))


@pytest.mark.linux
def test_what_has_ended_and_whose_parent_has_not_noticed_counts_as_gone(tmp_path: Path) -> None:
    child = subprocess.Popen(["true"], start_new_session=True)
    process = Process("ended", ["true"], {}, LogFile(tmp_path / "ended.log"), child=child)

    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)

    os.killpg(child.pid, 0)  # the system still knows the group
    assert not process.group_alive()
    child.wait()


def test_a_process_that_ends_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such model store')"]

    with Supervisor(tmp_path) as supervisor, pytest.raises(ProcessFailedError, match="no such model store"):
        supervisor.start("broken", command, os.environ, ready=lambda: False, timeout_s=60)


def test_a_process_that_is_never_ready_is_reported_and_stopped(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        with pytest.raises(ProcessFailedError, match="sleeper is not ready in time"):
            supervisor.start("sleeper", SLEEPER, os.environ, ready=lambda: False, timeout_s=0.2)
        pid = supervisor.processes["sleeper"].pid

    assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_children_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    code = f"""
        import os, sys, time
        from pathlib import Path
        from service.processes.supervisor import Supervisor
        log = Path({str(tmp_path)!r}) / "sleeper.log"
        supervisor = Supervisor(log.parent)
        process = supervisor.start("sleeper", {SLEEPER!r}, os.environ, ready=log.exists, timeout_s=60)
        print(process.pid, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())

    parent.kill()
    parent.wait()

    until(lambda: gone(child))
