"""DeepSpeech piece by piece: an ONNX graph with the recurrent state in and out, as Mozilla exported it."""

from __future__ import annotations

from pathlib import Path

import torch

from headstock.backbone.export import export_recurrent
from headstock.errors import FailedPrecondition
from headstock_audio.deepspeech.module import DeepSpeechBackbone

STEPS = 16
"""Frames per call in Mozilla's export: 0.32 s of sound."""
TOLERANCE = 1e-5
"""Largest difference between the graph and torch, relative to the largest logit above 1."""
_INPUTS = ("input_node", "previous_state_c", "previous_state_h")
_OUTPUTS = ("logits", "new_state_c", "new_state_h")


class StreamGraph(torch.nn.Module):
    """One call of the stream, with the inputs and outputs of Mozilla's graph but for `input_lengths`."""

    def __init__(self, backbone: DeepSpeechBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self, input_node: torch.Tensor, previous_state_c: torch.Tensor, previous_state_h: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`input_node` [1, steps, 2 * context + 1, coefficients], states [1, d]; logits [1, steps, labels + 1]."""
        return self.backbone.forward_windows(input_node.flatten(2), previous_state_c, previous_state_h)


def export_stream(backbone: DeepSpeechBackbone, path: Path, steps: int = STEPS) -> float:
    """Write the graph for `steps` frames per call; returns its largest difference from torch.

    Raises `FailedPrecondition` if the two disagree, and then writes nothing.
    """
    network = StreamGraph(backbone.eval())
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, steps, 2 * backbone.context + 1, backbone.coefficients), (1, backbone.width), (1, backbone.width))
    example = tuple(torch.randn(shape, generator=generator) for shape in shapes)
    data = export_recurrent(network, dict(zip(_INPUTS, example, strict=True)), _OUTPUTS)
    with torch.no_grad():
        expected = network(*example)
    difference = _difference(data, example, expected)
    if not difference <= TOLERANCE:
        raise FailedPrecondition(
            f"the stream graph differs from torch by {difference:.3g} (allowed {TOLERANCE:g}); it is not written"
        )
    path.write_bytes(data)
    return difference


def _difference(data: bytes, example: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feeds = {name: tensor.numpy() for name, tensor in zip(_INPUTS, example, strict=True)}
    found = session.run(list(_OUTPUTS), feeds)
    return max(
        float((torch.from_numpy(one) - two).abs().max()) / max(1.0, float(two.abs().max()))
        for one, two in zip(found, expected, strict=True)
    )
