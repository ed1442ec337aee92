"""Eight bits with scales that are fixed beforehand, so that no row of a batch can move them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headstock.errors import Unsupported
from headstock.preprocess import Preprocessor, Row
from headstock.variant.sensitive import sensitive_products

_OPERATORS = ("MatMul", "Gemm", "Conv")


def static(graph: Path, path: Path, preprocessor: Preprocessor, rows: Sequence[Row]) -> Any:
    """The graph with products and convolutions of constants between QuantizeLinear and DequantizeLinear.

    Scales of activations are the ranges seen on `rows`, scales of weights are per column. Products that eight bits
    would spoil on these rows stay FP32. `path` is scratch space beside the result. Raises `Unsupported` for a graph
    without anything to change.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    kept = sensitive_products(graph, preprocessor, rows, fixed=True)
    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    quantize_static(
        str(graph),
        str(path),
        _reader(preprocessor, rows),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[node.name for node in nodes if node.output and node.output[0] in kept],
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"MatMulConstBOnly": True},
    )
    made = onnx.load(str(path))
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise Unsupported("the backbone's graph has no product or convolution with constant weights to make 8-bit")
    return made


def _reader(preprocessor: Preprocessor, rows: Sequence[Row]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Each row by itself: padding must not widen a range."""

        def __init__(self) -> None:
            self._rows: Iterator[Row] = iter(rows)

        def get_next(self) -> dict[str, Any] | None:
            row = next(self._rows, None)
            return None if row is None else dict(preprocessor.collate([row]))

    return Reader()
