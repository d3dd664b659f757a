"""Write the reference of the contract into docs/api.md, from the .proto's comments: python docs/api.py [--check]."""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"
START, END = "<!-- reference -->\n", "<!-- /reference -->\n"
FIRST = (
    "generation",
    "latents",
    "classification",
    "explanation",
    "neurons",
    "jobs",
    "verification",
    "repair",
    "models",
)
SERVICE, MESSAGE, ENUM = 6, 4, 5  # field numbers of FileDescriptorProto: how its comments say where they belong
METHOD, FIELD, NESTED_MESSAGE, NESTED_ENUM, VALUE = 2, 2, 3, 4, 2


def main() -> int:
    """Write the reference, or with --check only tell whether it is up to date."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    new = f"{before}{START}{''.join(reference())}{END}{rest.split(END)[1]}"
    if "--check" in sys.argv:
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def reference() -> Iterator[str]:
    """The whole reference, a resource at a time."""
    files = {Path(file.name).stem: file for file in described() if file.name.startswith("mintage/v1/")}
    for name in FIRST:
        yield from of_file(files.pop(name))
    assert not files, f"FIRST lacks {', '.join(files)}"  # noqa: S101 - seen only by a developer who adds a .proto


def described() -> Sequence[FileDescriptorProto]:
    """Every .proto as its compiler understands it, with the comments."""
    protos = ROOT / "protos"
    sources = [str(path.relative_to(protos)) for path in sorted(protos.glob("mintage/v1/*.proto"))]
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "descriptors"
        options = [f"--proto_path={protos}", f"--proto_path={well_known}", "--include_source_info"]
        if protoc.main(["protoc", *options, f"--descriptor_set_out={output}", *sources]) != 0:
            raise SystemExit("protoc failed")
        return FileDescriptorSet.FromString(output.read_bytes()).file


def of_file(file: FileDescriptorProto) -> Iterator[str]:
    """The services of a .proto, then its messages and enums."""
    said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    for s, service in enumerate(file.service):
        yield f"\n### {service.name}\n{prose(said, SERVICE, s)}\n"
        for m, method in enumerate(service.method):
            answer = f"stream {short(method.output_type)}" if method.server_streaming else short(method.output_type)
            yield f"\n**{method.name}** ({short(method.input_type)}) returns ({answer})\n\n"
            yield f"{prose(said, SERVICE, s, METHOD, m)}\n"
    if not file.service:
        yield f"\n### Messages of {Path(file.name).stem}\n"
    for number, message in enumerate(file.message_type):
        yield from of_message(message, message.name, said, (MESSAGE, number))
    for number, enum in enumerate(file.enum_type):
        yield from of_enum(enum, enum.name, said, (ENUM, number))


def of_message(message: Any, name: str, said: Mapping[tuple[int, ...], str], path: tuple[int, ...]) -> Iterator[str]:
    """A message: what it is, a line for each field, then what is defined inside it."""
    yield f"\n#### {name}\n{prose(said, *path)}\n"
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    if message.field:
        yield "\n| field | type | |\n| --- | --- | --- |\n"
    for number, field in enumerate(message.field):
        yield f"| `{field.name}` | {type_of(field, maps)} | {cell(prose(said, *path, FIELD, number))} |\n"
    for number, nested in enumerate(message.nested_type):
        if nested.name not in maps:
            yield from of_message(nested, f"{name}.{nested.name}", said, (*path, NESTED_MESSAGE, number))
    for number, enum in enumerate(message.enum_type):
        yield from of_enum(enum, f"{name}.{enum.name}", said, (*path, NESTED_ENUM, number))


def of_enum(enum: Any, name: str, said: Mapping[tuple[int, ...], str], path: tuple[int, ...]) -> Iterator[str]:
    """An enum and its values."""
    yield f"\n#### {name}\n{prose(said, *path)}\n\n| value | |\n| --- | --- |\n"
    for number, value in enumerate(enum.value):
        yield f"| `{value.name}` = {value.number} | {cell(prose(said, *path, VALUE, number))} |\n"


def type_of(field: FieldDescriptorProto, maps: Mapping[str, Any]) -> str:
    """A field's type as the .proto writes it."""
    if field.type_name.rpartition(".")[2] in maps:
        key, value = maps[field.type_name.rpartition(".")[2]].field
        return f"map<{type_of(key, {})}, {type_of(value, {})}>"
    name = (
        short(field.type_name)
        if field.type_name
        else FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    )
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def short(name: str) -> str:
    """A type's name without our package."""
    return name.removeprefix(".").removeprefix("mintage.v1.")


def prose(said: Mapping[tuple[int, ...], str], *path: int) -> str:
    """The comment of one thing, its lines joined, its paragraphs kept."""
    paragraphs = said.get(path, "").strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return text.replace("\n\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main())
