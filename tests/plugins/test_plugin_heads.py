"""Every head type of the first-party plugins keeps the contract, by the kit that third parties run."""

from __future__ import annotations

import pytest

from headstock.plugin_host import open_host
from headstock.testing import check_head_type
from headstock.testing.cases import HeadCase, read_cases

CASES = [
    case
    for manifest in open_host().manifests()
    if manifest.name.startswith("headstock-")
    for case in read_cases(manifest)
    if isinstance(case, HeadCase)
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.head)
def test_a_head_keeps_every_promise_of_the_contract(case: HeadCase) -> None:
    assert [r for r in check_head_type(open_host().head_type(case.head), case) if not r.passed] == []


def test_every_modality_has_the_heads_of_its_field() -> None:
    """What the manifests list is what the plugins give, and nothing that was promised is missing."""
    shared = ("classification", "multi-label", "regression", "prototype", "embedding")
    promised = {f"{modality}-{head}" for modality in ("text", "image", "audio") for head in shared}
    listed = {entry.name: entry for entry in open_host().heads()}
    own = {"token-classification", "question-answering", "speech-recognition", "image-anomaly"}
    assert promised | own <= set(listed)
    for name, entry in listed.items():
        head_type = open_host().head_type(name)
        assert (head_type.name, head_type.task, head_type.modality) == (name, entry.task, entry.modality)
