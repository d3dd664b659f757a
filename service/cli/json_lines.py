"""What `--json` prints: an object per line, numbers that are numbers, and the words that options take."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import typer

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

_Message = TypeVar("_Message", bound="Message")


def print_json(value: Message | dict[str, Any]) -> None:
    """Print an object on one line of stdout; a number that JSON does not have, such as NaN, is null."""
    fields = value if isinstance(value, dict) else to_dict(value)
    typer.echo(json.dumps(_finite(fields), ensure_ascii=False, allow_nan=False, default=str))


def print_json_lines(values: Iterable[Message] | Iterable[dict[str, Any]]) -> None:
    """Print each object on a line of its own; nothing if there is none."""
    for value in values:
        print_json(value)


def printed(values: Iterable[_Message]) -> Iterator[_Message]:
    """Pass messages on, each after it was printed."""
    for value in values:
        print_json(value)
        yield value


def to_dict(message: Message) -> dict[str, Any]:
    """Return every field of a message of the API under its name in the contract.

    Protobuf's own JSON has 64-bit numbers as text, and enums as `STATE_RUNNING`; here they are numbers, and `running`.
    What is unspecified is None.
    """
    from google.protobuf.json_format import MessageToDict

    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return _object(cast("Descriptor", message.DESCRIPTOR), fields)


def word_of(enum: EnumDescriptor, name: str) -> str:
    """Return the word for a value of an enum: `STATE_PARTIALLY_SUCCEEDED` of `State` is `partially_succeeded`."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
    return name.removeprefix(f"{prefix}_").lower()


def _object(descriptor: Descriptor, fields: dict[str, Any]) -> dict[str, Any]:
    if descriptor.full_name.startswith("google."):
        return fields
    return {name: _field(descriptor.fields_by_name[name], value) for name, value in fields.items()}


def _field(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {name: _one(kind.fields_by_name["value"], each) for name, each in value.items()}
    return [_one(field, each) for each in value] if isinstance(value, list) else _one(field, value)


def _one(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, dict):
        return _object(cast("Descriptor", field.message_type), value)
    if not isinstance(value, str):
        return value
    if field.enum_type is not None:
        word = word_of(field.enum_type, value)
        return None if word == "unspecified" else word
    if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return int(value)
    return None if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT) else value


def _finite(value: Any) -> Any:
    """The same with None in place of numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
