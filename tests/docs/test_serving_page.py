"""The page about serving names every option of `serve` with its default, and quotes what the server writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest

from headstock.cli.fine_tune import command as fine_tune
from headstock.cli.variant import command as variant
from headstock.errors import Exhausted
from headstock_server.bench.command import bench
from headstock_server.bench.explain import COLUMNS
from headstock_server.cli import serve
from headstock_server.scheduler import LaneKey, Reason, Scheduler
from headstock_server.scheduler.statistics import PassRecord
from headstock_server.scheduler.trace import as_json

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(--[a-z-]+)[^`]*` \| ([^|]+) \|", PAGE, re.MULTILINE))
OPTIONS = {option.opts[0]: option for option in serve.params if isinstance(option, click.Option)}


def test_the_tables_name_every_option_once_and_no_other() -> None:
    assert set(ROWS) == set(OPTIONS)
    assert len(re.findall(r"^\| `--", PAGE, re.MULTILINE)) == len(OPTIONS)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_the_default_in_the_table_is_the_options_own(name: str) -> None:
    default, said = OPTIONS[name].default, ROWS[name].strip()
    off = default in ("", 0) and said == "off"
    if off or isinstance(default, bool) or not isinstance(default, int | float | str):
        assert said in ("off", "none", "all", "measured", "no limit")
    elif isinstance(default, str):
        assert said == f"`{default}`"
    else:
        assert float(said.strip("`")) == default


def test_other_options_on_the_page_exist() -> None:
    known = {
        name for command in (serve, bench, fine_tune, variant) for option in command.params for name in option.opts
    }
    assert set(re.findall(r"`?(--[a-z][a-z-]+)", PAGE)) <= known


def test_every_reason_of_a_pass_is_explained() -> None:
    for reason in Reason:
        assert f"| `{reason.value}` |" in PAGE


def test_the_quoted_table_has_the_columns_of_explain_batches() -> None:
    assert "  ".join(COLUMNS[:2]) in re.sub(r" {2,}", "  ", PAGE)
    header = next(line for line in PAGE.splitlines() if line.startswith("at ms"))
    assert re.split(r" {2,}", header) == list(COLUMNS)


def test_the_quoted_line_has_the_keys_of_the_batch_trace() -> None:
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    quoted: dict[str, Any] = json.loads(block[1])
    lane = LaneKey("sha256:0", "fp32", "cpu")
    record = PassRecord(lane, {"": 1}, 0, Reason.ALL, {("m", 1): 1}, 1, 1, 1, 1, 0, 1, False)
    assert quoted.keys() <= as_json(record).keys()
    assert {"reason", "models", "tenants", "adapters", "waste", "waited_ms"} <= quoted.keys()


def test_the_quoted_refusal_is_the_schedulers() -> None:
    scheduler = Scheduler(lambda tickets: None)
    scheduler._rows, scheduler._tokens, scheduler._recorder.waiting_ns = 199, 12338, 20.11e9
    with pytest.raises(Exhausted) as caught:
        scheduler.check_room(1)
    assert f"RESOURCE_EXHAUSTED: {caught.value}" in " ".join(PAGE.split())
