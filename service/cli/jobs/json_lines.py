"""What `--json` of the jobs verbs prints: one object per line, numbers as numbers, states as `--state` takes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from service.cli.console import to_dict

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message


def print_line(value: Message | dict[str, Any]) -> None:
    """Print one object on a line of stdout."""
    fields = value if isinstance(value, dict) else plain(value)
    typer.echo(json.dumps(fields, ensure_ascii=False, default=str))


def print_lines(messages: Iterable[Message]) -> None:
    """Print each message on a line of its own; nothing if there is none."""
    for message in messages:
        print_line(message)


def plain(message: Message) -> dict[str, Any]:
    """Return every field under its name in the contract.

    Protobuf's own JSON has 64-bit numbers as text, and enums as `STATE_RUNNING`; here they are numbers, and `running`.
    """
    return _object(message.DESCRIPTOR, to_dict(message))


def word_of(enum: EnumDescriptor, name: str) -> str:
    """Return the word for a value of an enum: `STATE_PARTIALLY_SUCCEEDED` of `State` is `partially_succeeded`."""
    prefix = "".join(f"_{letter}" if letter.isupper() else letter for letter in enum.name).lstrip("_").upper()
    return name.removeprefix(f"{prefix}_").lower()


def _object(descriptor: Any, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _field(descriptor.fields_by_name[name], value) for name, value in fields.items()}


def _field(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {name: _one(kind.fields_by_name["value"], each) for name, each in value.items()}
    return [_one(field, each) for each in value] if isinstance(value, list) else _one(field, value)


def _one(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, dict):
        return _object(field.message_type, value)
    if isinstance(value, str) and field.enum_type is not None:
        return word_of(field.enum_type, value)
    if isinstance(value, str) and field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return int(value)
    return value
