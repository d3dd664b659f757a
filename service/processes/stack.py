"""The whole product on one machine: Valkey, TorchServe, the API, the dispatcher and the workers.

`mintage up`, `mintage demo`, the benchmarks and the end-to-end tests all start this and nothing else.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from service.addresses import Address, check_free, free_port, read_address
from service.errors import MintageError, Unavailable
from service.jobs.storage.store import open_store
from service.jobs.storage.trial import try_out
from service.processes import append_only_file, checks, torchserve, valkey
from service.processes.cores import usable_cores
from service.processes.supervisor import Process, ProcessFailedError, Supervisor
from service.settings import Settings

READY_TIMEOUT_S = 90.0  # for one process to start, also on a small and busy machine
MAX_WORKERS = 8  # one TorchServe serves them all; more would mostly wait for it
# Our processes run our code, whatever Python is told of other code, and wherever they are started.
_OTHER_CODE = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")


class StateInUseError(ProcessFailedError):
    """Raised when another stack runs on the same state folder."""


def default_workers() -> int:
    """Workers that keep this machine busy: one per core, plus one that works while another waits for the disk."""
    return min(usable_cores() + 1, MAX_WORKERS)


class Stack:
    """Five kinds of process on free ports of the loopback; a context manager that stops them all.

    Args:
        state: Folder for everything that lasts; two stacks may not share one.
        api_address: host:port of the API; port 0 chooses a free one.
        workers: Celery workers to start.
        overrides: Further MINTAGE_* variables, such as {"MINTAGE_LEASE_S": "5"}.

    Raises:
        ValueError: if the address is none.
        OSError: if port 0 is asked for on a host that is not this machine.
    """

    def __init__(
        self,
        state: Path,
        *,
        api_address: str = "127.0.0.1:0",
        workers: int = 2,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.state = state.resolve()
        self.workers = workers
        # When TorchServe's turn comes nobody calls it any more, and a start makes all anew; it would take 4 s to end.
        self.supervisor = Supervisor(
            self.state / "logs", together=("api", "dispatcher", "worker"), killed=("torchserve",)
        )
        self._lock: IO[str] | None = None
        self._was_set_aside = False  # Valkey's append-only file, while the stack ran
        self.overrides = dict(overrides or {})
        self.notices: list[str] = []  # what a person should know of the start
        address = read_address(api_address, lowest_port=0)
        self.api_address = str(Address(address.host, address.port or free_port(address.host)))

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self, step: Callable[[str], None] = lambda _: None) -> Stack:
        """Start everything in order, each process ready before the next starts; `step` hears each one's name.

        Raises:
            StateInUseError: if another stack runs on the state folder.
            ProcessFailedError: if an address is taken, jobs could not be written, or a process does not come up; then
                the end of its log is in the message.
        """
        self.claim()
        self.environment, self.settings = self.configure()
        step("storage")
        self._try_storage()
        step("Valkey")
        self._start_valkey()
        step("TorchServe")
        self._start("torchserve", _serve("torchserve"))
        step("API")
        self._start("api", _serve("api"))
        step("dispatcher")
        self._start("dispatcher", _serve("dispatcher"))
        for number in range(1, self.workers + 1):
            step(f"worker {number}")
            self._start(f"worker-{number}", _serve("worker"))
        self.supervisor.watch({"torchserve": lambda: checks.torchserve_answers(self.settings)})
        return self

    def claim(self) -> None:
        """Take the state folder, and make sure that the addresses are free; `start` does it too.

        Raises:
            StateInUseError, ProcessFailedError: as `start`.
        """
        if self._lock is None:
            self._take_state()
        _, settings = self.configure()
        _check_addresses(self.api_address, settings.metrics_port)

    def stop(self) -> None:
        """Stop everything; nothing that was started is left."""
        self.supervisor.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def process(self, name: str) -> Process:
        """Return one process: `valkey`, `torchserve`, `api`, `dispatcher`, `worker-1`, ..."""
        return self.supervisor.processes[name]

    def _take_state(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        self._lock = (self.state / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateInUseError(f"another Mintage runs on {self.state}; stop it, or choose another --state") from None

    def configure(self) -> tuple[dict[str, str], Settings]:
        """Return the environment of the processes, and their settings, with free ports and new secrets."""
        variables = {
            "MINTAGE_STATE_DIR": str(self.state),
            "MINTAGE_API_ADDRESS": self.api_address,
            "MINTAGE_REDIS_URL": f"redis://:{secrets.token_hex(16)}@127.0.0.1:{free_port()}/0",
            "MINTAGE_TORCHSERVE_INFERENCE": f"127.0.0.1:{free_port()}",
            "MINTAGE_TORCHSERVE_MANAGEMENT": f"127.0.0.1:{free_port()}",
            "MINTAGE_STACK_ID": secrets.token_hex(16),
            **self.overrides,
        }
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MINTAGE_") and name not in _OTHER_CODE
        }
        fields = {name.removeprefix("MINTAGE_").lower(): value for name, value in variables.items()}
        return inherited | variables | {"PYTHONSAFEPATH": "1"}, Settings.model_validate(fields)

    def _try_storage(self) -> None:
        """Refuse to start where jobs could not be written; a store that does not answer may do so later."""
        try:
            try_out(open_store(self.settings))
        except Unavailable as error:
            self.notices.append(f"{error.message}. Jobs wait until it does")
        except MintageError as error:
            raise ProcessFailedError(error.message) from None

    def _start_valkey(self) -> None:
        """Start Valkey; with a damaged append-only file, again with what can be read of it, and then without it."""
        folder = self.state / "valkey"
        port, password = _port_and_password(self.settings)
        command = valkey.command(folder, port, password)
        if append_only_file.is_without_manifest(folder):
            self._note(append_only_file.set_aside(folder))
        for mend in (append_only_file.cut, append_only_file.set_aside, None):
            try:
                self._start("valkey", command, mend=self._mend_valkey)
            except ProcessFailedError:
                process = self.process("valkey")
                if mend is None or process.alive() or not append_only_file.is_to_blame(process.log.text()):
                    raise
                self._note(mend(folder))
            else:
                return

    def _mend_valkey(self) -> str | None:
        """Put right what keeps Valkey from starting again: a folder that was removed, or a damaged append-only file."""
        folder = self.state / "valkey"
        valkey.command(folder, *_port_and_password(self.settings))
        damaged = append_only_file.is_to_blame(self.process("valkey").log.text())
        done = append_only_file.cut(folder) if damaged else None
        # Once: a disk that is full may be blamed on the file again and again.
        if not done and (damaged or append_only_file.is_without_manifest(folder)) and not self._was_set_aside:
            done = append_only_file.set_aside(folder)
            self._was_set_aside = done is not None
        return done

    def _note(self, notice: str | None) -> None:
        self.notices += [notice] if notice else []

    def _start(self, name: str, command: list[str], mend: Callable[[], str | None] | None = None) -> None:
        environment = self.environment | {"MINTAGE_WORKER_NAME": name}
        role = name.partition("-")[0]
        self.supervisor.start(
            name, command, environment, ready=lambda: self._ready(role, name), timeout_s=READY_TIMEOUT_S, mend=mend
        )

    def _ready(self, role: str, name: str) -> bool:
        # What answers must be the process that was started: nobody else knows Valkey's password or the stack's id, a
        # heartbeat has its process id, and TorchServe's JVM writes a line once it listens.
        process = self.process(name)
        if role == "torchserve" and torchserve.LISTENS not in process.log.text():
            return False
        # Of the API only what loads models must serve: a model that is broken must not keep the stack from coming up.
        problem = checks.problem(role, self.settings, worker=name, pid=process.pid, service="mintage.v1.ModelService")
        return asyncio.run(problem) is None


def _check_addresses(api_address: str, metrics_port: int) -> None:
    """Say at once that an address is taken, rather than after most of the stack has started; port 0 is always free."""
    api = read_address(api_address, lowest_port=0)
    addresses = {"--address": api, "MINTAGE_METRICS_PORT": Address(api.host, metrics_port)}
    for name, address in addresses.items():
        try:
            if address.port:
                check_free(address)
        except OSError as error:
            raise ProcessFailedError(f"cannot listen on {address} ({name}): {error.strerror}") from None


def _serve(role: str) -> list[str]:
    return [sys.executable, "-P", "-m", "service", "serve", role]


def _port_and_password(settings: Settings) -> tuple[int, str]:
    address, _, _ = settings.redis_url.get_secret_value().partition("://:")[2].rpartition("/")
    password, _, host_port = address.partition("@")
    return int(host_port.rpartition(":")[2]), password
