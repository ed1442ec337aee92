"""A run that lets the backbone learn is killed at random moments, and ends with the digests of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.records import ModelIdentity
from headstock.settings import Settings

KILLS = int(os.environ.get("HEADSTOCK_KILLS", "2"))
"""How often the run is killed; twenty for a full check."""


def command(data: Path, name: str) -> list[str]:
    return [
        sys.executable, "-c", "from headstock.cli.main import main; main()", "fine-tune", "--backbone", "tiny",
        "--head", "text-classification", "--data", str(data), "--name", name, "--strategy", "gradual", "--epochs", "20",
        "--backbone-epochs", "30", "--patience", "0", "--batch-size", "4", "--backbone-lr", "1e-2", "--verbose",
        "--report", "none",
    ]  # fmt: skip


def killed_after(arguments: list[str], environment: dict[str, str], epochs: int, pause: float) -> str:
    """Run until so many epochs were reported and `pause` seconds more, then kill -9; returns what was said."""
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if sum(said.startswith("epoch ") for said in seen) >= epochs:
            break
    try:
        process.wait(pause)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "".join(seen)
    return "".join(seen)


def test_kill_9_at_random_moments_of_a_gradual_run(tiny_home: Path, tmp_path: Path) -> None:
    kinds = ("good", "bad", "odd")
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "".join(f"{kind} words {n},{kind}\n" for n in range(12) for kind in kinds))
    environment = {**os.environ, "HEADSTOCK_HOME": str(tiny_home), "OMP_NUM_THREADS": "1"}
    subprocess.run(command(data, "calm"), env=environment, check=True, capture_output=True)
    dice = random.Random(13)
    settings = Settings.from_environment(environment)
    with Catalogue.open(settings) as catalogue:
        for kill in range(KILLS):
            said = killed_after(
                command(data, "killed"), environment, dice.randrange(1, max(2, 40 // KILLS)), dice.random() * 0.03
            )
            assert catalogue.versions("killed") == []
            assert not catalogue.verify().problems
            assert kill == 0 or "resuming run" in said
        finished = subprocess.run(command(data, "killed"), env=environment, check=True, capture_output=True, text=True)
        assert "resuming run" in finished.stderr
        calm, killed = (catalogue.version(Reference(name)) for name in ("calm", "killed"))
        assert killed.subject == calm.subject
        tuned = ModelIdentity.from_json(catalogue.artefact(killed.subject).identity).backbone
        assert tuned != catalogue.version(Reference("tiny")).subject
        assert not catalogue.verify().problems
