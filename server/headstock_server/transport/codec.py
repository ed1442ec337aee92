"""Between Open Inference Protocol messages and the data plane's plain requests and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import DecodeError

from headstock.errors import InvalidInput
from headstock.oip import open_inference_grpc_pb2 as pb
from headstock_server.dataplane import tensors
from headstock_server.dataplane.limits import Limits
from headstock_server.dataplane.messages import (
    InferRequest,
    InferResponse,
    InputTensor,
    ParameterValue,
    RequestedOutput,
)
from headstock_server.transport import prescan

CLASSIFICATION = "classification"
LICENCE_WARNING = "headstock-licence-warning"
"""Metadata key."""
_WARNINGS = 4
"""Warnings on one call: a stream can ask many models, and clients take 8 KiB of metadata."""

# Fields of an unset message are scalars' defaults, so reading them costs no allocation.
_parse = pb.ModelInferRequest.FromString


def decode_request(data: bytes, limits: Limits) -> InferRequest:
    """The request in `data`; raises `InvalidInput` or `LimitExceeded`."""
    return request_of(parse_request(data, limits))


def parse_request(data: bytes, limits: Limits) -> pb.ModelInferRequest:
    """The message in `data`, its tensors unread; raises `InvalidInput` or `LimitExceeded`."""
    prescan.check(data, limits)
    try:
        return _parse(data)
    except DecodeError:
        raise prescan.malformed() from None


def request_of(message: pb.ModelInferRequest) -> InferRequest:
    """The request that a message holds; raises `InvalidInput`."""
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        inputs=_inputs(message),
        outputs=[_output(output) for output in message.outputs],
        parameters=_parameters(message.parameters) if message.parameters else {},
    )


def encode_response(response: InferResponse) -> bytes:
    """The answer of a call with one request."""
    return response_message(response).SerializeToString()


def response_message(response: InferResponse) -> pb.ModelInferResponse:
    """The answer, always with raw contents: clients decode typed ones for BYTES only."""
    message = pb.ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    for output in response.outputs:
        values = output.values
        message.outputs.add(name=output.name, datatype=output.datatype, shape=values.shape)
        message.raw_output_contents.append(tensors.encode(values, output.datatype))
    for key, value in response.parameters.items():
        _set_parameter(message.parameters[key], value)
    return message


def licence_trailer(*warnings: str) -> tuple[tuple[str, str], ...]:
    """Trailing metadata that tells a caller what to know about the licences of the models that answered."""
    return tuple((LICENCE_WARNING, warning) for warning in warnings[:_WARNINGS])


def _inputs(message: pb.ModelInferRequest) -> list[InputTensor]:
    raws = message.raw_input_contents
    if not raws:
        return [_typed(tensor) for tensor in message.inputs]
    if len(raws) != len(message.inputs):
        raise InvalidInput(
            f"the request has {len(message.inputs)} inputs and {len(raws)} raw_input_contents; "
            "expected one raw content for each input, in order"
        )
    decoded = []
    for tensor, raw in zip(message.inputs, raws, strict=True):
        name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
        if tensor.HasField("contents"):
            raise InvalidInput(
                f"input {name[:80]!r} has typed contents in a request with raw_input_contents; "
                "expected one or the other"
            )
        if tensor.parameters:
            _refuse_parameters(f"input {name[:80]!r}", tensor.parameters)
        decoded.append(InputTensor(name, datatype, shape, tensors.decode(name, datatype, shape, raw)))
    return decoded


def _typed(tensor: pb.ModelInferRequest.InferInputTensor) -> InputTensor:
    name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
    wanted = tensors.typed_field(name, datatype)
    for field, _ in tensor.contents.ListFields():
        if field.name != wanted:
            raise InvalidInput(f"input {name[:80]!r} of {datatype} fills {field.name}; expected {wanted}")
    if tensor.parameters:
        _refuse_parameters(f"input {name[:80]!r}", tensor.parameters)
    values = getattr(tensor.contents, wanted)
    return InputTensor(name, datatype, shape, tensors.decode_typed(name, datatype, shape, values))


def _output(tensor: pb.ModelInferRequest.InferRequestedOutputTensor) -> RequestedOutput:
    name = tensor.name
    parameters = _parameters(tensor.parameters) if tensor.parameters else {}
    # Whatever was asked for, gRPC answers are raw; the parameter belongs to the HTTP form of the protocol.
    parameters.pop("binary_data", None)
    classes = parameters.pop(CLASSIFICATION, 0)
    if parameters:
        _refuse_parameters(f"output {name[:80]!r}", parameters, known=CLASSIFICATION)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 0:
        raise InvalidInput(
            f"parameter 'classification' of output {name[:80]!r} is {classes!r}; expected an integer of 0 or more"
        )
    return RequestedOutput(name, classes)


def _parameters(fields: Mapping[str, pb.InferParameter]) -> dict[str, ParameterValue]:
    values: dict[str, ParameterValue] = {}
    for key, parameter in fields.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidInput(f"parameter {key[:80]!r} has no value")
        values[key] = getattr(parameter, choice)
    return values


def _set_parameter(field: pb.InferParameter, value: ParameterValue) -> None:
    if isinstance(value, bool):
        field.bool_param = value
    elif isinstance(value, int):
        field.int64_param = value
    elif isinstance(value, float):
        field.double_param = value
    else:
        field.string_param = value


def _refuse_parameters(owner: str, names: Iterable[str], known: str | None = None) -> None:
    first = next(iter(names))
    if first.startswith("shared_memory"):
        raise InvalidInput(f"{owner} names shared memory, which this server does not offer; send raw contents")
    expected = f"only {known!r}" if known else "none"
    raise InvalidInput(f"{owner} has parameter {first[:80]!r}, which is not known; expected {expected}")
