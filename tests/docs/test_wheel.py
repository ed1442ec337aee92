"""What is released, not the checkout, is what users install: it must hold every package and the files they read."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive of this checkout and the wheel built from it, with this environment's tools."""
    out = tmp_path_factory.mktemp("released")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(released: Path) -> Path:
    """The wheel."""
    (built,) = released.glob("*.whl")
    return built


def test_the_source_archive_holds_every_file_of_the_checkout(
    released: Path,
) -> None:
    """Who builds from the archive has every verb of the Makefile: tests, scripts, benchmarks, protos and pages."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    (archive,) = released.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    missing = {name for name in kept if name} - held
    assert {name for name in missing if not name.startswith(".")} == set()


def test_wheel_holds_manifests_migrations_and_typing_markers(wheel: Path) -> None:
    """Files that are read at run time travel with the code."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "headstock_text/headstock.toml",
        "headstock_server/headstock.toml",
        "headstock/py.typed",
        "headstock_client/py.typed",
        "headstock/catalogue/migrations/env.py",
        "headstock/catalogue/migrations/versions/rev_0001.py",
        "headstock/oip/open_inference_grpc_pb2.py",
    ):
        assert needed in names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "zoo/"))]


def test_installed_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, with the checkout out of reach, the command line lists its plugins and an empty zoo."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "HEADSTOCK_HOME": str(tmp_path / "home")}
    program = (
        "import headstock, sys; assert headstock.__file__.startswith(sys.argv.pop(1));"
        "from headstock.catalogue import Catalogue; Catalogue.open().close();"
        "from headstock.cli.main import main; main()"
    )
    cases = ((["plugins"], "headstock-text"), (["list", "--format", "json"], "[]"), (["verify"], "clean"))
    for arguments, expected in cases:
        result = subprocess.run(
            [sys.executable, "-c", program, str(site), *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout
