"""What a head type asks of the data: which roles go into the backbone, which train the head."""

from __future__ import annotations

from headstock.data.columns import ROW
from headstock.errors import InvalidInput
from headstock.hookspecs import HeadType

_PAIR = ("question", "context")

_MODALITIES = {"text": "text", "image": "image", "waveform": "audio", "mfcc": "audio", "table": "tabular"}


def input_roles(head_type: HeadType) -> tuple[str, ...]:
    """The roles that go into the backbone, named as the wire names the raw inputs."""
    if head_type.reads == "pair":
        return _PAIR
    return (ROW,) if head_type.modality == "tabular" else (head_type.modality,)


def roles_of(head_type: HeadType) -> list[str]:
    """The roles that data for this head type must fill, the inputs first."""
    return [*input_roles(head_type), *head_type.columns]


def require_modality(head_type: HeadType, kind: str, backbone: str) -> None:
    """Raise `InvalidInput` unless a backbone with preprocessing `kind` reads what this head type is for."""
    modality = _MODALITIES.get(kind, kind)
    if modality != head_type.modality:
        raise InvalidInput(
            f"head type {head_type.name!r} is for {head_type.modality}, but backbone {backbone!r} reads {modality}",
            fix="headstock heads",
        )
