"""The memory estimate against what a real backbone takes, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.settings import Settings
from headstock.testing.toy import ToyHead, publish_model, publish_toy

MEASURE = """
import gc, json, psutil
from headstock.catalogue import Catalogue
from headstock.names import Reference
from headstock.servable import load_model
from headstock.settings import Settings
from headstock_server.engine import Engine

def resident():
    gc.collect()
    return psutil.Process().memory_info().rss

engine, text = Engine(), [b"a " * 254]
with Catalogue.open(Settings.from_environment()) as catalogue:
    toy, real = (load_model(catalogue, catalogue.version(Reference(name))) for name in ("sentiment", "real"))

def load(servable):
    model = engine.load(servable)
    backbone = model.backbone
    backbone.infer(backbone.collate(backbone.preprocessor.rows(text)), ["mean"])
    return model

# What every process pays once: the runtime, the tokenizer library, a small session.
small = load(toy)
before, counted = resident(), engine.memory.report().size
large = load(real)
print(json.dumps([resident() - before, engine.memory.report().size - counted]))
"""


def test_a_real_backbone_takes_about_what_the_budget_counts_for_it(minilm_home: Path, tmp_path: Path) -> None:
    """Session, tokenizer and the memory of its passes, profiled as `serve` does; the file itself is 0.65 of it."""
    home = tmp_path / "home"
    shutil.copytree(minilm_home, home)
    environment = {**os.environ, "HEADSTOCK_HOME": str(home)}
    with Catalogue.open(Settings.from_environment(environment)) as catalogue:
        publish_toy(catalogue, ["sentiment"])
        publish_model(catalogue, "real", catalogue.version(Reference("minilm")), ToyHead(seed=1))
    done = subprocess.run([sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True, check=True)
    taken, counted = json.loads(done.stdout)
    assert 0.8 * taken <= counted <= 1.3 * taken
