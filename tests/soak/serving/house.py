"""The whole stack as `mintage up` starts it, on a small disk of its own, with tiny models of every kind."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from mintage.client import Client

from handlers.archive import pack
from service.backend.workers import socket_name
from service.models.registry import Registry
from service.processes.stack import Stack
from tests.support.runs import tiny_autoencoder, tiny_run
from tests.training.fakes import blobs, small_dcgan_recipe
from training.loop.loop import train

DISK_MIB = 256
# Every model that is served throughout, and its first archive; `swap` has two in turn, `guest` comes and goes.
SERVED = {
    "gen": "gen-0.mar",
    "swap": "gen-0.mar",
    "judge": "judge.mar",
    "mind": "mind.mar",
    "artist": "artist.mar",
    "critic": "critic.mar",
}
SWAPPED, GUEST_ARCHIVE, BROKEN = ("gen-0.mar", "gen-1.mar"), "gen-2.mar", "broken.mar"


class Disk:
    """A disk that can be filled: a tmpfs where one may be mounted, else a limit on the size of the API's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "mintage-soak", str(folder)]
        self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        self.means = f"a tmpfs of {DISK_MIB} MiB" if self.mounted else "RLIMIT_FSIZE of the API, no mount was allowed"

    def fill(self, api: int) -> None:
        """Leave no space."""
        if not self.mounted:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(api, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with self._ballast.open("wb", buffering=0) as file:
            for size in (2**20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self, api: int) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)
        if not self.mounted:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(api, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def close(self) -> None:
        """Unmount it."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@dataclass(frozen=True, slots=True)
class House:
    """A stack that serves."""

    stack: Stack
    disk: Disk

    @property
    def address(self) -> str:
        """Where the API listens."""
        return self.stack.api_address

    def pid(self, name: str) -> int:
        """Process id of `api` or `torchserve` now."""
        return self.stack.process(name).pid

    def workers(self, model: str) -> list[psutil.Process]:
        """The worker processes of a model that have a socket."""
        registry = Registry(self.stack.settings.archives)
        prefix = socket_name(registry.find(model).backend_name, 0).removesuffix("0")
        found = []
        for path in self.stack.settings.sockets.glob(f"{prefix}*"):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(int(path.suffix[1:])))
        return found


@contextlib.contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """Start everything, load the models; nothing is left afterwards but the logs in `folder`."""
    disk = Disk(folder / "disk")
    try:
        with Stack(disk.folder / "state", workers=1, overrides={"MINTAGE_LEASE_S": "5"}) as stack:
            stack.start()
            _pack(stack.settings.archives)
            with Client(stack.api_address) as client:
                for name, archive in SERVED.items():
                    client.load_model(name, archive)
            yield House(stack, disk)
    finally:
        subprocess.run(["cp", "-r", str(disk.folder / "state" / "logs"), str(folder / "logs")], check=False)
        model_log = disk.folder / "state" / "torchserve" / "logs" / "model.log"
        subprocess.run(["cp", str(model_log), str(folder / "logs")], check=False)
        disk.close()


def leftovers(folder: Path) -> list[str]:
    """Name the processes that have to do with a folder; this one and its parents have not."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), process.cwd()]
            if process.pid not in own and any(str(folder) in word for word in words):
                found.append(f"{process.pid} {' '.join(words)[:120]}")
    return found


def thaw(processes: list[psutil.Process]) -> None:
    """Let frozen processes go on that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)


def _pack(archives: Path) -> None:
    with tempfile.TemporaryDirectory() as runs:
        run = tiny_run(Path(runs, "gan"))
        for number in range(3):
            pack(run, "generator", archives / f"gen-{number}.mar", micro_batch=16 + number)
        pack(run, "classifier", archives / "judge.mar", micro_batch=16)
        pack(tiny_autoencoder(Path(runs, "eyes")), "neurons", archives / "mind.mar", micro_batch=16)
        train(small_dcgan_recipe(), blobs(side=32), Path(runs, "pair"))
        pack(Path(runs, "pair"), "generator", archives / "artist.mar", micro_batch=16)
        pack(Path(runs, "pair"), "discriminator", archives / "critic.mar", micro_batch=16)
    whole = (archives / "gen-0.mar").read_bytes()
    (archives / BROKEN).write_bytes(whole[: len(whole) // 2])
