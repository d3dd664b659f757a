"""A store that fails, is away, or is set up wrongly; and what a worker that died left on its machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.errors import FailedPrecondition, Unavailable
from service.jobs.intents import Intents
from service.jobs.ledger.connection import connect
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.storage import bucket_store
from service.jobs.storage.output import Output
from service.jobs.storage.spool import Spool
from service.jobs.storage.store import open_store
from service.jobs.submission.submit import check_folder, write_plan
from service.settings import Settings
from tests.support.plans import sample_plan
from tests.support.s3 import KEY, SECRET, S3Server
from tests.support.valkey import Valkey


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_store, "RETRY_FOR_S", 2)


def settings_of(s3: S3Server, state: Path, **changes: Any) -> Settings:
    return Settings.model_validate({"state_dir": state, **s3.settings("base"), **changes})


@pytest.fixture
def output(s3: S3Server, tmp_path: Path) -> Output:
    return open_store(settings_of(s3, tmp_path)).output("a/b")


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_a_fault_of_the_store_is_tried_again(s3: S3Server, output: Output, status: int) -> None:
    s3.faults.method, s3.faults.statuses = "PUT", [status, status]
    assert output.put("plan.json", b"x")
    assert s3.objects() == {"base/a/b/plan.json": b"x"}
    assert len([asked for asked in s3.faults.requests if asked.startswith("PUT")]) == 3


def test_puts_that_meet_for_too_long_are_unavailable_and_not_taken_for_done(s3: S3Server, output: Output) -> None:
    s3.faults.method, s3.faults.statuses = "PUT", [409] * 100
    with pytest.raises(Unavailable, match="busy"):
        output.put("plan.json", b"x")
    assert s3.objects() == {}


def test_an_answer_that_got_lost_leaves_one_whole_object(s3: S3Server, output: Output) -> None:
    s3.faults.method, s3.faults.lost_answers = "PUT", 1
    output.put("plan.json", b"x")
    assert s3.objects() == {"base/a/b/plan.json": b"x"}
    assert not output.put("plan.json", b"y") and output.read("plan.json") == b"x"


def test_a_plan_whose_answer_got_lost_is_the_same_job(s3: S3Server, tmp_path: Path) -> None:
    store, plan = open_store(settings_of(s3, tmp_path)), sample_plan()
    s3.faults.method, s3.faults.lost_answers = "PUT", 1
    assert write_plan(store, plan) == plan == write_plan(store, plan)


def test_reading_goes_on_after_a_fault(s3: S3Server, output: Output) -> None:
    data = os.urandom(20_000_000)
    with output.temporary("t") as temporary:
        temporary.file.write(data)
        output.publish(temporary, "shards/0.tar")
    with output.open("shards/0.tar") as file:
        first = file.read(1000)
        s3.faults.method, s3.faults.statuses = "GET", [500, 503]
        assert first + file.read() == data


def test_a_large_file_may_take_longer_than_a_call(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_store, "CALL_S", 1)
    output, data = open_store(settings_of(s3, tmp_path)).output("a/b"), os.urandom(16 << 20)
    s3.faults.bytes_per_s = 8 << 20
    with output.temporary("t") as temporary:
        temporary.file.write(data)
        assert output.publish(temporary, "shards/0.tar")
    assert s3.objects() == {"base/a/b/shards/0.tar": data}


def test_a_store_that_is_away_is_unavailable(s3: S3Server, output: Output) -> None:
    output.put("here", b"x")
    s3.faults.down = True
    calls: list[Callable[[], Any]] = [
        lambda: output.put("plan.json", b"x"),
        lambda: output.read("here"),
        lambda: output.size("here"),
        output.names,
        lambda: output.open("here").__enter__(),
        output.remove_folder,
    ]
    for call in calls:
        with pytest.raises(Unavailable, match="does not answer for the bucket mint") as caught:
            call()
        assert caught.value.reason == "STORE_UNAVAILABLE"
    s3.faults.down = False
    assert output.read("here") == b"x"


def test_a_job_may_be_paused_while_the_store_is_away(s3: S3Server, tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_of(s3, tmp_path, redis_url=valkey.url)
    store = open_store(settings)

    async def act() -> None:
        client = connect(settings)
        try:
            ledger = Ledger(client)
            await ledger.create(write_plan(store, sample_plan()))
            await Control(ledger).pause(sample_plan().job)
            s3.faults.down = True
            recorded = await Intents(ledger, store).record(sample_plan().job)
            assert (recorded.view.state, recorded.durable) == ("PAUSED", False)
        finally:
            await client.aclose()

    asyncio.run(act())


def test_a_bucket_that_does_not_exist_is_named(s3: S3Server, tmp_path: Path) -> None:
    store = open_store(settings_of(s3, tmp_path, output_dir="s3://nobody/base"))
    for call in (write_plan, check_folder):
        with pytest.raises(FailedPrecondition, match="no bucket nobody; create it"):
            call(store, sample_plan())
    with pytest.raises(FailedPrecondition, match="no bucket nobody"):
        store.output("a").put("x", b"")


@pytest.mark.parametrize(("status", "what"), [(403, "S3_ACCESS_KEY_ID"), (400, "S3_REGION"), (301, "S3_REGION")])
def test_wrong_keys_and_regions_are_explained_without_secrets(
    s3: S3Server, tmp_path: Path, status: int, what: str
) -> None:
    store = open_store(settings_of(s3, tmp_path))
    s3.faults.statuses = [status] * 50
    for call in (write_plan, check_folder):
        with pytest.raises(FailedPrecondition, match=what) as caught:
            call(store, sample_plan())
        assert KEY not in str(caught.value) and SECRET not in str(caught.value)
        assert caught.value.reason == "OUTPUT_UNAVAILABLE"


def test_what_was_put_while_the_job_was_deleted_is_taken_back(s3: S3Server, tmp_path: Path) -> None:
    store = open_store(settings_of(s3, tmp_path))
    output, late = store.output("a/b"), store.output("a/b", existing=True)
    another = sample_plan(request_id="another of the same folder").to_json()
    output.put("plan.json", sample_plan(request_id="first").to_json())
    with late.temporary("t") as temporary:
        temporary.file.write(b"x")
        output.remove_folder()
        output.put("plan.json", another)
        with pytest.raises(FileNotFoundError):
            late.publish(temporary, "shards/0.tar")
    assert s3.objects() == {"base/a/b/plan.json": another}


def test_a_job_can_be_deleted_while_a_folder_of_many_files_is_put(s3: S3Server, tmp_path: Path) -> None:
    store = open_store(settings_of(s3, tmp_path))
    output, late = store.output("a/b"), store.output("a/b", existing=True)
    output.put("plan.json", b"x")
    with late.temporary_folder("t") as temporary, ThreadPoolExecutor(1) as pool:
        for number in range(1000):
            temporary.add(f"{number:09d}.png", b"x")
        publishing = pool.submit(late.publish, temporary, "images/000000")
        while not output.names("images/000000"):
            assert not publishing.done()
        output.remove("plan.json")
        output.remove_folder()
        with pytest.raises(FileNotFoundError):
            publishing.result()
    assert s3.objects() == {}


def test_a_deletion_between_two_steps_of_a_put_is_noticed(s3: S3Server, output: Output, tmp_path: Path) -> None:
    late = open_store(settings_of(s3, tmp_path)).output("a/b", existing=True)
    output.put("plan.json", b"x")
    s3.faults.method, s3.faults.before = "PUT", output.remove_folder
    with pytest.raises(FileNotFoundError):
        late.put("shards/000000.json", b"x")
    assert s3.objects() == {}


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom service.jobs.storage.spool import Spool\n"
        "with Spool(Path(sys.argv[1])).temporary('t') as temporary:\n"
        "    temporary.file.write(b'x'); temporary.file.flush(); print(flush=True); time.sleep(600)"
    )

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        return process

    with start() as dead, start() as alive:
        try:
            assert len(list(tmp_path.rglob(".tmp/*"))) == 2
            dead.send_signal(signal.SIGKILL)
            dead.wait()
            with Spool(tmp_path).temporary("mine"):
                names = [path.name for path in tmp_path.rglob(".tmp/*")]
                assert len(names) == 2 and len([name for name in names if name.startswith("mine.")]) == 1
        finally:
            dead.kill()
            alive.kill()


def test_a_spool_folder_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file/spool"):
        with pytest.raises(FailedPrecondition, match="MINTAGE_SPOOL_DIR"):
            Spool(root).temporary("t")
