"""The files of a job, shards and others, are read over the API."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import grpc
import pytest
from mintage.v1 import jobs_pb2

from service.jobs.shards.publish import publish
from service.jobs.storage.local_store import LocalStore
from tests.support.job_api import Api, Code, Use, refused, wrong_fields
from tests.support.shards import make_shard, marker_of


async def shard_parts(api: Api, name: str, index: int = 0) -> list[jobs_pb2.ReadShardResponse]:
    stream = api.stub.ReadShard(jobs_pb2.ReadShardRequest(name=name, index=index))
    return [part async for part in stream]


def test_a_shard_is_read_after_it_was_committed_and_not_before(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        for index in (0, 3, -1):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await shard_parts(api, job.name, index)
            assert caught.value.code() == Code.NOT_FOUND
        plan = (await api.ledger.job(job.name[5:])).plan
        output, data = LocalStore(api.outputs).output(plan.prefix), bytes(range(256)) * 10_000
        marker = marker_of(plan, 0, hashlib.sha256(data).hexdigest(), len(data))
        with output.temporary("t") as temporary:
            temporary.file.write(data)
            publish(output, plan, marker, temporary)
        await api.run_all(job)
        header, *parts = await shard_parts(api, job.name)
        assert (header.header.digest, header.header.size_bytes) == (marker.digest, len(data))
        assert header.header.file_name == "train-00000-of-00003.tar"
        assert b"".join(part.data for part in parts) == data and len(parts) == 3
        file = Path(job.output_uri) / "data/train-00000-of-00003.tar"
        file.write_bytes(data[:-1])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await shard_parts(api, job.name)
        assert caught.value.code() == Code.FAILED_PRECONDITION and "was changed" in str(caught.value.details())

    with_api(act)


def test_a_folder_of_pictures_is_read_as_a_tar_that_has_the_digest_of_its_header(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(format=jobs_pb2.OUTPUT_FORMAT_PNG)
        plan = (await api.ledger.job(job.name[5:])).plan
        marker = make_shard(LocalStore(api.outputs).output(plan.prefix), plan)
        await api.run_all(job)
        header, *parts = await shard_parts(api, job.name)
        data = b"".join(part.data for part in parts)
        assert (header.header.digest, header.header.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        folder = Path(job.output_uri) / "data/train/00000-of-00003"
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert tar.getnames() == sorted(path.name for path in folder.iterdir())
        assert hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest() == marker.digest
        picture = folder / "000000001.png"
        picture.write_bytes(picture.read_bytes()[:-1] + b"!")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await shard_parts(api, job.name)
        assert caught.value.code() == Code.FAILED_PRECONDITION and picture.name in str(caught.value.details())

    with_api(act)


async def file_parts(api: Api, name: str, file: str) -> list[jobs_pb2.ReadJobFileResponse]:
    return [part async for part in api.stub.ReadJobFile(jobs_pb2.ReadJobFileRequest(name=name, file_name=file))]


async def file_names(api: Api, name: str) -> list[tuple[str, int]]:
    answer = await api.stub.ListJobFiles(jobs_pb2.ListJobFilesRequest(name=name))
    return [(file.name, file.size_bytes) for file in answer.files]


def test_the_files_beside_the_shards_are_listed_and_read(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        folder = Path(job.output_uri)
        plan = (folder / "plan.json").read_bytes()
        (folder / "shards").mkdir()
        (folder / "report.html").write_bytes(bytes(range(256)) * 5000)
        (folder / ".mintage").mkdir()
        (folder / ".mintage/contact-sheet.png").write_bytes(b"x")
        (folder / ".mintage/000000.json").write_bytes(b"{}")
        expected = [(".mintage/contact-sheet.png", 1), ("plan.json", len(plan)), ("report.html", 1_280_000)]
        assert await file_names(api, job.name) == expected
        assert (await file_parts(api, job.name, ".mintage/contact-sheet.png"))[1].data == b"x"
        first, *data, last = await file_parts(api, job.name, "report.html")
        assert (first.file.name, first.file.size_bytes) == ("report.html", 1_280_000)
        assert b"".join(part.data for part in data) == bytes(range(256)) * 5000 and len(data) == 2
        assert last.digest == hashlib.sha256(bytes(range(256)) * 5000).hexdigest()

    with_api(act)


def test_nothing_outside_the_jobs_folder_is_read(with_api: Use, tmp_path: Path) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        folder = Path(job.output_uri)
        (tmp_path / "secret").write_text("x")
        (folder / "link").symlink_to(tmp_path / "secret")
        (folder / ".hidden").write_text("x")
        assert [name for name, _ in await file_names(api, job.name)] == ["plan.json"]
        for missing in ("link", "shards", "nosuch", "000000.tar"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await file_parts(api, job.name, missing)
            assert caught.value.code() == Code.NOT_FOUND
        for bad in ("", "..", ".hidden", "../plan.json", ".mintage/000000.json", "/etc/passwd", "a" * 300):
            assert await wrong_fields(file_parts(api, job.name, bad)) == ["file_name"]

    with_api(act)


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_that_something_else_took_the_place_of_is_not_read(with_api: Use, tmp_path: Path, link: bool) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        folder = Path(job.output_uri)
        shutil.rmtree(folder)
        if link:
            folder.symlink_to(tmp_path)
        else:
            folder.write_text("x")
        assert "remove it" in await refused(file_names(api, job.name), Code.FAILED_PRECONDITION)
        await refused(file_parts(api, job.name, "plan.json"), Code.NOT_FOUND)

    with_api(act)


def test_a_job_that_does_not_exist_has_no_files(with_api: Use) -> None:
    async def act(api: Api) -> None:
        await refused(shard_parts(api, "jobs/nosuch"), Code.NOT_FOUND)
        await refused(file_parts(api, "jobs/nosuch", "plan.json"), Code.NOT_FOUND)
        await refused(file_names(api, "jobs/nosuch"), Code.NOT_FOUND)

    with_api(act)
