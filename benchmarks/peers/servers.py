"""Starts the servers of the comparison, each in its documented best form for this network, and stops them all.

Every one has one model worker with as many torch threads as there are cores for servers, and batches requests; mosec
is measured also with a worker of one thread per core, since Mintage computes so many passes at once. They wait 1 ms for
company, the least that they know: with 3 and 8 ms a lone image waited longer for no gain. Of mosec alone 32 callers of
one image got more by a longer wait, so it is measured with its default of 10 ms too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import grpc
from mintage.client import Client
from mintage.torchserve import management_pb2, management_pb2_grpc

from benchmarks.peers.environment import peers_python
from benchmarks.peers.http_target import HttpTarget
from benchmarks.peers.protocol import SHAPE, Form
from benchmarks.peers.torchserve_target import TorchServeTarget
from service.addresses import free_port
from service.cli.load import processor
from service.cli.load.api_target import ApiTarget
from service.cli.load.target import CallFailedError, Target
from service.processes.stack import Stack
from service.processes.supervisor import Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(__file__).resolve().parent
READY_S = 120.0
BATCH = 32  # requests at most
WAIT_MS = 1  # for company; BentoML chooses that itself


class Asking(Protocol):
    """A connection that returns the pixels themselves."""

    def ask(self, first_index: int) -> bytes:
        """Return the pixels of consecutive samples of seed 1."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        name: Of the software.
        form: Of the network that it serves.
        target: What to call, by images per call.
        ask: The pixels of samples of seed 1, by first index and count: bytes [count, H, W, C].
        meter: CPU seconds of its processes so far.
        signal: Sends a signal to its processes: those that poll are stopped (SIGSTOP) while others are measured.
    """

    name: str
    form: Form
    target: Callable[[int], Target]
    ask: Callable[[int, int], bytes]
    meter: processor.Meter
    signal: Callable[[signal.Signals], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how the servers run.

    Attributes:
        run: Run folder of the network.
        folder: For logs and state.
        threads: Of torch in each model worker.
    """

    run: Path
    folder: Path
    threads: int

    def environment(self, form: Form, **more: str) -> dict[str, str]:
        """Variables of a peer's process."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PEER_RUN": str(self.run),
            "PEER_FORM": form,
            "PEER_THREADS": str(self.threads),
            "PEER_BATCH": str(BATCH),
            "PEER_WAIT_MS": str(WAIT_MS),
            "OMP_WAIT_POLICY": "PASSIVE",  # as TorchServe's workers have it: threads that spin take cores from others
            **more,
        }


@contextlib.contextmanager
def peer(name: str, form: Form, place: Place) -> Iterator[Server]:
    """Run one of `PEERS`."""
    port, python = free_port(), peers_python()
    command, path, variables = PEERS[name](python, port)

    def target(images: int) -> Target:
        return HttpTarget(port, path, images)

    def ask(first_index: int, count: int) -> bytes:
        return asked(target(count), first_index)

    with Supervisor(place.folder / "logs") as supervisor:
        process = supervisor.start(
            f"{name}-{form}",
            command,
            place.environment(form, **variables),
            ready=lambda: answers(ask),
            timeout_s=READY_S,
        )

        def tell(number: signal.Signals) -> None:
            for pid in processor.tree(process.pid):  # not its group: some servers give their workers one of their own
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

        try:
            yield Server(name, form, target, ask, lambda: {"server": processor.of_tree(process.pid)}, tell)
        finally:
            tell(signal.SIGKILL)  # it keeps nothing, and some take their time to end


def _mosec(python: Path, port: int) -> tuple[list[str], str, Mapping[str, str]]:
    options = ["--address", "127.0.0.1", "--port", str(port), "--timeout", "30000"]
    return [str(python), str(FOLDER / "mosec_server.py"), *options], "/inference", {}


def _litserve(python: Path, port: int) -> tuple[list[str], str, Mapping[str, str]]:
    return [str(python), str(FOLDER / "litserve_server.py")], "/predict", {"PEER_PORT": str(port)}


def _bentoml(python: Path, port: int) -> tuple[list[str], str, Mapping[str, str]]:
    service = "benchmarks.peers.bentoml_service:Front"
    command = [str(python), "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port), "--quiet"]
    return command, "/generate", {"BENTOML_DO_NOT_TRACK": "true"}


def _mosec_by_default(python: Path, port: int) -> tuple[list[str], str, Mapping[str, str]]:
    command, path, _ = _mosec(python, port)
    return command, path, {"PEER_WAIT_MS": "10"}


def _mosec_of_one_thread(python: Path, port: int) -> tuple[list[str], str, Mapping[str, str]]:
    command, path, _ = _mosec(python, port)
    return command, path, {"PEER_WORKERS": str(len(os.sched_getaffinity(0))), "PEER_THREADS": "1"}


PEERS: Mapping[str, Callable[[Path, int], tuple[list[str], str, Mapping[str, str]]]] = {
    "mosec": _mosec,
    "mosec, 10 ms": _mosec_by_default,
    "mosec, a worker per core": _mosec_of_one_thread,
    "LitServe": _litserve,
    "BentoML": _bentoml,
}


@contextlib.contextmanager
def torchserve(forms: list[Form], place: Place) -> Iterator[list[Server]]:
    """Run one TorchServe with a model per form, started as Mintage starts it, batching by itself."""
    inference, management = (f"127.0.0.1:{free_port()}" for _ in range(2))
    archives = place.folder / "torchserve-archives"
    archives.mkdir()
    for form in forms:
        options = ["--model-name", form, "--version", "1.0", "--handler", str(FOLDER / "torchserve_handler.py")]
        command = [sys.executable, "-m", "model_archiver.model_packaging", *options, "--export-path", str(archives)]
        subprocess.run(command, check=True, cwd=place.folder, capture_output=True)
    variables = {
        "MINTAGE_STATE_DIR": str(place.folder / "ts"),
        "MINTAGE_ARCHIVE_DIR": str(archives),
        "MINTAGE_TORCHSERVE_INFERENCE": inference,
        "MINTAGE_TORCHSERVE_MANAGEMENT": management,
        "MINTAGE_TORCHSERVE_THREADS": str(place.threads),
    }
    with Supervisor(place.folder / "logs") as supervisor, grpc.insecure_channel(management) as channel:
        process = supervisor.start(
            "torchserve-alone",
            [sys.executable, "-m", "service", "serve", "torchserve"],
            place.environment("built", **variables),
            ready=lambda: _listens(channel),
            timeout_s=READY_S,
        )
        for form in forms:
            request = management_pb2.RegisterModelRequest(
                url=f"{form}.mar",
                model_name=form,
                initial_workers=1,
                synchronous=True,
                batch_size=BATCH,
                max_batch_delay=WAIT_MS,
            )
            management_pb2_grpc.ManagementAPIsServiceStub(channel).RegisterModel(request, timeout=READY_S)
        yield [_model(form, inference, process.pid) for form in forms]


def _model(form: Form, inference: str, pid: int) -> Server:
    def target(images: int) -> Target:
        return TorchServeTarget(inference, form, images)

    return Server(
        "TorchServe", form, target, lambda first, count: asked(target(count), first), lambda: _jvm_and_workers(pid)
    )


def _listens(channel: grpc.Channel) -> bool:
    try:
        grpc.channel_ready_future(channel).result(timeout=1)
    except grpc.FutureTimeoutError:
        return False
    return True


def _jvm_and_workers(pid: int) -> processor.Reading:
    alone = processor.of_process(pid)
    return {"TorchServe": alone, "model worker": processor.of_tree(pid) - alone}


@contextlib.contextmanager
def mintage(place: Place) -> Iterator[Server]:
    """Run the whole stack with the network packed as any other, called through the API."""
    from handlers.archive import pack  # noqa: PLC0415 - imports torch

    archives = place.folder / "archives"
    packed = pack(place.run, "generator", archives / "frozen.mar")
    settings = {"MINTAGE_ARCHIVE_DIR": str(archives), "MINTAGE_TORCHSERVE_THREADS": str(place.threads)}
    with Stack(place.folder / "state", workers=1, overrides=settings) as stack:
        stack.start()
        with Client(stack.api_address) as client:
            client.load_model("frozen", packed.path.name)

            def target(images: int) -> Target:
                return ApiTarget(stack.api_address, "frozen", "generate", images, "raw", SHAPE, seed=1)

            def ask(first_index: int, count: int) -> bytes:
                return client.generate("frozen", count, seed=1, first_index=first_index).tobytes()

            def meter() -> processor.Reading:
                jvm = _jvm_and_workers(stack.process("torchserve").pid)
                return {"API": processor.of_tree(stack.process("api").pid), **jvm}

            yield Server("Mintage", "ours", target, ask, meter)


def asked(target: Target, first_index: int) -> bytes:
    """Ask once for a target's images, on a connection of its own."""
    connection = target.connect()
    try:
        return cast(Asking, connection).ask(first_index)
    finally:
        connection.close()


def answers(ask: Callable[[int, int], bytes]) -> bool:
    """Tell whether a server answers yet."""
    try:
        return bool(ask(0, 1))
    except (CallFailedError, ValueError):
        return False
