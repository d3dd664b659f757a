"""What a waiting verb says when Ctrl-C or SIGTERM ends it: the job goes on, and how to follow it again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from mintage.v1 import jobs_pb2, jobs_pb2_grpc
from mintage.v1.repair_pb2 import RepairJobRequest, RepairJobResponse, RepairProgress
from mintage.v1.verification_pb2 import VerificationProgress, VerifyJobRequest, VerifyJobResponse

ENDED = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Endless(jobs_pb2_grpc.JobServiceServicer):
    """Answers once and then goes on without an end."""

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()

    def _go_on(self) -> None:
        self.asked.set()
        self.over.wait()

    def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: object) -> Iterator[jobs_pb2.WatchJobResponse]:
        """Watch."""
        yield jobs_pb2.WatchJobResponse(job=jobs_pb2.Job(name=request.name, state=jobs_pb2.Job.STATE_RUNNING))
        self._go_on()

    def RepairJob(self, request: RepairJobRequest, context: object) -> Iterator[RepairJobResponse]:
        """Repair."""
        yield RepairJobResponse(progress=RepairProgress(shards_done=1, shards_total=3))
        self._go_on()

    def VerifyJob(self, request: VerifyJobRequest, context: object) -> Iterator[VerifyJobResponse]:
        """Verify."""
        yield VerifyJobResponse(progress=VerificationProgress(shards_total=3))
        self._go_on()


@pytest.fixture
def endless() -> Iterator[tuple[Endless, str]]:
    """A server whose jobs never end, and its address."""
    service = Endless()  # type: ignore[abstract]  # of the other methods none is asked
    server = grpc.server(ThreadPoolExecutor(2))
    jobs_pb2_grpc.add_JobServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    service.over.set()
    server.stop(None).wait()


@pytest.mark.parametrize("number", ENDED)
@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("watch", "interrupted; the job continues; watch it: mintage jobs watch x; stop it: mintage jobs cancel x"),
        ("repair", "interrupted; a repair that has begun goes on; follow it: mintage jobs repair x"),
        ("verify", "interrupted"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_waiting_verb_says_what_goes_on_without_it(
    verb: str, said: str, number: signal.Signals, *, as_json: bool, endless: tuple[Endless, str]
) -> None:
    service, address = endless
    options = ["--json"] if as_json else []
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    program = f"import signal; signal.signal({int(signal.SIGINT)}, signal.default_int_handler)\n"
    program += "from service.__main__ import main; main()"
    command = [sys.executable, "-c", program, "jobs", verb, "x", "--api", address, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert service.asked.wait(60)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == ENDED[number]
    last = errors.splitlines()[-1]
    if as_json:
        assert json.loads(last) == {"error": said, "status": ENDED[number], "reason": None}
    else:
        assert last == f"mintage: {said}"
