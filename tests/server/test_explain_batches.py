"""`headstock explain-batches` shows why each recorded pass was released."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from headstock.errors import InvalidInput
from headstock_server.bench.explain import explain_batches

PASS = {
    "at_ms": 5.0, "reason": "all", "rows": 3, "models": {"sentiment:1": 2, "intents:1": 1}, "longest": 8,
    "real_tokens": 18, "padded_tokens": 24, "budget_tokens": 96, "waste": 0.25, "waited_ms": 1.5, "ran_ms": 2.0,
}  # fmt: skip


def test_a_pass_shows_its_reason_fill_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "passes.jsonl"
    path.write_text(json.dumps(PASS) + "\n")
    result = CliRunner().invoke(explain_batches, [str(path)], catch_exceptions=False)
    cells = result.output.splitlines()[1].split()
    assert cells == ["5.0", "all", "3", "8", "24", "96", "25%", "25%", "1.5", "2.0", "sentiment:1=2", "intents:1=1"]


def test_a_line_that_is_no_pass_is_named(tmp_path: Path) -> None:
    path = tmp_path / "passes.jsonl"
    path.write_text(json.dumps(PASS) + "\n[1]\n")
    with pytest.raises(InvalidInput, match="line 2"):
        CliRunner().invoke(explain_batches, [str(path)], catch_exceptions=False)


@pytest.mark.parametrize(
    "models, named",
    [
        ({"tickets:2": 95, "mail:1": 5}, True),
        ({"tickets:2": 80, "mail:1": 20}, False),
        ({"tickets:2": 9}, False),
    ],
)
def test_the_model_that_has_the_graph_with_adapters_to_itself_is_named(
    models: dict[str, int], named: bool, tmp_path: Path
) -> None:
    """With what to type; neither plain passes nor another adapters' graph count to it, and few rows say nothing."""
    passes = [
        PASS | {"backbone": "sha256:b", "adapters": "sha256:a", "models": {model: rows}}
        for model, rows in models.items()
    ]
    passes += [PASS | {"backbone": "sha256:b", "adapters": "", "models": {"plain:1": 900}}]
    passes += [PASS | {"backbone": "sha256:b", "adapters": "sha256:c", "models": {"other:1": 60, "third:1": 60}}]
    path = tmp_path / "passes.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in passes))
    output = CliRunner().invoke(explain_batches, [str(path)], catch_exceptions=False).output
    hints = [line for line in output.splitlines() if "--merge-adapter" in line]
    assert len(hints) == named
    assert all("tickets:2 has 95% of the 100 rows" in line for line in hints)
