"""A plugin by someone else, from its own project: built, installed beside the built wheel, used, and uninstalled."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headstock.testing.environments import Environment, make_environment
from headstock_client import Client

ROOT = Path(__file__).parents[2]
ACME = Path(__file__).parent / "acme"
TICKETS = ROOT / "examples" / "tickets.csv"
TEXTS = ["I was charged twice, please refund one of them", "the app crashes when I search", "wehre is my parcle??"]


@dataclass
class Installation:
    """An environment with the two wheels, and a zoo made with them."""

    environment: Environment
    home: Path

    def headstock(self, *arguments: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        """The command line of the installed wheel."""
        done = self.environment.run("headstock", *arguments, cwd=self.home, variables=self.variables)
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
        return done

    def listed(self, command: str) -> set[str]:
        """Names that a listing has."""
        return set(self.headstock(command, "--format", "quiet").stdout.split())

    @property
    def variables(self) -> dict[str, str]:
        return {"HEADSTOCK_HOME": str(self.home), "OMP_NUM_THREADS": "1", "HEADSTOCK_ACTOR": "tester"}

    @contextmanager
    def serving(self) -> Iterator[Client]:
        """A client of `headstock serve`, which must end with code 0."""
        process = subprocess.Popen(
            [self.environment.bin / "headstock", "serve", "--bind", "127.0.0.1:0"],
            cwd=self.home, env=self.environment.variables(self.variables), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if not first.startswith("listening on "):
                process.kill()
                pytest.fail(f"the server did not start: {first}{process.communicate()[1]}")
            with Client(first.removeprefix("listening on ").strip(), deadline=30.0) as client:
                yield client
            process.terminate()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.communicate()


def build(project: Path, out: Path) -> Path:
    """The wheel of a project, built without network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Both wheels in an environment that does not see this checkout; a backbone, pretrained, pulled; two models."""
    folder = tmp_path_factory.mktemp("acme")
    environment = make_environment(folder / "environment", editable=False)
    environment.install(build(ROOT, folder / "headstock"), build(ACME, folder / "acme"))
    where = environment.run("python", "-c", "import headstock; print(headstock.__file__)", cwd=folder).stdout
    assert where.startswith(str(folder)), f"the built wheel must be what is tested, not {where}"
    home = folder / "home"
    home.mkdir()
    with TICKETS.open(newline="") as file:
        (home / "texts.txt").write_text("\n".join(row["text"] for row in csv.DictReader(file)))
    made = Installation(environment, home)
    learned = environment.run(
        "python", "-m", "headstock_acme.pretrain", "texts.txt", "acme-base", cwd=home, variables=made.variables
    )
    assert learned.returncode == 0, learned.stderr
    made.headstock("pull", "path:acme-base", "--name", "acme-base")
    for name, head in (("routing", "acme-hinge"), ("tickets", "text-classification")):
        made.headstock("fine-tune", "--backbone", "acme-base", "--head", head, "--data", str(TICKETS), "--name", name)
    return made


def test_the_plugin_is_listed_with_what_it_offers(installation: Installation) -> None:
    """From its manifest, beside the first-party ones."""
    plugins = json.loads(installation.headstock("plugins", "--format", "json").stdout)
    acme = next(p for p in plugins if p["name"] == "headstock-acme")
    assert (acme["state"], acme["distribution"], acme["version"]) == ("OK", "headstock-acme", "1.2.0")
    assert "acme-ngram" in installation.listed("families")
    assert {"acme-hinge", "text-classification"} <= installation.listed("heads")


def test_the_wheel_can_begin_a_project(installation: Installation) -> None:
    """The templates travel in it; a name that the plugin has is taken."""
    installation.headstock("plugins", "new", "other", "--family", "--modality", "tabular", "--directory", "other")
    assert "[[families]]" in (installation.home / "other" / "headstock_other" / "headstock.toml").read_text()
    taken = installation.headstock("plugins", "new", "acme-hinge", "--head", succeeds=False)
    assert "belongs to plugin 'headstock-acme' (distribution headstock-acme 1.2.0)" in taken.stderr


def test_the_contract_kit_holds_for_it(installation: Installation) -> None:
    """By the name of its distribution or its package; every promise of its family and its head."""
    checked = installation.headstock("plugins", "check", "headstock_acme", "--format", "json")
    (report,) = json.loads(checked.stdout)
    assert [c for c in report["checks"] if not c["passed"]] == []
    subjects = {c["subject"] for c in report["checks"]}
    assert subjects == {"plugin", "family acme-ngram", "head acme-hinge"}


def test_its_backbone_has_lineage_and_may_share_batches(installation: Installation) -> None:
    """Pulled like any other: who built it, under which licence, and certified."""
    shown = installation.headstock("show", "acme-base").stdout
    assert "built_by_plugin plugin headstock-acme" in shown
    assert "MIT" in shown.partition("Licence")[2].partition("Lineage")[0]
    assert "may share batches" in shown
    assert installation.listed("list") == {"acme-base:1", "routing:1", "tickets:1"}


def test_its_features_are_worth_something(installation: Installation) -> None:
    """Both heads are better than always answering the most frequent class, beyond their confidence intervals."""
    for name in ("routing", "tickets"):
        (shown,) = json.loads(installation.headstock("show", name, "--format", "json").stdout)
        metric, majority = shown["details"]["metrics"][0], shown["details"]["majority"]["accuracy"]
        assert metric["low"] > majority, (name, metric, majority)


def test_its_models_outlive_it(installation: Installation) -> None:
    """Uninstalled: listed and served as before, to the last bit; training with its head says what to install."""
    with installation.serving() as client:
        before = {name: client.classify(name, TEXTS) for name in ("routing", "tickets")}
        assert len(client.backbone_statistics()) == 1, "both heads stand on one backbone"
    installation.environment.uninstall("headstock-acme")

    assert "acme-hinge" not in installation.listed("heads")
    assert installation.listed("list") == {"acme-base:1", "routing:1", "tickets:1"}
    installation.headstock("verify")
    with installation.serving() as client:
        after = {name: client.classify(name, TEXTS) for name in before}
    assert after == before

    grow = ("fine-tune", "--backbone", "acme-base", "--data", str(TICKETS), "--name", "later", "--head")
    refused = installation.headstock(*grow, "acme-hinge", succeeds=False)
    assert "head 'acme-hinge' was offered by distribution headstock-acme 1.2.0" in refused.stderr
    assert "pip install headstock-acme==1.2.0" in refused.stderr
    # Frozen features need the exported graph alone, so another head can still be grown on the backbone.
    installation.headstock(*grow, "text-classification")
