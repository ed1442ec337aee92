"""kill -9 in the middle of a pull: what was published stays whole, what was not leaves nothing, a rerun completes.

HEADSTOCK_KILLS sets how often (default 4).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.servable import load_backbone
from headstock.settings import Settings

KILLS = int(os.environ.get("HEADSTOCK_KILLS", "4"))

# Pulls once elsewhere so that the exporter is warm, then forks a child for every pull and kills it: at a random moment
# of a random step, late steps more often, for there is where things are written.
DRIVER = """
import json, os, random, signal, sys, time
import torch
from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.plugin_host import open_host
from headstock.settings import Settings
torch.set_num_threads(1)
source, kills, moments, warm = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3])), sys.argv[4]
with Catalogue.open(Settings.from_environment({**os.environ, "HEADSTOCK_HOME": warm})) as catalogue:
    pull(catalogue, open_host(), source, "tiny")
log = []
for attempt in range(kills + 1):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        code = 1
        try:
            with Catalogue.open() as catalogue:
                pull(catalogue, open_host(), source, "tiny", progress=lambda s: os.write(write, s.encode() + b"\\n"))
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    target = moments.choice(["fetching", "loading", "exporting", "storing", "storing", "publishing", "publishing"])
    steps = os.fdopen(read)
    reached = ""
    for line in steps:
        reached = line.strip()
        if attempt < kills and reached.startswith(target):
            time.sleep(moments.uniform(0, 0.4 if target == "exporting" else 0.02))
            os.kill(child, signal.SIGKILL)
            break
    _, status = os.waitpid(child, 0)
    steps.close()
    with Catalogue.open() as catalogue:
        report = catalogue.verify()
        log.append({
            "killed": os.WIFSIGNALED(status),
            "code": os.waitstatus_to_exitcode(status),
            "step": reached,
            "clean": report.clean,
            "problems": [str(p) for p in report.problems],
            "versions": len(catalogue.versions()),
        })
print(json.dumps(log))
"""


@pytest.mark.timeout(240 + 30 * KILLS)
def test_a_killed_pull_leaves_the_catalogue_clean_and_a_rerun_completes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    seed = os.environ.get("HEADSTOCK_KILL_SEED", "0")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, f"path:{tiny_checkpoint}", str(KILLS), seed, str(tmp_path / "warm")],
        env={**os.environ, "HEADSTOCK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=200 + 30 * KILLS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    log = json.loads(done.stdout.splitlines()[-1])
    assert [entry["problems"] for entry in log] == [[]] * (KILLS + 1)
    assert sum(entry["killed"] for entry in log[:-1]) >= KILLS // 2, log
    assert log[-1]["code"] == 0
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(home)})) as catalogue:
        version = catalogue.version(Reference("tiny"))
        assert version.number == 1
        load_backbone(catalogue, version.subject).require_shared()
        catalogue.gc()
        assert catalogue.verify().clean
        load_backbone(catalogue, version.subject)
    # What the dead left in the working folder is gone once the rerun is through.
    assert [p for p in (home / "cache" / "pull").rglob("*") if p.is_file()] == []
