"""Server reflection, grpc.reflection.v1 beside v1alpha.

The package grpcio-reflection has v1alpha alone. The two differ in the name of their package, and are the same on the
wire, so one servicer answers both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

ALPHA, STABLE = "grpc.reflection.v1alpha", "grpc.reflection.v1"
SERVICE_NAMES = (f"{ALPHA}.ServerReflection", f"{STABLE}.ServerReflection")


def enable(names: Iterable[str], server: Any) -> None:
    """Have a server describe these services, and reflection itself."""
    _describe_stable()
    every = (*names, *SERVICE_NAMES)
    reflection.enable_server_reflection(every, server)
    stable = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(every).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    handler = grpc.method_handlers_generic_handler(SERVICE_NAMES[1], {"ServerReflectionInfo": stable})
    server.add_generic_rpc_handlers((handler,))


def _describe_stable() -> None:
    """Put the description of v1 where reflection looks: that of v1alpha under another name."""
    file = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name, file.package = file.name.replace("v1alpha", "v1"), STABLE
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{ALPHA}.", f".{STABLE}.")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{ALPHA}.", f".{STABLE}.")
            method.output_type = method.output_type.replace(f".{ALPHA}.", f".{STABLE}.")
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
