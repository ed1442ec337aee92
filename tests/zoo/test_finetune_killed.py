"""Runs are killed at random moments, and end with the digests of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.records import ModelIdentity, Version
from headstock.settings import Settings

KILLS = int(os.environ.get("HEADSTOCK_KILLS", "3"))
"""How often the run is killed, at least once before the first epoch, between epochs, and after the last one, when the
new backbone is exported, certified and published; twenty for a full check."""
BEFORE, BETWEEN, AFTER = "before the first epoch", "between epochs", "after the last epoch"


MAIN = (sys.executable, "-c", "from headstock.cli.main import main; main()")
HEAD = ("--backbone", "tiny", "--head", "text-classification")


def gradual(folder: Path, name: str) -> list[str]:
    return [
        *MAIN, "fine-tune", *HEAD, "--data", str(folder / "rows.csv"), "--name", name, "--strategy", "gradual",
        "--epochs", "8", "--backbone-epochs", "20", "--patience", "0", "--batch-size", "4", "--backbone-lr", "1e-2",
        "--verbose", "--report", "none",
    ]  # fmt: skip


def adaptation(folder: Path, name: str) -> list[str]:
    """Six runs of twenty epochs, told as 120."""
    return [
        *MAIN, "adapt", *HEAD, "--data", str(folder / "rows.csv"), "--target", str(folder / "target.csv"), "--name",
        name, "--methods", "coral,dann", "--seeds", "2", "--epochs", "20", "--batch-size", "4", "--verbose",
    ]  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after the run has said that it is done with that epoch; 0 is its start."""

    stage: str
    epoch: int
    pause: float


def start(arguments: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def timeline(arguments: Sequence[str], environment: dict[str, str]) -> list[float]:
    """Seconds from the start to each epoch's end, and to the end of an undisturbed run; the first is 0."""
    began, seconds = time.monotonic(), [0.0]
    with start(arguments, environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch "):
                seconds.append(time.monotonic() - began)
    assert process.returncode == 0
    return [*seconds, time.monotonic() - began]


def moments(seconds: Sequence[float], kills: int, dice: random.Random) -> list[Moment]:
    """`kills` random moments of a run with this timeline, in order: a quarter of them, and at least one, before the
    first epoch ends, as many after the last one, the rest evenly between, each in a stretch of its own."""
    epochs = len(seconds) - 2
    outer = max(1, kills // 4)
    found = [Moment(BEFORE, 0, dice.uniform(0, seconds[1])) for _ in range(outer)]
    inner = max(0, kills - 2 * outer)
    for place in range(inner):
        epoch = 1 + int((place + dice.random()) * (epochs - 1) / inner)
        found.append(Moment(BETWEEN, epoch, dice.uniform(0, seconds[epoch + 1] - seconds[epoch])))
    last = seconds[-1] - seconds[-2]
    return found + [Moment(AFTER, epochs, dice.uniform(0, last)) for _ in range(outer)]


def killed_at(arguments: Sequence[str], environment: dict[str, str], moment: Moment) -> tuple[str, bool]:
    """Run until `moment`, or until a later epoch where that one is done already, and kill -9.

    Returns what was said and False where the run was quicker than the undisturbed one and ended by itself.
    """
    seen: list[str] = []
    with start(arguments, environment) as process:
        assert process.stderr is not None
        while moment.epoch and (line := process.stderr.readline()):
            seen.append(line)
            words = line.split()
            if words[0] == "epoch" and int(words[1].rstrip(":")) >= moment.epoch:
                break
            # All epochs may be done already: then nothing but the admission is left to be said.
            if "resuming run" in line and int(words[words.index("epoch") + 1]) >= moment.epoch:
                break
        try:
            process.wait(moment.pause)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        seen.append(process.stderr.read())
    assert process.returncode in (0, -signal.SIGKILL), "".join(seen)
    return "".join(seen), process.returncode != 0


def test_moments_cover_the_whole_run_and_differ() -> None:
    seconds = [0.0, 5.0, *(5 + 0.1 * n for n in range(1, 40)), 12.0]
    for kills in (3, 20):
        found = moments(seconds, kills, random.Random(1))
        assert len(found) == kills
        assert {moment.stage for moment in found} == {BEFORE, BETWEEN, AFTER}
        assert [moment.epoch for moment in found] == sorted(moment.epoch for moment in found)
        assert len({(moment.epoch, moment.pause) for moment in found}) == kills
    between = [moment.epoch for moment in moments(seconds, 20, random.Random(1)) if moment.stage == BETWEEN]
    assert max(between) - min(between) > 25


def endured(
    command: Callable[[Path, str], list[str]], folder: Path, environment: dict[str, str], stages: Sequence[str]
) -> tuple[Version, Version]:
    """What an undisturbed run made, and what one made that was killed in these stages, again and again."""
    kinds = ("good", "bad", "odd")
    rows = [f"{kind} words {n},{kind}" for n in range(12) for kind in kinds]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows, ""]))
    (folder / "target.csv").write_text("\n".join(["text", *(f"so {row.partition(',')[0]}" for row in rows), ""]))
    seconds = timeline(command(folder, "calm"), environment)
    with Catalogue.open(Settings.from_environment(environment)) as catalogue:
        calm = catalogue.version(Reference("calm"))
        learned = False
        planned = [moment for moment in moments(seconds, KILLS, random.Random(13)) if moment.stage in stages]
        for number, moment in enumerate(planned):
            name = f"killed-{number}"
            said, was_killed = killed_at(command(folder, name), environment, moment)
            assert not catalogue.verify().problems
            assert not learned or "resuming run" in said
            # Whatever was published is whole: the run was quicker than the undisturbed one, and the next begins anew.
            assert all(version.subject == calm.subject for version in catalogue.versions(name))
            assert was_killed or catalogue.versions(name)
            learned = bool(moment.epoch) and not catalogue.versions(name)
        end = command(folder, "killed")
        finished = subprocess.run(end, env=environment, check=True, capture_output=True, text=True)
        assert not learned or "resuming run" in finished.stderr
        assert not catalogue.verify().problems
        return calm, catalogue.version(Reference("killed"))


@pytest.fixture
def environment(tiny_home: Path) -> dict[str, str]:
    return {**os.environ, "HEADSTOCK_HOME": str(tiny_home), "OMP_NUM_THREADS": "1"}


@pytest.mark.timeout(300 + 120 * KILLS)
def test_kill_9_at_random_moments_of_a_gradual_run(environment: dict[str, str], tmp_path: Path) -> None:
    calm, killed = endured(gradual, tmp_path, environment, (BEFORE, BETWEEN, AFTER))
    assert killed.subject == calm.subject
    with Catalogue.open(Settings.from_environment(environment)) as catalogue:
        tuned = ModelIdentity.from_json(catalogue.artefact(killed.subject).identity).backbone
        assert tuned != catalogue.version(Reference("tiny")).subject


@pytest.mark.timeout(300 + 120 * KILLS)
def test_kill_9_at_random_moments_of_an_adaptation(environment: dict[str, str], tmp_path: Path) -> None:
    """Of several runs, each with a checkpoint of its own."""
    calm, killed = endured(adaptation, tmp_path, environment, (BETWEEN,))
    assert killed.subject == calm.subject
    # All of it but the time that it took: the checkpoints of every method gave back what was judged.
    assert killed.details == calm.details
    assert not list((Path(environment["HEADSTOCK_HOME"]) / "runs").iterdir())
