"""The stack starts wherever it is put: odd folders, other code in the way, proxies, IPv6, a damaged file of Valkey."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from mintage.client import Client
from mintage.v1.jobs_pb2 import Job

from service.addresses import free_port
from service.processes import append_only_file
from tests.service.processes.test_append_only_file import junk_in_the_middle
from tests.service.processes.test_supervisor import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ODD = 'é "q" \\ & <x> %41 #h,$1 \' ~'
STRANGER = "raise SystemExit('the code of somebody else ran')\n"
PROXY = "http://127.0.0.1:9"  # where nobody listens


@contextlib.contextmanager
def up(state: Path, folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`mintage up` in a folder, with other variables; yields the API's address and what was printed until it was up."""
    command = [sys.executable, "-P", "-m", "service", "up", "--workers", "1"]
    command += ["--state", str(state), "--address", "[::1]:0"]
    environment = {**os.environ, **variables}
    printed = ""
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                printed += line
                if "Mintage is up" in line:
                    break
            assert "Mintage is up" in printed, printed
            yield printed.rpartition("gRPC API on ")[2].partition(",")[0], printed
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
    assert "nothing is left running" in rest
    assert process.returncode == 0


def strangers(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STRANGER)
    return folder


def test_a_stack_starts_in_an_odd_folder_among_strangers_and_after_its_index_was_damaged(
    short_path: Path,
) -> None:
    state = short_path / ODD
    here = strangers(short_path / "here", "service/__init__.py", "redis.py", "celery.py", "grpc.py")
    named = strangers(short_path / "named", "training/__init__.py", "handlers/__init__.py", "redis.py", "numpy.py")
    port = free_port("::1")
    variables = {
        "LC_ALL": "C",
        "PYTHONPATH": str(named),
        "MINTAGE_METRICS_PORT": str(port),
        **dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"), PROXY),
    }

    with up(state, here, variables) as (address, _), Client(address) as client:
        assert client.generate("digits-generator", 3, seed=1).shape == (3, 28, 28, 1)
        job = list(client.watch(client.create_sample_job("digits-generator", 20).name))[-1]
        assert job.state == Job.STATE_SUCCEEDED
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://[::1]:{port}/metrics") as answer:
            assert b"mintage_api_calls_total" in answer.read()
    assert (state / "torchserve" / "logs" / "model.log").stat().st_size > 0

    junk_in_the_middle(state / "valkey")
    with up(state, here, {}) as (address, _), Client(address) as client:
        until(lambda: any(each.name == job.name for each in client.jobs()))  # the dispatcher rebuilds the index
        assert client.job(job.name).root_digest == job.root_digest
    [aside] = (state / "valkey").glob("damaged-*")
    assert (aside / append_only_file.MANIFEST).exists()
