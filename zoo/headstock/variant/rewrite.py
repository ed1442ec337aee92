"""One graph in, the same function at another precision out."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headstock.errors import HeadstockError, InvalidInput, Unsupported
from headstock.preprocess import Preprocessor, Row
from headstock.variant.per_token import per_token
from headstock.variant.sensitive import sensitive_products
from headstock.variant.static import static

_BLOCK = 32


def rewrite(graph: Path, precision: str, path: Path, preprocessor: Preprocessor, rows: Sequence[Row]) -> None:
    """Write the ONNX file `graph` at that precision to `path`; equal arguments give equal bytes.

    `rows` show which products must stay as they are, where the precision is one that spoils some. Inputs and outputs
    keep their names and types. Raises `Unsupported` for a graph that has nothing to change, and `HeadstockError` where
    the converter fails.
    """
    import onnx

    model = onnx.load(str(graph))
    try:
        with _quiet():
            match precision:
                case "int8-per-token":
                    model = per_token(model, sensitive_products(graph, preprocessor, rows))
                case "int8-weight-only":
                    model = _weight_only(model)
                case "int8-static":
                    model = static(graph, path, preprocessor, rows)
                case "fused-fp32":
                    model = _fused(model)
                case "fp16":
                    model = _half(model)
                case _:
                    raise InvalidInput(f"no graph is rewritten to precision {precision!r}")
    except HeadstockError:
        raise
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise HeadstockError(
            f"the graph cannot be converted to {precision}: {type(error).__name__}: {first_line}"
        ) from error
    path.write_bytes(model.SerializeToString(deterministic=True))


def _weight_only(model: Any) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    # Level 4 multiplies integers, and is the only one that is faster than FP32 (levels 0 to 3 take 1.1 to 8 times as
    # long). With blocks of 128 a row moved by 0.024 in company, with blocks of 32 by nothing.
    quantiser = MatMulNBitsQuantizer(model, bits=8, block_size=_BLOCK, is_symmetric=True, accuracy_level=4)
    quantiser.process()
    made = quantiser.model.model
    if not any(node.op_type == "MatMulNBits" for node in made.graph.node):
        raise Unsupported("the backbone's graph has no matrix product with constant weights to make 8-bit")
    return made


def _fused(model: Any) -> Any:
    import onnx_ir
    from onnxscript.rewriter import ort_fusions

    made, counts = ort_fusions.optimize_for_ort(onnx_ir.from_proto(model))
    if not any(counts.values()):
        raise Unsupported("the backbone's graph has nothing that ONNX Runtime's fused operators would replace")
    return onnx_ir.to_proto(made)


def _half(model: Any) -> Any:
    import onnx_ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    made = onnx_ir.from_proto(convert_float_to_float16(model, keep_io_types=True))
    # The converter appends its casts where they are needed first, not where they belong.
    made.graph.sort()
    return onnx_ir.to_proto(made)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the converters, which log every node and warn about every value that half precision rounds to zero."""
    loggers = [logging.getLogger(n) for n in ("onnxruntime.quantization", "onnxruntime.transformers")]
    own = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    before = [(logger, logger.level) for logger in (*loggers, own)]
    for logger, _ in before:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
