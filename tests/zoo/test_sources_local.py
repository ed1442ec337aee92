"""`path:` and `package:` sources."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from headstock.digest import digest_file
from headstock.errors import HeadstockError, InvalidInput, NotFound
from headstock.sources import fetch
from headstock.sources.fetched import documents_under


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "private" / "my-bert"))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def package(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that carries the checkpoint and must not be imported."""
    site = tmp_path / "site"
    (site / "acme_bert").mkdir(parents=True)
    (site / "acme_bert" / "__init__.py").write_text("raise AssertionError('imported')\n")
    shutil.copytree(checkpoint, site / "acme_bert" / "data" / "model")
    info = site / "acme_bert-2.1.dist-info"
    (info / "licenses").mkdir(parents=True)
    metadata = "Metadata-Version: 2.4\nName: acme-bert\nVersion: 2.1\nLicense-Expression: BSD-3-Clause\n"
    (info / "METADATA").write_text(metadata)
    (info / "top_level.txt").write_text("acme_bert\n")
    (info / "licenses" / "LICENSE").write_text("All rights reserved. Ask us first.")
    (info / "RECORD").write_text("acme_bert/__init__.py,,\nacme_bert-2.1.dist-info/licenses/LICENSE,,\n")
    monkeypatch.syspath_prepend(str(site))
    return site / "acme_bert"


def test_a_directory_is_copied_and_hashed(checkpoint: Path, workdir: Path) -> None:
    fetched = fetch(f"path:{checkpoint}", workdir)
    assert fetched.digests == {p.name: digest_file(p) for p in checkpoint.iterdir()}
    (checkpoint / "model.safetensors").write_bytes(b"changed later")
    assert digest_file(workdir / "model.safetensors") == fetched.digests["model.safetensors"]


def test_nothing_that_is_kept_says_where_the_directory_lay(
    checkpoint: Path, workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint)
    fetched = fetch("path:.", workdir)
    assert fetched.label == "path:my-bert"
    kept = repr((fetched.label, fetched.commit, fetched.digests, fetched.statements, fetched.files.spec))
    assert "private" not in kept
    assert str(tmp_path) not in kept


def test_only_checkpoint_files_are_taken(checkpoint: Path, workdir: Path) -> None:
    (checkpoint / "train.py").write_text("import os")
    (checkpoint / "optimizer.pt").write_bytes(b"x")
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling" / "config.json").write_text("{}")
    names = set(fetch(f"path:{checkpoint}", workdir).digests)
    assert "1_Pooling/config.json" in names
    assert not names & {"train.py", "optimizer.pt"}


@pytest.mark.parametrize(
    "source, error, said",
    [
        ("path:/nowhere/at/all", NotFound, "'/nowhere/at/all' does not exist"),
        ("path:", InvalidInput, "names no folder"),
        ("ftp:server/x", InvalidInput, "expected hf:ORG/NAME"),
        ("package:no_such_package_here", NotFound, "'no_such_package_here' is not installed"),
        ("package:os.path", InvalidInput, "does not name a package"),
        ("package:this", NotFound, "'this' is not a package"),
        ("package:json", InvalidInput, "holds no folder with config.json"),
    ],
)
def test_a_source_that_holds_no_backbone_says_why(
    workdir: Path, source: str, error: type[HeadstockError], said: str
) -> None:
    with pytest.raises(error, match=said):
        fetch(source, workdir)


def test_a_source_without_its_kind_gets_the_likely_one_as_fix(checkpoint: Path, workdir: Path) -> None:
    for source, fix in (
        (str(checkpoint), f"path:{checkpoint}"),
        ("acme/tiny", "hf:acme/tiny"),
        ("acme_bert", "package:acme_bert"),
    ):
        with pytest.raises(InvalidInput) as caught:
            fetch(source, workdir)
        assert caught.value.fix == fix


@pytest.mark.parametrize("content, said", [("{", "is not JSON"), ("[]", "is a list"), ("[" * 100_000, "is not JSON")])
def test_a_config_that_is_no_object_is_refused(checkpoint: Path, workdir: Path, content: str, said: str) -> None:
    (checkpoint / "config.json").write_text(content)
    with pytest.raises(InvalidInput, match=said):
        fetch(f"path:{checkpoint}", workdir)


def test_a_package_is_read_without_being_imported(package: Path, workdir: Path) -> None:
    fetched = fetch("package:acme_bert", workdir)
    assert "acme_bert" not in sys.modules
    assert fetched.label == "package:acme_bert@2.1"
    assert fetched.commit == "2.1"
    assert fetched.files.config["model_type"] == "bert"


def test_a_packages_metadata_and_licence_files_are_evidence(package: Path, workdir: Path) -> None:
    fetched = fetch("package:acme_bert", workdir)
    found = {(s.source, s.value, s.locator.rpartition("@")[2]) for s in fetched.statements}
    assert found == {
        ("card", "Apache-2.0", "2.1/README.md"),
        ("licence-file", "NOASSERTION", "2.1/LICENSE"),
        ("package-metadata", "BSD-3-Clause", "2.1/METADATA"),
    }
    raw = {s.raw for s in fetched.statements if s.source == "licence-file"}
    assert "All rights reserved. Ask us first." in raw


def test_a_package_with_several_checkpoints_asks_which(package: Path, workdir: Path) -> None:
    shutil.copytree(package / "data" / "model", package / "data" / "other")
    with pytest.raises(InvalidInput, match="several checkpoints") as caught:
        fetch("package:acme_bert", workdir)
    assert caught.value.fix == "package:acme_bert/data/other"
    assert fetch("package:acme_bert/data/other", workdir).label == "package:acme_bert/data/other@2.1"


def test_a_folder_outside_the_package_is_not_reached(package: Path, workdir: Path) -> None:
    with pytest.raises(NotFound, match="has no folder"):
        fetch("package:acme_bert/../../private/my-bert", workdir)


@pytest.mark.parametrize("name", ["NOTICE", "NOTICE.txt"])
def test_a_notice_text_is_kept_with_the_licence_text(tmp_path: Path, name: str) -> None:
    """Who passes the model on owes both, and neither stands in for the other."""
    for file in ("LICENSE", name, "README.md"):
        (tmp_path / file).write_text("words")

    assert documents_under(tmp_path) == {
        "card": tmp_path / "README.md",
        "licence": tmp_path / "LICENSE",
        "notice": tmp_path / name,
    }
    (tmp_path / "LICENSE").unlink()
    assert set(documents_under(tmp_path)) == {"card", "notice"}
