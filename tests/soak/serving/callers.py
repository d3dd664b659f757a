"""The clients: threads that ask every question, and one for each served model that asks whether it answers."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from mintage._client.channels import OPTIONS

from tests.soak.history import History
from tests.soak.serving.house import House
from tests.soak.serving.questions import KNOWN, METHODS, OTHERS, PROBES, Question, essence, known, other

CALLERS = 6
DEADLINES_S = (0.05, 1.0, 5.0, 20.0)
LOADING_S, PROBE_S = 60.0, 5.0  # deadlines of calls that wait for workers, and of probes
PAUSE_S = (0.0, 0.1)
PROBE_PAUSE_S = 0.3
SLOW = ("LoadModel", "ScaleModel", "UnloadModel")
MAX_JOBS = 8
_NO_JOB = "jobs/0nosuchjob"


class Callers:
    """Ask until they are told to stop; everything is in the history."""

    def __init__(self, house: House, history: History, seed: int) -> None:
        self._house = house
        self._history = history
        self._seed = seed
        self._stop = threading.Event()
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self._jobs: list[str] = []
        self.errors: list[str] = []
        self.made = 0

    def start(self, *, swaps_only: bool) -> None:
        """Let all begin; with `swaps_only` they ask nothing but the model that is replaced, with long deadlines."""
        if swaps_only:
            for number in range(CALLERS + 2):
                self._thread(self._ask_swapped, f"caller {number}")
            return
        for number in range(CALLERS):
            self._thread(self._ask, f"caller {number}", random.Random(f"{number} {self._seed}"))
        for model in PROBES:
            self._thread(self._probe, f"probe {model}", model)

    def stop(self, patience_s: float) -> list[str]:
        """Let calls end; returns the threads that did not."""
        self._stop.set()
        end = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def ask_known(self, process: str) -> dict[str, str]:
        """Ask every question whose answer is known once, in calm; returns the status of each."""
        with self._channel() as channel:
            questions = [known(question) for question in KNOWN]
            return {question.key: self.call(channel, process, question, 20.0)[0] for question in questions}

    def call(self, channel: Any, process: str, question: Question, deadline_s: float) -> tuple[str, Sequence[Message]]:
        """Make one call and write down how it went; returns its status and its answers."""
        number = next(self._numbers)
        self._history.add(process, question.method, "invoke", call=number, deadline_s=deadline_s, question=question.key)
        begin, answers, code, text = time.monotonic(), list[Message](), "OK", ""
        try:
            answers = list(_answers(channel, question, deadline_s))
        except grpc.RpcError as error:
            code, text = error.code().name, (error.details() or "")[:200]
        took_s = time.monotonic() - begin
        archive, content = essence(answers) if question.known and code == "OK" else ("", "")
        facts = {"call": number, "code": code, "took_s": round(took_s, 3), "text": text}
        facts |= {"question": question.key, "archive": archive, "content": content} if content else {}
        self._history.add(process, question.method, "ok" if code == "OK" else "fail", **facts)
        self.made += 1
        return code, answers

    def _thread(self, act: Callable[..., None], name: str, *arguments: Any) -> None:
        def run() -> None:
            try:
                with self._channel() as channel:
                    while not self._stop.is_set():
                        act(channel, name, *arguments)
            except Exception as error:  # the soak fails by it, but goes on
                self.errors.append(f"{name}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _ask(self, channel: Any, process: str, chance: random.Random) -> None:
        """Ask something, with some deadline."""
        if chance.random() < 0.6:
            question = known(chance.choice(KNOWN))
        else:
            job = chance.choice(self._jobs) if self._jobs and chance.random() < 0.9 else _NO_JOB
            question = other(chance.choice(_choices(len(self._jobs))), job, chance)
        slow = question.method.rpartition("/")[2] in SLOW
        deadline_s = LOADING_S if slow else chance.choice(DEADLINES_S)
        code, answers = self.call(channel, process, question, deadline_s)
        if code == "OK" and question.method.endswith("Job") and "/Create" in question.method:
            self._jobs.append(answers[0].job.name)  # type: ignore[attr-defined]
        if code == "OK" and question.method.endswith("/DeleteJob") and question.request.name in self._jobs:  # type: ignore[attr-defined]
            self._jobs.remove(question.request.name)  # type: ignore[attr-defined]
        self._stop.wait(chance.uniform(*PAUSE_S))

    def _ask_swapped(self, channel: Any, process: str) -> None:
        self.call(channel, process, known(KNOWN[4]), LOADING_S)

    def _probe(self, channel: Any, process: str, model: str) -> None:
        self.call(channel, process, known(PROBES[model]), PROBE_S)
        self._stop.wait(PROBE_PAUSE_S)

    def _channel(self) -> Any:
        return grpc.insecure_channel(self._house.address, options=[*OPTIONS, ("grpc.enable_http_proxy", 0)])


def _choices(jobs: int) -> list[str]:
    """Other questions to draw from: no further jobs where there are many, and each slow one seldom."""
    names = [name for name in OTHERS if jobs < MAX_JOBS or "/Create" not in name]
    return names + [name for name in names if name.rpartition("/")[2] not in (*SLOW, "DeleteJob")] * 4


def _answers(channel: Any, question: Question, deadline_s: float) -> Iterator[Message]:
    """The answers of a call, as any client makes it that knows the descriptors."""
    method = METHODS[question.method]
    kinds = [("stream" if s else "unary") for s in (method.client_streaming, method.server_streaming)]
    stub = getattr(channel, "_".join(kinds))(
        question.method,
        request_serializer=type(question.request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    sent = iter([question.request]) if method.client_streaming else question.request
    answer = stub(sent, timeout=deadline_s)
    if method.server_streaming:
        yield from answer
    else:
        yield answer
