"""gRPC reflection, v1 and v1alpha, over one pool that holds the private Open Inference Protocol file too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

from headstock.errors import HeadstockError
from headstock.oip import open_inference_grpc_pb2
from headstock.v1 import status_pb2, zoo_pb2
from headstock_server.transport.calls import Context, Handler, parsed, refuse

ALPHA = "grpc.reflection.v1alpha.ServerReflection"
STABLE = "grpc.reflection.v1.ServerReflection"

_ROOTS = (open_inference_grpc_pb2, zoo_pb2, status_pb2, health_pb2, reflection_pb2)


class ReflectionService:
    """One implementation under both names: v1 is v1alpha with another package, equal on the wire."""

    def __init__(self, services: Sequence[str]) -> None:
        """List `services` and both reflection services themselves."""
        names = [*services, ALPHA, STABLE]
        self._servicer = reflection_aio.ReflectionServicer(names, pool=public_pool())

    def handlers(self) -> dict[str, Handler]:
        """The one streaming RPC."""
        return {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(self.info)}

    async def info(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer each request of the stream."""
        try:
            async for response in self._servicer.ServerReflectionInfo(_parsed(requests), context):
                yield response.SerializeToString()
        except HeadstockError as error:
            await refuse(context, error)


async def _parsed(requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield parsed(reflection_pb2.ServerReflectionRequest.FromString, data)


def public_pool() -> descriptor_pool.DescriptorPool:
    """A pool of every file that this server speaks, wherever each came from."""
    pool = descriptor_pool.DescriptorPool()
    seen: set[str] = set()
    for module in _ROOTS:
        _add(pool, module.DESCRIPTOR, seen)
    pool.Add(_stable_reflection())
    return pool


def _add(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, seen: set[str]) -> None:
    if file.name in seen:
        return
    seen.add(file.name)
    for dependency in file.dependencies:
        _add(pool, dependency, seen)
    pool.AddSerializedFile(file.serialized_pb)


def _stable_reflection() -> descriptor_pb2.FileDescriptorProto:
    """`grpc/reflection/v1`, which grpcio-reflection does not ship: v1alpha under the newer package."""
    file = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    _rename(file)
    return file


def _rename(file: descriptor_pb2.FileDescriptorProto) -> None:
    def stable(name: str) -> str:
        return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")

    for message in file.message_type:
        for field in message.field:
            # Setting an empty name would still set the field.
            if field.type_name:
                field.type_name = stable(field.type_name)
    for service in file.service:
        for method in service.method:
            method.input_type, method.output_type = stable(method.input_type), stable(method.output_type)
