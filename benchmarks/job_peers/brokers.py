"""Starts one broker for Celery, Valkey or RabbitMQ, each durable, in a folder and on ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import psutil

from benchmarks.job_peers.rules import RECOVERY_S
from service.addresses import free_port
from service.processes import valkey
from service.processes.supervisor import Process, Supervisor

Kind = Literal["Redis", "RabbitMQ"]
READY_S = 120.0
_RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # of Debian's package; the one on the PATH changes the user


def rabbitmq() -> str | None:
    """RabbitMQ's program, if it is there."""
    return shutil.which(_RABBITMQ) or shutil.which("rabbitmq-server")


class Broker:
    """A broker that a supervisor runs, and that comes back when it is killed.

    Attributes:
        url: For Celery.
        process: Of the broker.
    """

    def __init__(self, kind: Kind, folder: Path, supervisor: Supervisor) -> None:
        self.port = free_port()
        if kind == "Redis":
            password = secrets.token_hex(16)
            self.url = f"redis://:{password}@127.0.0.1:{self.port}/0"
            self.process = self._start("broker", valkey.command(folder, self.port, password), {}, supervisor)
            return
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        epmd = free_port()
        self.process = self._start("epmd", ["epmd", "-port", str(epmd), "-address", "127.0.0.1"], {}, supervisor, epmd)
        command, variables = self._rabbitmq(folder, epmd)
        self.process = self._start("broker", command, variables, supervisor)

    def resident_mib(self) -> float:
        """Memory of the broker's processes."""
        found = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (found, *found.children(recursive=True))) / 2**20

    def _start(
        self, name: str, command: Sequence[str], variables: dict[str, str], supervisor: Supervisor, port: int = 0
    ) -> Process:
        return supervisor.start(
            name, command, os.environ | variables, ready=lambda: _listens(port or self.port), timeout_s=READY_S
        )

    def _rabbitmq(self, folder: Path, epmd: int) -> tuple[list[str], dict[str, str]]:
        program = rabbitmq()
        if program is None:
            raise FileNotFoundError("rabbitmq-server is not installed")
        folder.mkdir(parents=True)
        (folder / "plugins").write_text("[].\n", encoding="ascii")
        ticks = "{channel_tick_interval, 1000}, {vm_memory_high_watermark, 0.4}"
        # The consumer timeout, 30 minutes by default, is looked at only every minute unless told otherwise.
        settings = f"[{{rabbit, [{{consumer_timeout, {RECOVERY_S * 1000}}}, {ticks}]}}]."
        (folder / "advanced.config").write_text(settings, encoding="ascii")
        return [program], {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(epmd),
            "RABBITMQ_NODENAME": f"peer{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RUNNING_UNDER_SYSTEMD": "true",  # in the foreground, in place of the shell
        }


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex(("127.0.0.1", port)) == 0
