"""The Compose file, for real: images built, every container healthy, the README's call, killed and frozen workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from mintage.client import Client
from mintage.v1.jobs_pb2 import Job

from service.backend.workers import socket_name
from service.models.records import backend_name
from tests.faults.engine import wait_until
from tests.support.valkey import free_port

ROOT = Path(__file__).resolve().parents[2]


def engine_is_missing() -> str:
    """Why the tests of this file cannot run, or nothing."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return f"`{' '.join(command)}` fails: no Docker engine with Compose v2 runs here"
    return ""


MISSING = engine_is_missing()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
]


class Project:
    """One Compose project under a name and a port of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._environment = {
            **os.environ,
            "MINTAGE_PORT": str(self.port),
            "COMPOSE_PROJECT_NAME": f"mintage-test-{uuid.uuid4().hex[:8]}",
        }

    def __call__(self, *arguments: str) -> str:
        """Run docker compose; returns what it printed."""
        result = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """The whole product in containers, built and healthy."""
    project = Project()
    try:
        project("up", "--build", "--wait", "--quiet-pull")
        yield project
    finally:
        project("down", "--volumes", "--remove-orphans")


def test_every_container_is_healthy_unprivileged_and_only_the_api_is_published(project: Project) -> None:
    names = project("ps", "--format", "{{.Name}}").split()
    containers = json.loads(subprocess.check_output(["docker", "inspect", *names]))

    assert len(containers) == 6
    for container in containers:
        host = container["HostConfig"]
        assert container["State"]["Health"]["Status"] == "healthy"
        assert container["Config"]["User"] not in ("", "0", "root")
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
        published = [binding["HostIp"] for bindings in (host["PortBindings"] or {}).values() for binding in bindings]
        assert published == (["127.0.0.1"] if "-api-" in container["Name"] else [])


def test_a_job_survives_a_killed_worker_container_with_the_bytes_of_an_undisturbed_one(project: Project) -> None:
    with Client(f"127.0.0.1:{project.port}") as client:
        images = client.generate("digits-generator", 64, seed=2016)
        answer = client.classify("digits-classifier", images)
        undisturbed = list(client.watch(client.create_sample_job("digits-generator", 400, shard_size=50).name))[-1]
        job = client.create_sample_job("digits-generator", 400, shard_size=50, max_images_per_second=50)
        killed = False
        for change in client.watch(job.name):
            if not killed and change.progress.images_done >= 100:
                project("kill", "--signal", "SIGKILL", "worker")
                project("up", "--detach", "--no-build", "worker")
                killed = True
            job = change

    assert images.shape == (64, 28, 28, 1)
    assert answer.probabilities.shape == (64, 10)
    assert killed
    assert job.state == undisturbed.state == Job.STATE_SUCCEEDED
    assert job.progress.attempts > job.progress.shards_total
    assert job.root_digest == undisturbed.root_digest


def test_a_model_is_scaled_up_and_down_replaced_and_unloaded(project: Project) -> None:
    with Client(f"127.0.0.1:{project.port}") as client:
        images = client.generate("digits-generator", 8, seed=2016)
        assert client.scale_model("digits-generator", 2).workers == 2
        assert client.scale_model("digits-generator", 1).workers == 1
        assert (client.generate("digits-generator", 8, seed=2016) == images).all()
        client.load_model("other", "digits-generator.mar")
        assert (client.generate("other", 8, seed=2016) == images).all()
        client.unload_model("other")
        assert client.health()


@pytest.mark.parametrize("hit", ["STOP", "KILL"])
def test_a_frozen_or_killed_model_worker_is_replaced_though_no_other_container_can_end_it(
    project: Project, hit: str
) -> None:
    name = "digits-generator"
    with Client(f"127.0.0.1:{project.port}") as client:
        before = client.generate(name, 8, seed=2016)
        sockets = socket_name(backend_name(name, client.model(name).digest), 0).removesuffix("0")

        def workers() -> list[str]:
            listed = project("exec", "-T", "torchserve", "ls", "/var/lib/mintage/sockets").split()
            return [each.removeprefix(sockets) for each in listed if each.startswith(sockets)]

        [pid] = workers()
        project("exec", "-T", "torchserve", "sh", "-c", f"kill -{hit} {pid}")
        begin = time.monotonic()
        again = client.generate(name, 8, seed=2016, timeout_s=300)
        print(f"SIG{hit}: answered after {time.monotonic() - begin:.1f} s")

        assert (again == before).all()
        assert len(workers()) == 1 and workers() != [pid]
        wait_until(client.health, "the whole to be healthy", 120)
