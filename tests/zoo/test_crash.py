"""kill -9 in the middle of anything: what was acknowledged is there, what was not is there whole or not at all."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from headstock.catalogue import Catalogue
from headstock.records import ModelIdentity
from headstock.settings import Settings

KILLS = 15

# Publishes, promotes, removes and collects in a loop, and says each thing only after the catalogue has returned.
WRITER = """
import itertools, sys
from headstock.catalogue import Catalogue
from headstock.settings import Settings
from headstock.testing.publications import backbone_publication, model_publication

def say(*words):
    print(*words, flush=True)

with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": sys.argv[1]})) as catalogue:
    say("open")
    for step in itertools.count():
        seed = int(sys.argv[2]) * 100_000 + step
        with catalogue.writing("crash test"):
            backbone = catalogue.publish(backbone_publication(catalogue.store, "backbone", seed=seed))
            say("version", backbone, backbone.subject)
            model = catalogue.publish(model_publication(catalogue.store, "model", backbone.subject, seed=seed))
            say("version", model, model.subject)
        change = catalogue.promote("model", model.number)
        say("alias", change.number)
        if step % 3 == 2:
            stray = catalogue.publish(backbone_publication(catalogue.store, "scratch", seed=seed + 50_000))
            catalogue.remove("scratch", stray.number)
            catalogue.gc()
"""


def test_nothing_acknowledged_is_lost_and_verify_is_clean(tmp_path: Path) -> None:
    settings = Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path)})
    chance = random.Random(20261123)
    acknowledged: dict[str, str] = {}
    promoted = 0
    for round_ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(round_)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n", "a crash never keeps the next one from opening"
        lines = [process.stdout.readline() for _ in range(chance.randint(0, 9))]
        time.sleep(chance.uniform(0.0, 0.03))
        process.kill()
        rest, _ = process.communicate()
        for line in [*lines, *rest.splitlines()]:
            match line.split():
                case ["version", name, digest]:
                    acknowledged[name] = digest
                case ["alias", number]:
                    promoted = int(number)

        with Catalogue.open(settings) as catalogue:
            report = catalogue.verify()
            assert report.clean, report.problems
            versions = {str(v): v.subject for v in catalogue.versions()}
            assert acknowledged.items() <= versions.items()
            # One promotion may have been committed and killed before it was told.
            assert catalogue.aliases("model").get("production", 0) in (
                promoted,
                *_numbers_above(catalogue, promoted),
            )

    assert len(acknowledged) > KILLS, "the writer got something done between the kills"
    with Catalogue.open(settings) as catalogue:
        for version in catalogue.versions(kind="model"):
            identity = ModelIdentity.from_json(catalogue.artefact(version.subject).identity)
            assert catalogue.artefact(identity.backbone).files["graph"]
        catalogue.verify(repair=True)
        report = catalogue.verify()
        assert (report.clean, report.temporaries) == (True, 0)


def _numbers_above(catalogue: Catalogue, number: int) -> list[int]:
    return [v.number for v in catalogue.versions("model") if v.number > number]
