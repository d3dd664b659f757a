"""The registry: records are files, whole or damaged, shared between processes."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from service.backend.protocol.description import Kind
from service.errors import FailedPrecondition, NotFound, Unavailable
from service.models.changes import Changes
from service.models.registry import Registry
from tests.support.archives import write_archive
from tests.support.formula import CLASSIFIER, GENERATOR, record_of
from tests.support.world import run, until

DIGITS = record_of(GENERATOR, "digits")
JUDGE = record_of(CLASSIFIER, "judge")


def test_a_record_comes_back_as_it_was_in_another_process(tmp_path: Path) -> None:
    Registry(tmp_path).write(JUDGE)
    other = Registry(tmp_path)
    other.write(DIGITS)
    assert other.names() == ["digits", "judge"]
    assert other.find("judge") == JUDGE
    assert not list((tmp_path / "loaded").glob(".*json*"))


def test_a_change_by_another_process_is_seen_at_once(tmp_path: Path) -> None:
    ours, other = Registry(tmp_path), Registry(tmp_path)
    ours.write(DIGITS)
    assert ours.find("digits") == DIGITS
    newer = replace(DIGITS, digest="b" * 64)
    other.write(newer)
    assert ours.find("digits") == newer
    other.remove("digits")
    with pytest.raises(NotFound):
        ours.find("digits")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"name": "digits"}',
        "\x00" * 100,
        '{"name": "judge"}',
    ],
)
def test_a_damaged_record_is_reported_and_takes_no_other_model_down(tmp_path: Path, text: str) -> None:
    registry = Registry(tmp_path)
    registry.write(JUDGE)
    (tmp_path / "loaded" / "digits.json").write_text(text)
    damaged, judge = registry.entries()
    assert (damaged.name, damaged.record, damaged.condition.state) == ("digits", None, "failed")
    assert "damaged" in damaged.condition.message
    assert judge.record == JUDGE
    with pytest.raises(FailedPrecondition, match="damaged"):
        registry.find("digits")


@pytest.mark.parametrize(
    "wrong", [{"name": "other"}, {"digest": "x"}, {"archive": "../x.mar"}, {"micro_batch": 0}, {"latent_size": -1}]
)
def test_a_record_with_impossible_values_counts_as_damaged(tmp_path: Path, wrong: dict[str, object]) -> None:
    registry = Registry(tmp_path)
    registry.write(replace(DIGITS, **wrong))  # type: ignore[arg-type]
    name = str(wrong.get("name", "digits"))
    text = (tmp_path / "loaded" / f"{name}.json").rename(tmp_path / "loaded" / "digits.json").read_text()
    assert text
    entry = registry.entry("digits")
    assert entry is not None
    assert entry.record is None


def test_files_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.entries() == []
    registry.write(DIGITS)
    for name in ("UPPER.json", "a b.json", ".hidden.json", "x.txt"):
        (tmp_path / "loaded" / name).write_text("{}")
    assert registry.names() == ["digits"]


def test_a_model_is_ready_only_after_it_has_answered(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.write(DIGITS)
    with pytest.raises(Unavailable, match="models/digits is not ready") as error:
        registry.ready("digits", "generator")
    assert error.value.retry_after_s > 0
    registry.answered(DIGITS)
    assert registry.ready("digits", "generator") == DIGITS
    registry.mark(DIGITS, "failed", "does not answer")
    with pytest.raises(Unavailable, match="does not answer"):
        registry.ready("digits", "generator")
    with pytest.raises(FailedPrecondition, match="models/digits is of kind generator, not classifier"):
        registry.ready("digits", "classifier")
    with pytest.raises(NotFound, match="models/nobody"):
        registry.ready("nobody", "generator")


def test_a_model_that_is_loaded_for_the_first_time_is_not_ready_rather_than_unknown(tmp_path: Path) -> None:
    ours, loading = Registry(tmp_path), Changes(tmp_path).begin("digits", archive="digits.mar", workers=1)
    loading.reached("proving")
    with pytest.raises(Unavailable, match=r"still being loaded \(proving\); `mintage models watch digits`"):
        ours.find("digits")
    loading.failed(Unavailable("no worker"))
    with pytest.raises(NotFound):
        ours.find("digits")


def test_a_new_digest_under_the_same_name_must_prove_itself_anew(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.answered(DIGITS)
    assert registry.condition(replace(DIGITS, digest="b" * 64)).state == "loading"


@pytest.mark.parametrize("name", ["nothing.mar", "../secret.mar", "/etc/passwd", "folder.mar", "x"])
def test_only_a_file_of_the_archive_folder_is_an_archive(tmp_path: Path, name: str) -> None:
    archives = tmp_path / "archives"
    (archives / "folder.mar").mkdir(parents=True)
    (tmp_path / "secret.mar").write_text("secret")
    with pytest.raises(NotFound):
        Registry(archives).archive(name)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "loaded").write_text("a file where the folder should be")
    with pytest.raises(FailedPrecondition, match="cannot be written"):
        Registry(tmp_path).write(DIGITS)


def test_one_at_a_time_holds_a_models_lock(tmp_path: Path) -> None:
    async def test() -> None:
        ours, other, order = Registry(tmp_path), Registry(tmp_path), list[str]()

        async def hold(registry: Registry, name: str) -> None:
            async with registry.lock("digits"):
                order.append(f"{name} in")
                await asyncio.sleep(0)
                order.append(f"{name} out")

        with ours.try_lock("digits") as held, other.try_lock("digits") as also, other.try_lock("judge") as elsewhere:
            assert (held, also, elsewhere) == (True, False, True)
            tasks = [asyncio.create_task(hold(ours, "a")), asyncio.create_task(hold(other, "b"))]
            await asyncio.sleep(0)
            assert order == []
        await until(lambda: len(order) == 4)
        assert order in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])
        await asyncio.gather(*tasks)

    run(test())


def test_the_lock_of_a_model_that_is_not_recorded_leaves_no_file(tmp_path: Path) -> None:
    async def test() -> None:
        registry, held = Registry(tmp_path), 0

        async def hold() -> None:
            nonlocal held
            async with Registry(tmp_path).lock("nobody"):
                held += 1
                assert held == 1
                await asyncio.sleep(0)
                held -= 1

        await asyncio.gather(*(hold() for _ in range(20)))
        assert list((tmp_path / "loaded").iterdir()) == []
        registry.write(DIGITS)
        async with registry.lock("digits"):
            pass
        assert {path.name for path in (tmp_path / "loaded").iterdir()} == {"digits.json", ".digits.lock"}

    run(test())


def test_a_record_that_cannot_be_read_is_set_aside_and_named(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.write(DIGITS)
    (tmp_path / "loaded" / "broken.json").mkdir()
    (tmp_path / "loaded" / "text.json").write_bytes(b"\xff no record")
    entries = {entry.name: entry for entry in registry.entries()}
    assert set(entries) == {"broken", "digits", "text"}
    assert entries["digits"].record == DIGITS
    for name in ("broken", "text"):
        assert entries[name].record is None
        assert "its record is damaged" in entries[name].condition.message
        with pytest.raises(FailedPrecondition, match=f"models/{name}: its record is damaged"):
            registry.find(name)
    with pytest.raises(FailedPrecondition, match=r"remove broken\.json"):
        registry.remove("broken")
    registry.remove("text")


def test_a_discriminator_that_is_not_loaded_is_told_with_the_command_that_loads_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    with pytest.raises(FailedPrecondition, match="`mintage pack RUN --kind discriminator --load`"):
        registry.discriminator_of(DIGITS)

    write_archive(tmp_path / "another.mar", "discriminator 2", run_digest="f" * 64)
    write_archive(tmp_path / "generator.mar", "generator", run_digest=DIGITS.run_digest)
    (tmp_path / "broken.mar").write_bytes(b"broken")
    with pytest.raises(FailedPrecondition, match="`mintage pack RUN --kind discriminator --load`"):
        registry.discriminator_of(DIGITS)

    write_archive(tmp_path / "digits-critic.mar", "discriminator", run_digest=DIGITS.run_digest)
    with pytest.raises(FailedPrecondition) as refused:
        registry.discriminator_of(DIGITS)
    assert refused.value.message == (
        "the discriminator of models/digits is not loaded: `mintage models load digits-critic digits-critic.mar` loads "
        "it; or set pixels_only (mintage explore invert --pixels-only)"
    )
    kinds: tuple[Kind, ...] = ("discriminator", "classifier")
    assert registry.instead_of(DIGITS, kinds) == (
        "ask its discriminator: `mintage models load digits-critic digits-critic.mar` loads it"
    )

    registry.write(replace(JUDGE, run_digest=DIGITS.run_digest))
    assert registry.instead_of(DIGITS, kinds) == "ask models/judge, of the same run"
