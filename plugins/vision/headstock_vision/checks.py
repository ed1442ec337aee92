"""What the contract kit tries this plugin on."""

from __future__ import annotations

from headstock.testing import Case, FamilyCase, HeadCase, ObjectiveCase
from headstock.testing.position_rows import inspected_rows
from headstock.testing.tiny_vision import make_tiny_efficientnet, make_tiny_resnet, make_tiny_vgg, make_tiny_vit


def check_cases() -> list[Case]:
    """A tiny checkpoint per family; head types that need other rows than the kit's own have them here."""
    return [
        FamilyCase("resnet", files=make_tiny_resnet),
        FamilyCase("efficientnet", files=make_tiny_efficientnet),
        FamilyCase("vit", files=make_tiny_vit),
        FamilyCase("vgg", files=make_tiny_vgg),
        HeadCase("image-anomaly", inspected_rows, refused={"label": ["bad"] * 4}),
        ObjectiveCase("simclr", "resnet", make_tiny_resnet, refused={"crop": 0.0}),
    ]
