"""Everything that the soak runs: supervised processes on one machine, and what is found on its disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.processes.supervisor import Supervisor
from service.processes.valkey import command
from tests.faults.engine import Engine, running_engine, serves, wait_until
from tests.faults.proxy import FaultyProxy, running_proxy
from tests.support.model_server import FakeTorchServe, running_model_server
from tests.support.valkey import Valkey, free_port

LEASE_S = 2.0
DISPATCHERS, WORKERS = ("dispatcher-1", "dispatcher-2"), ("worker-1", "worker-2", "worker-3")
NAMES = ("api", *DISPATCHERS, *WORKERS)


@dataclass(frozen=True, slots=True)
class House:
    """Supervised processes: whoever dies is started again within a second. Each role finds Redis behind a proxy."""

    engine: Engine
    supervisor: Supervisor
    models: FakeTorchServe
    valkey: Valkey
    proxies: dict[str, FaultyProxy]

    @property
    def outputs(self) -> Path:
        """Folder of all jobs."""
        return Path(self.engine.settings.outputs)

    def ready(self) -> None:
        """Wait until the API answers with all that is behind it, and every worker has given a heartbeat."""
        with self.engine.client() as client:
            wait_until(lambda: serves(client), "the API")
        self.engine.wait_for_workers(len(WORKERS))


@contextlib.contextmanager
def open_house(state: Path) -> Iterator[House]:
    """Start everything; nothing is left afterwards."""
    with contextlib.ExitStack() as stack:
        models = stack.enter_context(running_model_server())
        models.takes_s = 0.01
        valkey = Valkey(state / "valkey", free_port())
        variables = {"lease_s": str(LEASE_S), "max_attempts": "3", "backend_retry_s": "5"}
        engine = stack.enter_context(running_engine(state / "state", valkey, models, **variables))
        supervisor = stack.enter_context(Supervisor(state / "logs"))
        redis = command(valkey.folder, valkey.port, valkey.password)
        supervisor.start("valkey", redis, engine.environment, ready=valkey.answers, timeout_s=20)
        roles = ("api", "dispatcher", "worker")
        proxies = {role: stack.enter_context(running_proxy(valkey.port)) for role in roles}
        for name in NAMES:
            role = name.partition("-")[0]
            environment = engine.environment | engine.through(proxies[role]) | {"MINTAGE_WORKER_NAME": name}
            serve = [sys.executable, "-m", "service", "serve", role]
            supervisor.start(name, serve, environment, ready=lambda: True, timeout_s=1)
        house = House(engine, supervisor, models, valkey, proxies)
        house.ready()
        supervisor.watch()
        yield house


def file_facts(folder: Path) -> dict[str, list[Any]]:
    """Digest, time and inode of every file of a job: any change shows."""
    facts: dict[str, list[Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stat = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            facts[path.relative_to(folder).as_posix()] = [digest, stat.st_mtime_ns, stat.st_ino]
    return facts


def shard_facts(folder: Path) -> dict[str, Any]:
    """Digests by the manifest, and the indices that lie in tars; empty if the job has no manifest."""
    manifest = folder / "manifest.json"
    shards = json.loads(manifest.read_bytes())["shards"] if manifest.exists() else []
    indices = {str(int(tar.stem[6:11])): _indices(tar) for tar in sorted(folder.glob("data/*.tar"))}
    temporaries = [path.name for path in folder.glob(".tmp/*")]
    digests = {str(shard["shard"]): shard["digest"] for shard in shards}
    return {"digests": digests, "indices": indices, "temporaries": temporaries}


def _indices(path: Path) -> list[int]:
    with tarfile.open(path) as tar:
        return [int(member.name.partition(".")[0]) for member in tar if member.name.endswith(".png")]
