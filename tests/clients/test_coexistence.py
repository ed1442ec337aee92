"""Our stubs and tritonclient's in one process: both declare package `inference`, and both must work."""

from __future__ import annotations

from typing import Any

import numpy as np
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2, descriptor_pool
from tritonclient.grpc import model_config_pb2, service_pb2

from headstock.oip import open_inference_grpc_pb2 as ours
from headstock_client import Client
from headstock_server.app import Running


def test_both_clients_infer_in_one_process(toy_server: Running) -> None:
    """And get the same answer."""
    tensor = triton.InferInput("text", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"great order"], object))
    with Client(toy_server.address) as mine, triton.InferenceServerClient(toy_server.address) as theirs:
        first = mine.infer("sentiment", {"text": ["great order"]}).outputs["logits"]
        second = theirs.infer("sentiment", [tensor]).as_numpy("logits")
    np.testing.assert_array_equal(first, second)


def test_our_messages_live_in_a_pool_of_their_own() -> None:
    """The default pool's `inference` belongs to tritonclient here."""
    theirs = descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
    assert theirs is service_pb2.ModelInferRequest.DESCRIPTOR
    assert ours.POOL.FindMessageTypeByName("inference.ModelInferRequest") is ours.ModelInferRequest.DESCRIPTOR
    assert theirs is not ours.ModelInferRequest.DESCRIPTOR


def facts(*modules: Any) -> dict[str, Any]:
    """Every field, enum value and method of generated modules, by full name."""
    found: dict[str, Any] = {}

    def walk(message: descriptor_pb2.DescriptorProto, prefix: str) -> None:
        name = f"{prefix}.{message.name}"
        for field in message.field:
            found[f"{name}.{field.name}"] = (field.number, field.type, field.label, field.type_name)
        for enum in message.enum_type:
            found.update({f"{name}.{enum.name}.{v.name}": v.number for v in enum.value})
        for nested in message.nested_type:
            walk(nested, name)

    for module in modules:
        file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for message in file.message_type:
            walk(message, file.package)
        for enum in file.enum_type:
            found.update({f"{enum.name}.{v.name}": v.number for v in enum.value})
        for service in file.service:
            for method in service.method:
                streams = (method.client_streaming, method.server_streaming)
                found[f"{service.name}.{method.name}"] = (method.input_type, method.output_type, streams)
    return found


def test_every_field_and_method_of_the_service_has_tritons_number_and_type() -> None:
    """All of its service file; of its model configuration the part that we fill; and one field of the protocol's own.

    The Open Inference Protocol has properties of a model, as a map of texts under number 6; Triton has not yet.
    """
    mine, service, config = facts(ours), facts(service_pb2), facts(model_config_pb2)
    assert {name: mine.get(name) for name in service} == service
    properties = "inference.ModelMetadataResponse.properties"
    assert mine.pop(properties) == (6, 11, 3, ".inference.ModelMetadataResponse.PropertiesEntry")
    extra = {name: value for name, value in mine.items() if name not in service and "PropertiesEntry" not in name}
    assert extra == {name: config.get(name) for name in extra}


def test_messages_cross_between_the_two_sets_of_stubs() -> None:
    """Equal on the wire, both ways."""
    request = ours.ModelInferRequest(model_name="m", id="1", raw_input_contents=[b"ab"])
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).parameters["x"].double_param = 0.5
    theirs = service_pb2.ModelInferRequest.FromString(request.SerializeToString())
    assert theirs.inputs[0].parameters["x"].double_param == 0.5
    assert ours.ModelInferRequest.FromString(theirs.SerializeToString()) == request


def test_the_generated_code_is_what_the_protos_say() -> None:
    """`make protos` would change nothing."""
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    script = root / "scripts" / "protos.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
