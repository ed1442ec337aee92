"""`headstock serve` as a process: how it starts, what it prints, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from headstock.settings import Settings
from headstock_client import Client, ClientError, RetryPolicy, Unavailable
from headstock_server.app import ServeOptions
from headstock_server.engine import EngineOptions
from headstock_server.scheduler import SchedulerOptions


def command(settings: Settings, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a server of that catalogue."""
    environment = {**os.environ, "HEADSTOCK_HOME": str(settings.home), "HEADSTOCK_ACTOR": "tester"}
    return [sys.executable, "-m", "headstock_server", "--bind", "127.0.0.1:0", *arguments], environment


@contextmanager
def serving(settings: Settings, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address."""
    line, environment = command(settings, *arguments)
    process = subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path("/")
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("listening on 127.0.0.1:"), first
        yield process, first.removeprefix("listening on ").strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@dataclass
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


def run(settings: Settings, *arguments: str, stdin: str = "") -> Done:
    """`headstock ARGUMENTS` to its end, in this process: what it imports is imported once for all tests."""
    from headstock.cli.main import main

    out, err = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setenv("HEADSTOCK_HOME", str(settings.home))
        patch.setattr("sys.argv", ["headstock", *arguments])
        patch.setattr("sys.stdin", StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_stopped_server_answers_what_it_accepted_and_exits_0(toy_settings: Settings, number: int) -> None:
    """Under load: an accepted request is answered, a later one is told that the server is stopping."""
    failures: list[ClientError] = []
    answered = 0
    with serving(toy_settings) as (process, address):
        lock = threading.Lock()

        def ask() -> None:
            nonlocal answered
            with Client(address, retry=RetryPolicy(attempts=1)) as client:
                while True:
                    try:
                        client.infer("sentiment", {"text": ["great order"] * 8})
                    except ClientError as error:
                        failures.append(error)
                        return
                    with lock:
                        answered += 1

        callers = [threading.Thread(target=ask) for _ in range(3)]
        for caller in callers:
            caller.start()
        while answered < 20:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
        for caller in callers:
            caller.join()
    # Each caller ended because the server refused it or was gone; none lost an answer half way.
    assert len(failures) == 3
    assert all(isinstance(error, Unavailable) for error in failures), failures
    assert all(error.retriable for error in failures), failures


def test_the_named_models_and_no_others_are_served(toy_settings: Settings) -> None:
    """`--models`."""
    with serving(toy_settings, "--models", "sentiment") as (_, address), Client(address) as client:
        assert {m.name for m in client.models()} == {"sentiment"}
        with pytest.raises(ClientError, match="this server does not serve 'intents'"):
            client.classify("intents", ["great"])


def test_predict_asks_a_server_or_this_process_and_prints_the_same(toy_settings: Settings) -> None:
    """Table, JSON and names alone."""
    with serving(toy_settings) as (_, address):
        for format_ in ("table", "json", "quiet"):
            arguments = ["predict", "intents", "great order", "broken", "--format", format_]
            here, there = run(toy_settings, *arguments), run(toy_settings, *arguments, "--server", address)
            assert here.code == there.code == 0, here.stderr + there.stderr
            assert rounded(here.stdout) == rounded(there.stdout)
        vectors = run(toy_settings, "predict", "vectors", "great", "--format", "quiet", "--server", address)
        assert len(vectors.stdout.split()) == 4


def rounded(text: str) -> str:
    """Numbers to four digits: two processes may sum in another order."""
    import re

    return re.sub(r"-?\d\.\d+(e-?\d+)?", lambda m: f"{float(m[0]):.4f}", text)


def test_predict_reads_lines_from_standard_input(toy_settings: Settings) -> None:
    """One text a line; empty lines are no texts."""
    done = run(toy_settings, "predict", "sentiment", "-", "--format", "quiet", stdin="great\n\nbroken order\n")
    assert done.code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_options_reach_what_they_are_for(toy_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the units that the server keeps: seconds, bytes, names."""
    seen: list[ServeOptions] = []

    async def serve(settings: Settings, options: ServeOptions, announce: object) -> None:
        seen.append(options)

    monkeypatch.setattr("headstock_server.app.serve", serve)
    arguments = (
        "--max-queue-rows 5 --max-queue-tokens 600 --max-queue-seconds 0.5 --max-delay-ms 2.5 --patience-ms 250 "
        "--token-budget 96 --padding-waste 0.25 --max-pass-rows 7 --tenants acme,,globex --grace-seconds 3 "
        "--memory-budget 2M --response-cache 64K --pin a --pin b --models a,b --runners 2 --threads 3"
    )
    assert run(toy_settings, "serve", *arguments.split()).code == 0
    assert seen == [
        ServeOptions(
            models=("a", "b"),
            tenants=("acme", "globex"),
            grace=3.0,
            pins=("a", "b"),
            memory_budget=2 << 20,
            response_cache=64 << 10,
            engine=EngineOptions(
                threads=3, token_budget=96, padding_waste=0.25, max_rows=7, gpu_memory=2 << 20, **kept(toy_settings)
            ),
            scheduler=SchedulerOptions(
                runners=2, queue_rows=5, queue_tokens=600, queue_seconds=0.5, max_delay=0.0025, patience=0.25
            ),
        )
    ]


def test_without_options_the_defaults_are_those_of_the_settings(
    toy_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said twice, held together."""
    seen: list[ServeOptions] = []

    async def serve(settings: Settings, options: ServeOptions, announce: object) -> None:
        seen.append(options)

    monkeypatch.setattr("headstock_server.app.serve", serve)
    assert run(toy_settings, "serve").code == 0
    assert seen == [ServeOptions(engine=EngineOptions(**kept(toy_settings)))]


def kept(settings: Settings) -> dict[str, Any]:
    """Where a server keeps what it measured and built at a start for the next one."""
    return {"engine_cache": settings.cache / "tensorrt", "certificates": settings.cache / "certificates"}


@pytest.mark.parametrize(
    "option, value",
    [
        ("--max-queue-tokens", "0"),
        ("--max-queue-seconds", "0"),
        ("--max-queue-seconds", "nan"),
        ("--max-queue-seconds", "inf"),
        ("--max-delay-ms", "-1"),
        ("--max-delay-ms", "60001"),
        ("--patience-ms", "0"),
        ("--token-budget", "0"),
        ("--padding-waste", "0.95"),
        ("--padding-waste", "nan"),
        ("--max-pass-rows", "0"),
        ("--grace-seconds", "inf"),
        ("--memory-budget", "0"),
        ("--memory-budget", "many"),
    ],
)
def test_a_value_that_makes_no_sense_is_a_usage_error(toy_settings: Settings, option: str, value: str) -> None:
    done = run(toy_settings, "serve", option, value)
    assert done.code == 2, done.stderr
    assert option in done.stderr


def test_the_module_says_what_is_wrong_as_the_command_does(tmp_path: Path) -> None:
    line, environment = command(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path)}))
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: there is no catalogue yet\ntry:   headstock pull SOURCE --name NAME\n"


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["predict", "sentimant", "x"], 1, "did you mean 'sentiment'"),
        (["predict", "sentiment"], 2, "there is nothing to ask about"),
        (["predict", "toy", "x"], 1, "is a backbone and answers nothing by itself"),
        (
            ["predict", "sentiment", "x", "--server", "127.0.0.1:1", "--timeout", "1"],
            1,
            "127.0.0.1:1: UNAVAILABLE",
        ),
        (["serve", "--bind", "0.0.0.0:0"], 2, "can be reached from other machines"),
        (["serve", "--bind", "127.0.0.1:0", "--models", "nothing"], 1, "nothing"),
        (["serve", "--bind", "127.0.0.1:0", "--tenants", "caf\u00e9"], 2, "printable ASCII"),
    ],
    ids=["unknown model", "no text", "backbone", "no server", "public bind", "unknown models", "odd tenant"],
)
def test_mistakes_end_with_a_message_and_a_code(
    toy_settings: Settings, arguments: list[str], code: int, message: str
) -> None:
    """Two lines, no traceback."""
    done = run(toy_settings, *arguments)
    assert done.code == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
