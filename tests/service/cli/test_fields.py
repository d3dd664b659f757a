"""Wrong fields of a request are told in the words that were typed."""

from __future__ import annotations

import typer
import typer.main
from mintage.errors import Violation

from service.cli import app
from service.cli.fields import told


def said(command: str, field: str, description: str) -> str:
    """What is said of a wrong field of a command."""
    *words, arguments = command.split(":")
    verb = typer.main.get_command(app)
    for word in words[0].split():
        verb = verb.commands[word]  # type: ignore[attr-defined]
    with verb.make_context(words[0], arguments.split()) as context:
        return told([Violation(field, description)], context)


def test_options_and_arguments_go_by_their_names() -> None:
    assert said("explore patches:cats photos --layer 9", "layer", "must be 0") == "--layer must be 0"
    assert said("explore patches:cats photos --map 9", "maps[1]", "names map 9 once more").startswith(
        "--map names map 9"
    )
    assert said("explore walk:cats #1 #2", "through[1].sample.index", "must be 0") == "FORMULA must be 0"
    assert said("explore forget:cats #1", "latents[0]", "must be 0") == "FORMULA must be 0"
    assert said("explore turn:cats --from #1 --to #2", "between.from[0]", "must be 0") == "--from must be 0"
    assert said("explore turn:cats --from #1 --to #2", "between.to[0]", "must be 0") == "--to must be 0"
    assert said("jobs sample:cats -n 5", "max_images_per_second", "must be 0") == "--max-rate must be 0"
    assert said("jobs show:x", "name", "must be jobs/{job}") == "JOB must be jobs/{job}"


def test_images_go_by_their_files() -> None:
    assert said("classify:m a.png b.png", "encoded.files[1]", "is no image") == "b.png is no image"
    assert said("explore invert:m me.jpg", "raw.height", "must be 8") == "me.jpg must be 8"
    assert (
        said("classify:m a.png b.png", "encoded.files", "must hold at most 1 file") == "IMAGES must hold at most 1 file"
    )


def test_fields_that_are_mentioned_are_named_too() -> None:
    assert said("jobs score:m j", "shard_size", "must be 0 beside source_job") == "--shard-size must be 0 beside JOB"
    assert said("jobs score:m --folder x", "resize", "must not be set beside source_folder") == (
        "--resize must not be set beside --folder"
    )
    assert said("jobs sample:m -n 5 --class 3", "class_index", "must not be given without `latents`") == (
        "--class must not be given without --latent"
    )
    assert (
        said("jobs sample:m -n 5", "count", "must be `latents`, not latents") == "--count must be --latent, not latents"
    )
    assert (
        said("jobs sample:m -n 5", "count", "must not be `count` nor `drop`")
        == "--count must not be --count nor `drop`"
    )


def test_what_nothing_typed_gives_keeps_its_name() -> None:
    assert said("sample:m", "page_token", "must be empty") == "page_token: must be empty"
    assert told([Violation("count", "must be 1")], None) == "count: must be 1"
