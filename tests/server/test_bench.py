"""`headstock bench` loads a server of the Open Inference Protocol and says how it answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from headstock.errors import FailedPrecondition, InvalidInput, NotFound
from headstock.oip import open_inference_grpc_pb2 as oip
from headstock.settings import Settings
from headstock_server.app import Running, ServeOptions
from headstock_server.bench import load
from headstock_server.bench.arrivals import arrivals
from headstock_server.bench.command import bench
from headstock_server.bench.figures import Figures, Sample, figures
from headstock_server.bench.inputs import chosen, generated
from headstock_server.bench.mix import lengths, picks, shares
from headstock_server.bench.picture import Point, picture
from headstock_server.bench.recorded import recorded
from headstock_server.bench.search import highest_rate
from headstock_server.bench.stable import Window, is_stable
from headstock_server.scheduler import Ticket
from headstock_server.testing import background_server

SHORT = ("--duration", "0.2", "--warmup", "0.05", "--lengths", "4")


def run(*arguments: str) -> dict[str, Any]:
    """The object that `headstock bench --format json` prints."""
    result = CliRunner().invoke(bench, [*arguments, "--format", "json"], catch_exceptions=False)
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def metadata(platform: str, *inputs: tuple[str, str, Sequence[int]]) -> Any:
    """What a server says of a model `m`."""
    response = oip.ModelMetadataResponse(name="m", platform=platform)
    for name, datatype, shape in inputs:
        response.inputs.add(name=name, datatype=datatype, shape=shape)
    return response


TEXT = ("text", "BYTES", (-1,))
IDS = ("input_ids", "INT64", (-1, -1))
MASK = ("attention_mask", "INT64", (-1, -1))


# Arrivals


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert list(islice(arrivals(4.0, "constant", 0), 4)) == [0.0, 0.25, 0.5, 0.75]


def test_poisson_arrivals_repeat_with_their_seed_and_keep_the_rate() -> None:
    """4,000 exponential gaps: their mean is within 10 % of 1 / rate, and so is their deviation."""
    first = list(islice(arrivals(50.0, "poisson", 7), 4000))
    assert first == list(islice(arrivals(50.0, "poisson", 7), 4000))
    assert first != list(islice(arrivals(50.0, "poisson", 8), 4000))
    gaps = np.diff(first)
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(0.02, rel=0.1)
    assert gaps.std() == pytest.approx(0.02, rel=0.1)


def test_a_rate_must_be_above_zero() -> None:
    with pytest.raises(InvalidInput, match="rate"):
        arrivals(0.0, "constant", 0)


# The mix


def test_zipf_shares_fall_with_the_place() -> None:
    np.testing.assert_allclose(shares("zipf:1", 3), np.array([6, 3, 2]) / 11)
    np.testing.assert_allclose(shares("uniform", 4), [0.25] * 4)


@pytest.mark.parametrize("spec", ["zipf", "zipf:-1", "zipf:x", "zipf:nan", "uniform:2", "even"])
def test_another_mix_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInput, match="zipf:S"):
        shares(spec, 2)


def test_models_are_drawn_with_their_shares() -> None:
    drawn = np.bincount(list(islice(picks(shares("zipf:1", 3), 0), 6000))) / 6000
    np.testing.assert_allclose(drawn, np.array([6, 3, 2]) / 11, atol=0.03)


def test_lengths_are_a_number_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lengths.txt"
    path.write_text("3\n\n8\n")
    assert lengths("12") == [12]
    assert lengths(str(path)) == [3, 8]
    path.write_text("3\nmany\n")
    with pytest.raises(InvalidInput, match="line 2"):
        lengths(str(path))
    for wrong in ("0", "-4", "nothing.txt"):
        with pytest.raises(InvalidInput, match="--lengths"):
            lengths(wrong)


# Requests


def test_a_headstock_model_gets_its_raw_input_and_others_get_all() -> None:
    def names(platform: str, *asked: str) -> list[str]:
        return [tensor.name for tensor in chosen(metadata(platform, TEXT, IDS, MASK), asked)]

    assert names("headstock_onnxruntime") == ["text"]
    assert names("onnxruntime_onnx") == ["text", "input_ids", "attention_mask"]
    assert names("headstock_onnxruntime", "input_ids", "attention_mask") == ["input_ids", "attention_mask"]
    with pytest.raises(InvalidInput, match="'pixels'"):
        names("headstock_onnxruntime", "pixels")


def test_generated_text_has_the_lengths_asked_for() -> None:
    model = metadata("headstock_onnxruntime", TEXT)
    texts = [
        oip.ModelInferRequest.FromString(data).raw_input_contents[0][4:].decode()
        for data in generated(model, model.inputs, [2, 9], seed=1)
    ]
    assert {len(text.split()) for text in texts} == {2, 9}
    assert len(set(texts)) > 100


def test_generated_tensors_fit_the_shapes() -> None:
    """A free first axis is one row, another is the length, and those of a request agree."""
    model = metadata("other", IDS, MASK, ("image", "FP32", (-1, 3, 4)))
    model.inputs[2].name = "pixel_values"
    request = oip.ModelInferRequest.FromString(generated(model, model.inputs, [5], seed=1)[0])
    assert [list(i.shape) for i in request.inputs] == [[1, 5], [1, 5], [1, 3, 4]]
    assert [len(raw) for raw in request.raw_input_contents] == [40, 40, 48]
    assert np.frombuffer(request.raw_input_contents[1], "<i8").tolist() == [1] * 5


def test_large_tensors_make_fewer_requests() -> None:
    model = metadata("other", ("pixels", "FP32", (-1, 100)))
    assert len(generated(model, model.inputs, [1], seed=1, budget=2000)) < 10


def test_an_image_is_not_made_of_words() -> None:
    model = metadata("headstock_onnxruntime", ("image", "BYTES", (-1,)))
    with pytest.raises(InvalidInput, match="'image'") as raised:
        generated(model, model.inputs, [1], seed=1)
    assert "--input" in str(raised.value.fix)


def test_recorded_lines_become_rows(tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"text": "hi"}\n{"text": {"b64": "AAE="}, "input_ids": [[1, 2]]}\n')
    first, second = (
        oip.ModelInferRequest.FromString(data) for data in recorded(metadata("headstock", TEXT, IDS), path)
    )
    assert list(first.inputs[0].shape) == [1]
    assert first.raw_input_contents[0] == b"\x02\0\0\0hi"
    assert second.raw_input_contents[0] == b"\x02\0\0\0\0\1"
    assert list(second.inputs[1].shape) == [1, 2]


@pytest.mark.parametrize("line", ["[1]", '{"other": 1}', '{"text": 3}', '{"text": {"b64": "?"}}', "{"])
def test_a_recorded_line_that_does_not_fit_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"text": "hi"}\n' + line + "\n")
    with pytest.raises(InvalidInput, match="line 2"):
        recorded(metadata("headstock", TEXT), path)


# Figures


def test_an_open_loop_charges_for_the_wait_and_keeps_the_slowest() -> None:
    """A request counts from when it was due, though it was sent late and answered after the window."""
    samples = [
        Sample("m", 0.0, 0.0, 0.1, "OK"),
        Sample("m", 0.5, 1.5, 3.0, "OK"),
        Sample("m", 0.6, 0.6, 0.7, "INTERNAL"),
    ]
    by_due = figures(samples, 0.0, 1.0, 100.0, by_due=True)
    assert by_due.latency_ms["p100"] == pytest.approx(2500.0)
    assert (by_due.counted, by_due.errors, by_due.rate) == (3, {"INTERNAL": 1}, 1.0)
    by_end = figures(samples, 0.0, 1.0, 100.0, by_due=False)
    assert by_end.latency_ms["p100"] == pytest.approx(100.0)


def test_a_window_without_answers_has_no_latency() -> None:
    empty = figures([], 0.0, 1.0, 99.0, by_due=False)
    assert (empty.rate, empty.counted, empty.latency_ms["p99"], empty.late_ms) == (0.0, 0, None, None)


# Loops


async def test_what_was_due_but_not_sent_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load tool itself stalls for 50 ms, in which 1,000 requests a second were due."""
    monkeypatch.setattr(load, "GRACE", -1.0)
    stop = asyncio.Event()

    async def stall(request: bytes, timeout: float, metadata: object) -> None:
        time.sleep(0.05)
        stop.set()

    target = load.Target(stall, load.requests(["m"], [[b""]], picks(shares("uniform", 1), 0)), 1.0)
    await load.opened(lambda: arrivals(1000.0, "constant", 0))(target, stop)
    codes = [sample.code for sample in target.samples]
    assert codes.count("NOT_SENT") >= 40
    assert codes.count("OK") == len(codes) - codes.count("NOT_SENT") > 0


async def test_each_model_goes_round_its_own_requests() -> None:
    sequence = load.requests(["a", "b"], [[b"1", b"2"], [b"3"]], iter([0, 1, 0, 0]))
    assert [(r.model, r.message) for r in sequence] == [("a", b"1"), ("b", b"3"), ("a", b"2"), ("a", b"1")]


async def test_tenants_take_turns_whatever_the_model() -> None:
    def named(tenants: int) -> list[str]:
        sequence = load.requests(["a", "b"], [[b"1"], [b"2"]], iter([0, 0, 1, 0]), tenants)
        return [value for request in sequence for _, value in request.metadata]

    assert named(3) == ["tenant-0", "tenant-1", "tenant-2", "tenant-0"]
    assert named(0) == []


# Stability


@pytest.mark.parametrize(
    "windows, expected",
    [
        ([(100, 10), (105, 10.5)], False),
        ([(100, 10), (105, 10.5), (109, 10.9)], True),
        ([(100, 10), (105, 10.5), (111, 10)], False),
        ([(100, 10), (100, 11.2), (100, 10)], False),
        ([(1, 99), (100, 10), (100, 10), (100, 10)], True),
        ([(100, 10), (100, 10), (100, 10), (50, 10)], False),
        ([(100, 10), (0, None), (100, 10)], False),
    ],
)
def test_three_windows_in_a_row_must_agree(windows: list[tuple[float, float | None]], expected: bool) -> None:
    assert is_stable([Window(rate, latency) for rate, latency in windows]) is expected


# Search


@pytest.mark.parametrize("limit", [0.3, 16.0, 37.0, 5000.0])
def test_the_search_ends_within_its_tolerance_below_the_limit(limit: float) -> None:
    tried: list[float] = []

    def sustains(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    found = highest_rate(sustains, 16.0)
    assert found in tried
    assert found is not None
    assert limit / 1.05 <= found <= limit
    assert len(tried) == len(set(tried)) <= 20


def test_a_server_that_sustains_nothing_or_everything_ends_the_search() -> None:
    never: Callable[[float], bool] = lambda rate: False  # noqa: E731
    assert highest_rate(never, 16.0, trials=5) is None
    assert highest_rate(lambda rate: True, 1.0, trials=5) == 16.0


# The picture

SVG = "{http://www.w3.org/2000/svg}"


def point(size: float, p50: float | None, p99: float | None, *, failed: int = 0) -> Point:
    """One load with its latencies in milliseconds."""
    latency = {"p50": p50, "p99": p99, "mean": p50}
    return Point(size, Figures(1.0, size, 10, {"INTERNAL": failed} if failed else {}, latency, None))


def test_the_picture_has_a_curve_for_each_percentile_in_order_of_load() -> None:
    drawn = ElementTree.fromstring(picture("a & b", "callers", [point(8, 40, 90), point(1, 5, 9), point(4, 20, 45)]))
    assert "a & b" in [text.text for text in drawn.iter(f"{SVG}text")]
    for line in drawn.iter(f"{SVG}polyline"):
        places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
        assert places == sorted(places), "more load is further right"
        assert [y for _, y in places] == sorted((y for _, y in places), reverse=True), "slower is higher"
    names = [text.text for text in drawn.iter(f"{SVG}text") if text.text in ("p50", "p99", "mean")]
    assert names == ["p99", "p50"]
    assert len(list(drawn.iter(f"{SVG}circle"))) == 6


def test_the_picture_shows_what_failed_and_what_was_not_answered() -> None:
    """Errors make hollow points; where nothing was answered there is no point."""
    points = [point(1, 5, 9), point(2, 6, 11, failed=1), point(3, None, None, failed=10)]
    drawn = ElementTree.fromstring(picture("m", "requests a second", points, bound_ms=50))
    fills = [circle.attrib["fill"] for circle in drawn.iter(f"{SVG}circle")]
    assert len(fills) == 4
    assert fills.count("white") == 2
    assert [line.attrib["y1"] for line in drawn.iter(f"{SVG}line") if "stroke-dasharray" in line.attrib]


def test_a_picture_without_an_answer_is_empty_and_no_error() -> None:
    drawn = ElementTree.fromstring(picture("m", "callers", [point(1, None, None)]))
    assert list(drawn.iter(f"{SVG}circle")) == []


# The command, on a real server


def test_a_closed_loop_answers_every_request(toy_server: Running) -> None:
    record = run(toy_server.address, "--models", "sentiment,intents", "--concurrency", "3", *SHORT)
    assert set(record) == {
        "load", "seconds", "rate", "counted", "errors", "latency_ms", "late_ms", "stable", "windows", "requests",
        "models", "search",
    }  # fmt: skip
    assert record["load"] == {"loop": "closed", "concurrency": 3, "mix": "uniform", "tenants": None, "seed": 0}
    assert list(record["latency_ms"]) == ["p50", "p90", "p99", "mean"]
    assert record["errors"] == {}
    assert set(record["models"]) == {"sentiment", "intents"}
    assert sum(record["models"].values()) == record["requests"] >= record["counted"] > 0
    assert (record["stable"], len(record["windows"]), record["search"]) == (None, 1, None)


def test_an_open_loop_sends_its_schedule(toy_server: Running, tmp_path: Path) -> None:
    """The window of 0.2 s holds the 10 requests that were due in it, give or take the one at each edge."""
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"text": "where is my order"}\n{"text": "thanks"}\n')
    record = run(
        toy_server.address, "--models", "sentiment", "--rate", "50", "--arrivals", "constant", "--input", str(path),
        "--percentile", "75", *SHORT,
    )  # fmt: skip
    assert record["load"]["loop"] == "open"
    assert list(record["latency_ms"]) == ["p50", "p75", "p90", "p99", "mean"]
    assert record["requests"] >= record["counted"] > 0
    assert record["errors"] == {}


def test_errors_are_counted_by_code(toy_server: Running, tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"input_ids": [[1, 2, 3]]}\n')
    record = run(toy_server.address, "--models", "sentiment", "--concurrency", "1", "--input", str(path), *SHORT)
    assert record["errors"] == {"INVALID_ARGUMENT": record["counted"]}
    assert record["latency_ms"]["p99"] is None


def test_stable_measures_no_more_windows_than_allowed(toy_server: Running) -> None:
    record = run(
        toy_server.address, "--models", "sentiment", "--concurrency", "1", "--stable", "--max-windows", "4",
        "--duration", "0.05", "--warmup", "0", "--inputs", "input_ids,attention_mask",
    )  # fmt: skip
    windows = [Window(window["rate"], window["latency_ms"]) for window in record["windows"]]
    assert 3 <= len(windows) <= 4
    # It stopped because the rule held, or because that was the last window; what it says of itself is the rule's word.
    assert record["stable"] is is_stable(windows)
    assert record["stable"] or len(windows) == 4


def test_find_rate_reports_a_rate_that_was_run(toy_server: Running) -> None:
    """Every trial is written down, and the figures are those of the best one."""
    arguments = ("--models", "sentiment", "--find-rate", "--rate", "2000", "--duration", "0.1", "--warmup", "0.05")
    record = run(toy_server.address, *arguments, "--bound-ms", "200", "--arrivals", "constant", "--timeout", "2")
    trials = record["search"]["trials"]
    assert record["search"]["rate"] in [trial["rate"] for trial in trials if trial["sustained"]]
    assert record["load"]["rate"] == record["search"]["rate"]


def test_a_bound_that_cannot_be_met_is_an_error(toy_server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstock_server.bench.search.highest_rate.__kwdefaults__", {"tolerance": 0.05, "trials": 2})
    arguments = [toy_server.address, "--models", "sentiment", "--find-rate", "--bound-ms", "0.000001", *SHORT]
    with pytest.raises(FailedPrecondition, match="no rate"):
        CliRunner().invoke(bench, arguments, catch_exceptions=False)


def test_several_loads_are_measured_in_turn_and_drawn(toy_server: Running, tmp_path: Path) -> None:
    path = tmp_path / "latency.svg"
    arguments = [toy_server.address, "--models", "sentiment", "--concurrency", "1,3", "--picture", str(path), *SHORT]
    result = CliRunner().invoke(bench, [*arguments, "--format", "json"], catch_exceptions=False)
    records = json.loads(result.stdout)
    assert [record["load"]["concurrency"] for record in records] == [1, 3]
    assert all(record["counted"] > 0 and not record["errors"] for record in records)
    circles = list(ElementTree.parse(path).iter(f"{SVG}circle"))
    assert len(circles) == 2 * len(["p50", "p90", "p99"])
    table = CliRunner().invoke(bench, arguments, catch_exceptions=False).stdout.splitlines()
    assert [line.split("  ")[0] for line in table] == ["load", "closed, 1 callers", "closed, 3 callers"]


def test_tenants_reach_the_server(toy_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name is a share of the server's own, in equal parts."""
    seen: list[str] = []
    with background_server(toy_settings, ServeOptions(bind="127.0.0.1:0", tenants=("*",))) as server:
        submit = server.scheduler.submit

        def note(ticket: Ticket, **options: Any) -> bool:
            seen.append(ticket.tenant)
            return submit(ticket, **options)

        monkeypatch.setattr(server.scheduler, "submit", note)
        run(server.address, "--models", "sentiment", "--concurrency", "2", "--tenants", "3", *SHORT)
    counts = Counter(seen)
    assert set(counts) == {f"tenant-{i}" for i in range(3)}
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize("loads", ["0", "1,x", "2,2", "", "1.5"])
def test_loads_are_different_numbers_above_zero(loads: str) -> None:
    result = CliRunner().invoke(bench, ["127.0.0.1:1", "--models", "m", "--concurrency", loads])
    assert result.exit_code == 2
    assert "whole numbers above 0" in result.output


def test_the_table_shows_the_same_figures(toy_server: Running) -> None:
    arguments = [toy_server.address, "--models", "sentiment", "--concurrency", "1", *SHORT]
    result = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    first = [line.split("  ")[0] for line in result.output.splitlines()]
    assert first == [
        "what", "load", "answers/s", "p50 ms", "p90 ms", "p99 ms", "mean ms", "errors", "counted", "sent late p99 ms",
    ]  # fmt: skip


def test_a_model_that_is_not_there_is_named(toy_server: Running) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        run(toy_server.address, "--models", "nothing", "--concurrency", "1")


@pytest.mark.parametrize(
    "options",
    [(), ("--rate", "1", "--concurrency", "1"), ("--find-rate",), ("--bound-ms", "5"),
     ("--find-rate", "--bound-ms", "5", "--rate", "1,2"),
     ("--find-rate", "--bound-ms", "5", "--concurrency", "1")],
)  # fmt: skip
def test_one_kind_of_load_is_asked_for(options: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="--"):
        run("127.0.0.1:1", "--models", "m", *options)
